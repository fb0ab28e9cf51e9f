"""Indexes built from segments: rows stay there, lists stay in their file, damage is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from index import ExactIndex, SearchParameters, open_segment, write_segment
from index.build import Source, build_index, sample_rows
from index.derived import load_index, save_index
from index.errors import DamagedError, InputError
from index.faiss_index import FaissIndex
from index.row_blocks import ArrayBlock
from index.segment_block import SegmentBlock
from index.types import Plan

DIM, N_EACH = 32, 700


@pytest.fixture
def segments(tmp_path, unit_vectors):
    """Two files of rows, by name."""
    infos = [
        write_segment(
            tmp_path,
            unit_vectors(N_EACH, DIM, seed=seed),
            ids=np.arange(N_EACH) + seed * 10_000,
            fingerprint="ab12",
            tmp=tmp_path,
            name=f"{seed}.seg",
        )
        for seed in (1, 2)
    ]
    return {info.name: tmp_path / info.name for info in infos}


def _block(path):
    return SegmentBlock(open_segment(path, verify=False))


@pytest.fixture
def sources(segments):
    sources = []
    for path in segments.values():
        segment = open_segment(path)
        live = np.arange(N_EACH) % 5 != 0
        sources.append(Source(SegmentBlock(segment), segment.ids, live))
    return sources


@pytest.fixture
def exact(sources):
    exact = ExactIndex(DIM)
    for source in sources:
        exact.add_block(source.block.slice(0, N_EACH), ids=source.ids)
        exact.remove(source.ids[~source.live])
    return exact


MAPPED = {
    "fastscan": {"n_train": 500, "k_factor": 500, "rows": "mapped"},
    "ivf_fastscan": {
        "n_lists": 4, "n_probes": 4, "n_train": 500, "k_factor": 500, "rows": "mapped"
    },
    "ivf_rabitq": {"n_lists": 4, "n_probes": 4, "n_train": 500, "k_factor": 500, "rows": "mapped"},
    "factory": {"factory": "IVF4,SQ4", "n_probes": 4, "k_factor": 500, "rows": "mapped"},
}  # fmt: skip
COPIED = {
    "exact": {"dtype": "float16"},
    "flat": {"dtype": "float16"},
    "hnsw": {"m": 32, "ef_search": 1_000, "dtype": "float16"},
    "ivf": {"n_lists": 4, "n_probes": 4, "dtype": "float16"},
    "fastscan": {"n_train": 500, "k_factor": 500, "rows": "float16"},
}


@pytest.mark.parametrize(
    ("kind", "parameters"), [*MAPPED.items(), *COPIED.items()], ids=[*MAPPED, *COPIED]
)
def test_with_all_effort_it_answers_like_exact_search_over_the_living(
    kind, parameters, sources, exact, unit_vectors
):
    built = build_index(Plan(kind, "", parameters), dim=DIM, sources=sources)
    assert np.array_equal(built.ids(), exact.ids())
    for queries in (unit_vectors(40, DIM, seed=9), sample_rows(sources, 40, dim=DIM)):
        found, truth = built.search(queries, k=10), exact.search(queries, k=10)
        assert np.array_equal(found.ids, truth.ids)
        assert np.array_equal(found.scores, truth.scores)


@pytest.mark.parametrize("kind", MAPPED)
def test_rows_of_the_segments_are_neither_copied_nor_saved(
    kind, sources, segments, exact, tmp_path, unit_vectors
):
    built = build_index(Plan(kind, "", MAPPED[kind]), dim=DIM, sources=sources)
    path = tmp_path / "a.faiss"
    sha256 = save_index(built, path, tmp=tmp_path, fingerprint="ab12")
    assert path.stat().st_size < 2 * N_EACH * DIM * 2
    loaded = load_index(path, sha256=sha256, open_block=lambda name: _block(segments[name]))
    queries = unit_vectors(40, DIM, seed=9)
    assert np.array_equal(loaded.search(queries, k=10).ids, exact.search(queries, k=10).ids)
    with pytest.raises(DamagedError, match=r"1\.seg, which was not given"):
        load_index(path, sha256=sha256)


def test_a_damaged_row_is_noticed_when_it_is_first_read(sources, segments, tmp_path, unit_vectors):
    built = build_index(Plan("fastscan", "", MAPPED["fastscan"]), dim=DIM, sources=sources)
    path = tmp_path / "a.faiss"
    sha256 = save_index(built, path, tmp=tmp_path, fingerprint="ab12")
    data = bytearray(segments["2.seg"].read_bytes())
    data[4_000] ^= 4
    segments["2.seg"].write_bytes(bytes(data))
    with pytest.raises(DamagedError, match="block 0"):
        load_index(path, sha256=sha256, open_block=lambda name: _block(segments[name]))


def test_rows_in_memory_cannot_be_left_out_of_what_is_saved(tmp_path, unit_vectors):
    ix = FaissIndex(DIM, kind="fastscan", n_train=64, rows="mapped")
    ix.add(unit_vectors(100, DIM, seed=1), ids=np.arange(100))
    with pytest.raises(InputError, match="outside of what is saved"):
        save_index(ix, tmp_path / "a", tmp=tmp_path, fingerprint="ab12")


def test_blocks_are_for_indexes_that_leave_rows_where_they_are(unit_vectors):
    block = ArrayBlock(unit_vectors(9, DIM, seed=1))
    with pytest.raises(InputError, match="takes no rows"):
        FaissIndex(DIM).add_block(block, ids=np.arange(9))
    with pytest.raises(InputError, match="train this index"):
        FaissIndex(DIM, kind="fastscan", rows="mapped").add_block(block, ids=np.arange(9))


@pytest.fixture(params=["float32", "float16"])
def lists(request, tmp_path, unit_vectors):
    """Lists of three blocks in their file, and the same in memory."""
    ix = FaissIndex(128, kind="ivf", n_lists=16, n_probes=3, dtype=request.param)
    rows = unit_vectors(6_000, 128, seed=1)
    ix.add(rows, ids=np.arange(6_000))
    ix.remove(np.arange(0, 6_000, 7))
    path = tmp_path / "a.faiss"
    return ix, path, save_index(ix, path, tmp=tmp_path, fingerprint="ab12")


def test_mapped_lists_answer_like_those_in_memory(lists, unit_vectors):
    ix, path, sha256 = lists
    mapped = load_index(path, sha256=sha256, map_from_bytes=0)
    queries = unit_vectors(30, 128, seed=2)
    for asked in (None, SearchParameters(exact=True), SearchParameters(n_probes=16)):
        ours = mapped.search(queries, k=9, parameters=asked)
        theirs = ix.search(queries, k=9, parameters=asked)
        assert np.array_equal(ours.ids, theirs.ids)
        assert np.array_equal(ours.scores, theirs.scores)


def test_mapped_lists_answer_one_by_one_while_their_pages_are_given_back(
    lists, unit_vectors, monkeypatch
):
    monkeypatch.setattr("index.mapped_lists.RELEASED_AFTER_BYTES", 10_000)  # at nearly every search
    ix, path, sha256 = lists
    mapped = load_index(path, sha256=sha256, map_from_bytes=0)
    for query in unit_vectors(30, 128, seed=2):
        ours, theirs = mapped.search(query[None], k=9), ix.search(query[None], k=9)
        assert np.array_equal(ours.ids, theirs.ids)
        assert np.array_equal(ours.scores, theirs.scores)


def test_mapped_lists_can_grow(lists, unit_vectors):
    _, path, sha256 = lists
    mapped = load_index(path, sha256=sha256, map_from_bytes=0)
    more = unit_vectors(20, 128, seed=3)
    mapped.add(more, ids=np.arange(20) + 50_000)
    assert mapped.search(more, k=1).ids[:, 0].tolist() == list(range(50_000, 50_020))


def test_a_damaged_block_of_mapped_lists_is_noticed_before_an_answer(lists, unit_vectors):
    """Whatever bit flips: opening or the searches raise, or nothing was wrong with the answers."""
    ix, path, sha256 = lists
    good = path.read_bytes()
    queries = unit_vectors(30, 128, seed=2)
    truth = ix.search(queries, k=9).ids
    rng = np.random.default_rng(5)
    n_noticed = 0
    for _ in range(25):
        flipped = bytearray(good)
        flipped[rng.integers(len(good) - 100)] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(flipped))
        try:
            mapped = load_index(path, sha256=sha256, map_from_bytes=0)
            found = mapped.search(queries, k=9).ids
            mapped.search(queries, k=9, parameters=SearchParameters(exact=True))
        except DamagedError:
            n_noticed += 1
        else:
            assert np.array_equal(found, truth)
    assert n_noticed == 25


def test_the_sample_is_spread_over_the_living_of_all_sources(sources):
    sample = sample_rows(sources, 400, dim=DIM)
    living = np.concatenate(
        [np.asarray(s.block.slice(0, N_EACH))[s.live].astype(np.float32) for s in sources]
    )
    living /= np.linalg.norm(living, axis=1, keepdims=True)
    at = np.argmax(sample @ living.T, axis=1)
    assert len(set(at.tolist())) == 400
    assert 150 < np.count_nonzero(at < 560) < 250
    assert len(sample_rows(sources, 10**6, dim=DIM)) == 2 * 560
