"""The contract of `Index`, asked of every kind; each known trap of faiss has a test here."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from index import ExactIndex, Index, SearchParameters, quantize
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.torch_exact import TorchExactIndex

DIM = 16
N = 300

MAKERS: dict[str, Callable[[], Index]] = {
    "exact-float32": lambda: ExactIndex(DIM),
    "exact-float16": lambda: ExactIndex(DIM, dtype="float16"),
    "flat": lambda: FaissIndex(DIM, kind="flat"),
    "hnsw": lambda: FaissIndex(DIM, kind="hnsw", m=16, ef_search=512),
    "ivf": lambda: FaissIndex(DIM, kind="ivf", n_lists=4, n_probes=4),
    "flat-float16": lambda: FaissIndex(DIM, kind="flat", dtype="float16"),
    "hnsw-float16": lambda: FaissIndex(DIM, kind="hnsw", m=16, ef_search=512, dtype="float16"),
    "ivf-float16": lambda: FaissIndex(DIM, kind="ivf", n_lists=4, n_probes=4, dtype="float16"),
    "fastscan": lambda: FaissIndex(DIM, kind="fastscan", n_train=100, k_factor=64),
    "fastscan-float16": lambda: FaissIndex(
        DIM, kind="fastscan", n_train=100, k_factor=64, rows="float16"
    ),
    "fastscan-mapped": lambda: FaissIndex(
        DIM, kind="fastscan", n_train=100, k_factor=64, rows="mapped"
    ),
    "ivf_fastscan": lambda: FaissIndex(
        DIM, kind="ivf_fastscan", n_train=100, k_factor=64, n_lists=4, n_probes=4
    ),
    "ivf_fastscan-mapped": lambda: FaissIndex(
        DIM, kind="ivf_fastscan", n_train=100, k_factor=64, n_lists=4, n_probes=4, rows="mapped"
    ),
    "ivf_rabitq": lambda: FaissIndex(
        DIM, kind="ivf_rabitq", n_train=100, k_factor=64, n_lists=4, n_probes=4, n_bits=4
    ),
    "factory": lambda: FaissIndex(
        DIM, kind="factory", factory="RR16,IVF4,SQ8,RFlat", n_train=256, n_probes=4
    ),
    "factory-mapped": lambda: FaissIndex(
        DIM, kind="factory", factory="HNSW16_SQ8", n_train=256, ef_search=512, rows="mapped"
    ),
    "torch_exact-float16": lambda: TorchExactIndex(DIM, device="cpu"),
    "fastscan-untrained": lambda: FaissIndex(DIM, kind="fastscan"),
    "ivf-untrained": lambda: FaissIndex(DIM, kind="ivf", n_lists=64),
}
# They need Milvus Lite; `-m cluster` runs them.
MILVUS = ("milvus-FLAT", "milvus-HNSW", "milvus-IVF_FLAT")
EXACT = (
    "exact-float32",
    "exact-float16",
    "flat",
    "flat-float16",
    "torch_exact-float16",
    "ivf-untrained",
    "fastscan-untrained",
)
HALF = ("float16", "mapped")  # how the names of kinds end that keep float16


@pytest.fixture(params=[*MAKERS, *(pytest.param(n, marks=pytest.mark.cluster) for n in MILVUS)])
def name(request):
    return request.param


@pytest.fixture
def make(name, request):
    if name not in MILVUS:
        return MAKERS[name]
    make_collection = request.getfixturevalue("make_collection")
    few = {"n_lists": 4, "n_probes": 4} if name == "milvus-IVF_FLAT" else {}
    return lambda: make_collection(DIM, algorithm=name.removeprefix("milvus-"), **few)


@pytest.fixture
def vectors(unit_vectors, name):
    """What the index is given, as it reads after storing: equal to the oracle's to the last bit."""
    rows = unit_vectors(N, DIM, seed=1)
    return quantize(rows, dtype="float16") if name.endswith(HALF) else rows


@pytest.fixture
def ids():
    return np.random.default_rng(2).permutation(10 * N)[:N].astype(np.int64)


@pytest.fixture
def filled(make, vectors, ids):
    ix = make()
    ix.add(vectors, ids=ids)
    return ix


@pytest.fixture
def queries(unit_vectors):
    return unit_vectors(40, DIM, seed=3)


def test_search_finds_what_sorting_everything_finds(
    filled, vectors, ids, queries, slow_search, answers
):
    assert answers(filled.search(queries, k=10)) == slow_search(vectors, ids, queries, 10)


def test_scores_are_the_cosines_of_the_answers(filled, vectors, ids, queries):
    found = filled.search(queries, k=10)
    row_of = {int(id_): row for row, id_ in enumerate(ids)}
    for query, found_ids, scores in zip(queries, found.ids, found.scores, strict=True):
        rows = vectors[[row_of[int(id_)] for id_ in found_ids]].astype(np.float64)
        assert np.allclose(scores, rows @ query.astype(np.float64), atol=1e-7)


def test_answers_have_the_promised_types(filled, queries):
    found = filled.search(queries, k=7)
    assert (found.ids.dtype, found.scores.dtype, found.counts.dtype) == (
        np.int64,
        np.float32,
        np.int64,
    )
    assert found.ids.shape == found.scores.shape == (len(queries), 7)


def test_asking_one_by_one_equals_asking_together(filled, queries):
    together = filled.search(queries, k=10)
    for row, query in enumerate(queries):
        alone = filled.search(query[None], k=10)
        assert np.array_equal(alone.ids[0], together.ids[row])
        assert np.array_equal(alone.scores[0], together.scores[row])


def test_adding_in_uneven_chunks_equals_adding_at_once(make, filled, vectors, ids, queries):
    ix = make()
    for start, stop in [(0, 1), (1, 2), (2, 50), (50, 50), (50, 299), (299, 300)]:
        ix.add(vectors[start:stop], ids=ids[start:stop])
    assert np.array_equal(ix.search(queries, k=9).ids, filled.search(queries, k=9).ids)


def test_k_beyond_n_is_told_by_counts_and_never_by_minus_one(make, vectors, queries):
    ix = make()
    ix.add(vectors[:3], ids=np.array([5, 6, 7]))
    found = ix.search(queries, k=10)
    assert found.counts.tolist() == [3] * len(queries)
    assert np.sort(found.ids[:, :3]).tolist() == [[5, 6, 7]] * len(queries)
    assert not found.ids[:, 3:].any()
    assert not found.scores[:, 3:].any()


def test_an_empty_index_answers_nothing(make, queries):
    found = make().search(queries, k=4)
    assert found.counts.tolist() == [0] * len(queries)
    assert found.ids.shape == (len(queries), 4)


def test_no_queries_get_no_rows(filled):
    assert filled.search(np.empty((0, DIM), np.float32), k=4).ids.shape == (0, 4)


def test_the_callers_array_may_change_after_adding(make, vectors, ids, queries, slow_search):
    ix, given = make(), vectors.copy()
    ix.add(given, ids=ids)
    given[:] = 0
    assert ix.search(queries, k=1).ids[:, 0].tolist() == [
        row[0] for row in slow_search(vectors, ids, queries, 1)
    ]


def test_length_and_ids_tell_what_is_alive(filled, ids):
    assert len(filled) == N
    assert filled.ids().tolist() == sorted(ids.tolist())


# Ids


def test_an_id_twice_in_one_call_is_refused(make, vectors):
    ix = make()
    with pytest.raises(InputError, match="id 8 occurs twice"):
        ix.add(vectors[:2], ids=np.array([8, 8]))
    assert len(ix) == 0


def test_an_id_in_use_is_refused_and_nothing_is_added(filled, vectors, ids):
    taken = int(ids[17])
    with pytest.raises(InputError, match=f"id {taken} is in use"):
        filled.add(vectors[:2], ids=np.array([999_999, taken]))
    assert len(filled) == N
    assert 999_999 not in filled.ids()


@pytest.mark.parametrize(
    "bad",
    [np.array([-1]), np.array([1.0]), np.array([1], np.int32), np.array([[1]]), [1]],
    ids=["negative", "float", "int32", "two-dimensional", "list"],
)
def test_ids_of_another_form_are_refused(make, vectors, bad):
    with pytest.raises(InputError) as caught:
        make().add(vectors[:1], ids=bad)
    assert caught.value.code == "bad_ids"


def test_more_ids_than_vectors_are_refused(make, vectors):
    with pytest.raises(InputError, match="2 vectors came with 3 ids"):
        make().add(vectors[:2], ids=np.arange(3))


def test_the_largest_id_survives(make, vectors):
    ix = make()
    ix.add(vectors[:1], ids=np.array([2**63 - 1]))
    assert ix.search(vectors[:1], k=1).ids.tolist() == [[2**63 - 1]]


# Removal


def test_removed_vectors_are_never_found(filled, vectors, ids, queries, slow_search, answers):
    assert filled.remove(ids[::3]) == 100
    kept = np.ones(N, bool)
    kept[::3] = False
    assert answers(filled.search(queries, k=20)) == slow_search(
        vectors[kept], ids[kept], queries, 20
    )
    assert len(filled) == 200


def test_remove_counts_only_what_was_there(filled, ids):
    unknown = np.array([77_777])
    assert filled.remove(np.concatenate([ids[:2], unknown, ids[:2]])) == 2
    assert filled.remove(ids[:2]) == 0


def test_removing_again_after_a_search_is_noticed(filled, ids, queries):
    """What a back end remembers of the living must not outlive the next removal."""
    for position in (0, 1):
        filled.remove(ids[position : position + 1])
        found = filled.search(queries, k=N - position - 1)
        assert not np.isin(ids[: position + 1], found.ids).any()


def test_with_almost_everything_removed_the_rest_is_found(
    filled, vectors, ids, queries, slow_search, answers
):
    filled.remove(ids[3:])
    found = filled.search(queries, k=5)
    assert answers(found) == slow_search(vectors[:3], ids[:3], queries, 3)


def test_a_removed_id_can_be_added_again_with_another_vector(filled, vectors, ids):
    filled.remove(ids[:1])
    filled.add(-vectors[:1], ids=ids[:1])
    assert len(filled) == N
    assert filled.search(-vectors[:1], k=1).ids[0, 0] == ids[0]
    assert ids[0] not in filled.search(vectors[:1], k=N - 1).ids[0]


# Filters


@pytest.mark.parametrize("n_allowed", [1, 3, 30, 150, 300])
def test_a_filter_gives_the_exact_best_among_the_allowed(
    filled, vectors, ids, queries, slow_search, answers, n_allowed
):
    picked = np.random.default_rng(n_allowed).permutation(N)[:n_allowed]
    found = filled.search(queries, k=10, allowed=ids[picked])
    assert answers(found) == slow_search(vectors[picked], ids[picked], queries, 10)


def test_a_filter_ignores_unknown_removed_and_repeated_ids(filled, ids, queries):
    filled.remove(ids[:1])
    allowed = np.array([ids[0], ids[1], ids[1], 88_888])
    found = filled.search(queries, k=5, allowed=allowed)
    assert found.counts.tolist() == [1] * len(queries)
    assert set(found.ids[:, 0].tolist()) == {int(ids[1])}


def test_an_empty_filter_allows_nothing(filled, queries):
    found = filled.search(queries, k=5, allowed=np.empty(0, np.int64))
    assert found.counts.tolist() == [0] * len(queries)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_filter_of_one_in_a_thousand_is_exact_without_effort(
    unit_vectors, slow_search, answers, kind
):
    """Default HNSW and IVF lose 90 % of the answers here when faiss filters by itself."""
    rows, ids = unit_vectors(12_000, DIM, seed=8), np.arange(12_000)
    ix = FaissIndex(DIM, kind=kind, **({"n_lists": 64, "n_probes": 1} if kind == "ivf" else {}))
    ix.add(rows, ids=ids)
    allowed = np.random.default_rng(9).permutation(12_000)[:12]
    queries = unit_vectors(20, DIM, seed=10)
    found = ix.search(queries, k=10, allowed=allowed)
    assert answers(found) == slow_search(rows[allowed], allowed, queries, 10)


def test_lists_that_hold_too_few_are_made_up_for(unit_vectors, ids):
    ix = FaissIndex(DIM, kind="ivf", n_lists=7, n_probes=1)
    ix.add(unit_vectors(N, DIM, seed=1), ids=ids)
    assert ix.search(unit_vectors(9, DIM, seed=4), k=250).counts.tolist() == [250] * 9


# Ties


def test_equal_scores_are_ordered_by_id(make, name, unit_vectors):
    ix = make()
    rows = np.repeat(unit_vectors(6, DIM, seed=5), 40, axis=0)
    ids = np.random.default_rng(6).permutation(240).astype(np.int64)
    ix.add(rows, ids=ids)
    found = ix.search(rows[::40].copy(), k=40)
    for group, (row, scores) in enumerate(zip(found.ids, found.scores, strict=True)):
        assert row.tolist() == row[np.lexsort((row, -scores))].tolist()
        # A graph can lose copies of one vector: they fill each other's links.
        if not name.startswith("hnsw"):
            assert row.tolist() == sorted(ids[40 * group : 40 * group + 40].tolist())


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("n_queries", [1, 30])
def test_exact_kinds_break_a_tie_at_the_last_place_by_id(name, unit_vectors, n_queries):
    ix = MAKERS[name]()
    rows = np.repeat(unit_vectors(2, DIM, seed=5), 100, axis=0)
    ids = np.random.default_rng(6).permutation(200).astype(np.int64)
    ix.add(rows, ids=ids)
    found = ix.search(np.repeat(rows[:1], n_queries, axis=0), k=7)
    assert found.ids.tolist() == [sorted(ids[:100].tolist())[:7]] * n_queries


def test_ties_in_a_filter_are_broken_by_id_in_every_kind(make, unit_vectors, monkeypatch):
    ix = make()
    # As it is outside of tests: Milvus is not asked where a few rows are allowed.
    monkeypatch.setattr("index.remote._ROWS_PER_REQUEST", 20_000.0)
    rows = np.repeat(unit_vectors(1, DIM, seed=5), 200, axis=0)
    ix.add(rows, ids=np.arange(200)[::-1].copy())
    found = ix.search(rows[:1], k=4, allowed=np.arange(100, 150)[::-1].copy())
    assert found.ids.tolist() == [[100, 101, 102, 103]]


def test_a_query_that_is_a_stored_vector_scores_at_most_one(filled, vectors):
    scores = filled.search(vectors, k=1).scores
    assert scores.max() <= 1
    assert scores.min() > 1 - 1e-6


# Refusals


BAD_ROWS = {
    "float64": (lambda rows: rows.astype(np.float64), "bad_dtype"),
    "float16": (lambda rows: rows.astype(np.float16), "bad_dtype"),
    "list": (lambda rows: rows.tolist(), "bad_dtype"),
    "dim": (lambda rows: rows[:, :-1].copy(), "bad_shape"),
    "flat": (lambda rows: rows[0], "bad_shape"),
    "fortran": (np.asfortranarray, "bad_order"),
    "strided": (lambda rows: np.repeat(rows, 2, axis=0)[::2], "bad_order"),
    "nan": (lambda rows: np.where(np.arange(DIM) == 3, np.float32(np.nan), rows), "not_finite"),
    "inf": (lambda rows: np.where(np.arange(DIM) == 3, np.float32(np.inf), rows), "not_finite"),
    "zero": (np.zeros_like, "not_unit"),
    "long": (lambda rows: rows * np.float32(1.01), "not_unit"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("where", ["vectors", "queries"])
def test_rows_of_another_form_are_refused_with_a_reason(filled, vectors, case, where):
    spoil, code = BAD_ROWS[case]
    bad = spoil(vectors[:4])
    use = {
        "vectors": lambda: filled.add(bad, ids=np.arange(50_000, 50_004)),
        "queries": lambda: filled.search(bad, k=3),
    }[where]
    with pytest.raises(InputError) as caught:
        use()
    assert caught.value.code == code
    assert where in str(caught.value)
    assert len(filled) == N


def test_a_length_within_a_thousandth_is_accepted(filled, vectors):
    assert filled.search(vectors[:1] * np.float32(1.0005), k=1).counts.tolist() == [1]


@pytest.mark.parametrize("k", [0, -1, 100_001, 2.0, True, "3"])
def test_k_outside_its_limits_is_refused(filled, queries, k):
    with pytest.raises(InputError, match="k is") as caught:
        filled.search(queries, k=k)
    assert caught.value.code == "bad_k"


@pytest.mark.parametrize("dim", [0, -3, 70_000, 2.5, True])
def test_a_dim_outside_its_limits_is_refused(dim):
    with pytest.raises(InputError, match="dim is"):
        ExactIndex(dim)
    with pytest.raises(InputError, match="dim is"):
        FaissIndex(dim)


def test_checks_hold_under_python_dash_o():
    """faiss's own checks are `assert`s: with -O it would read out of bounds."""
    code = """
import numpy as np
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.torch_exact import TorchExactIndex
ix = FaissIndex(4)
ix.add(np.eye(4, dtype=np.float32), ids=np.arange(4))
n_refused = 0
for rows, k in [(np.eye(4, dtype=np.float32), 0), (np.eye(5, dtype=np.float32), 1)]:
    try:
        ix.search(rows, k=k)
    except InputError:
        n_refused += 1
raise SystemExit(0 if n_refused == 2 else 1)
"""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("flat", SearchParameters(ef_search=9)),
        ("ivf", SearchParameters(ef_search=9)),
        ("hnsw", SearchParameters(n_probes=9)),
        ("hnsw", SearchParameters(ef_search=0)),
        ("exact-float32", SearchParameters(n_probes=9)),
    ],
)
def test_a_search_parameter_without_effect_is_refused(kind, parameters, unit_vectors):
    with pytest.raises(InputError) as caught:
        MAKERS[kind]().search(unit_vectors(1, DIM, seed=0), k=1, parameters=parameters)
    assert caught.value.code == "bad_parameter"


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("flat", {"m": 8}), ("hnsw", {"n_lists": 8}), ("hnsw", {"m": 1}), ("ivf", {"n_lists": 0})],
)
def test_a_parameter_of_another_kind_is_refused(kind, parameters):
    with pytest.raises(InputError):
        FaissIndex(DIM, kind=kind, **parameters)


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(InputError, match="'tree'"):
        FaissIndex(DIM, kind="tree")


def test_a_closed_index_refuses_everything(filled, vectors, queries):
    filled.close()
    filled.close()
    for use in (
        lambda: filled.search(queries, k=1),
        lambda: filled.add(vectors[:1], ids=np.array([1])),
        lambda: filled.remove(np.array([1])),
    ):
        with pytest.raises(InputError, match="closed"):
            use()


# Parameters per search


def test_search_parameters_belong_to_one_search_alone(unit_vectors):
    rows, queries = unit_vectors(3_000, DIM, seed=1), unit_vectors(50, DIM, seed=2)
    exact = ExactIndex(DIM)
    exact.add(rows, ids=np.arange(3_000))
    truth = exact.search(queries, k=10).ids
    ix = FaissIndex(DIM, kind="ivf", n_lists=32, n_probes=1)
    ix.add(rows, ids=np.arange(3_000))
    narrow = ix.search(queries, k=10).ids
    wide = ix.search(queries, k=10, parameters=SearchParameters(n_probes=32)).ids
    assert np.array_equal(wide, truth)
    assert not np.array_equal(narrow, truth)
    assert np.array_equal(ix.search(queries, k=10).ids, narrow)
    forced = ix.search(queries, k=10, parameters=SearchParameters(exact=True)).ids
    assert np.array_equal(forced, truth)


def test_a_wider_walk_through_the_graph_finds_more(unit_vectors):
    rows, queries = unit_vectors(4_000, DIM, seed=1), unit_vectors(100, DIM, seed=2)
    exact, graph = ExactIndex(DIM), FaissIndex(DIM, kind="hnsw", m=4, ef_construction=16)
    for ix in (exact, graph):
        ix.add(rows, ids=np.arange(4_000))
    truth = exact.search(queries, k=10).ids

    def n_right(ef_search: int) -> int:
        found = graph.search(queries, k=10, parameters=SearchParameters(ef_search=ef_search)).ids
        return sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))

    assert n_right(10) < n_right(400)


def test_training_with_the_same_seed_gives_the_same_lists(unit_vectors):
    rows, queries = unit_vectors(2_000, DIM, seed=1), unit_vectors(30, DIM, seed=2)
    found = []
    for _ in range(2):
        ix = FaissIndex(DIM, kind="ivf", n_lists=32, n_probes=2, seed=7)
        ix.add(rows, ids=np.arange(2_000))
        found.append(ix.search(queries, k=10).ids)
    assert np.array_equal(*found)


def test_lists_can_be_trained_on_a_sample_before_anything_is_added(unit_vectors):
    rows = unit_vectors(500, DIM, seed=1)
    ix = FaissIndex(DIM, kind="ivf", n_lists=8, n_probes=8)
    ix.add(rows[:20], ids=np.arange(20))
    assert not ix.is_trained
    ix.train(rows[::2].copy())
    ix.add(rows[20:], ids=np.arange(20, 500))
    assert ix.is_trained
    assert ix.search(rows, k=1).ids[:, 0].tolist() == list(range(500))


def test_too_small_a_sample_cannot_train(unit_vectors):
    ix = FaissIndex(DIM, kind="ivf", n_lists=8)
    with pytest.raises(InputError, match="7 vectors cannot train IVF8,Flat"):
        ix.train(unit_vectors(7, DIM, seed=1))


# Threads and processes


def test_searches_in_many_threads_agree_with_one(filled, queries):
    alone = filled.search(queries, k=10).ids
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: filled.search(queries, k=10).ids, range(40)))
    assert all(np.array_equal(ids, alone) for ids in found)


def test_a_reader_beside_a_writer_never_sees_a_removed_id(make, unit_vectors, vectors, ids):
    ix, gone, problems = make(), set(), []
    ix.add(vectors, ids=ids)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            before = set(gone)
            found = ix.search(vectors[:20], k=5)
            if before & set(found.ids.ravel().tolist()) or (found.counts != 5).any():
                problems.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for position in range(0, 200, 5):
        batch = ids[position : position + 5]
        ix.remove(batch)
        gone.update(batch.tolist())
        ix.add(unit_vectors(5, DIM, seed=position), ids=np.arange(5) + 10_000 + position)
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert len(ix) == N


def test_a_spawned_process_can_search_after_the_parent_did(tmp_path):
    """A forked one hangs (faiss issue 5206), which is why crossfind never forks."""
    script = tmp_path / "parent.py"
    script.write_text("""
import multiprocessing
import numpy as np
from index.faiss_index import FaissIndex
from index.torch_exact import TorchExactIndex

def search(_=None):
    rows = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ix = FaissIndex(8)
    ix.add(rows, ids=np.arange(2000))
    return ix.search(rows, k=1).ids[:, 0].tolist() == list(range(2000))

if __name__ == "__main__":
    assert search()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        raise SystemExit(pool.map_async(search, [0]).get(50) != [True])
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# Without faiss


def test_importing_the_package_imports_no_faiss():
    code = "import sys, index; raise SystemExit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_faiss_the_error_names_the_extra_and_exact_search_works():
    code = """
import sys
sys.modules["faiss"] = None
import numpy as np
from index import ExactIndex
from index.errors import BackendMissingError
from index.faiss_index import FaissIndex
from index.torch_exact import TorchExactIndex
exact = ExactIndex(4)
exact.add(np.eye(4, dtype=np.float32), ids=np.arange(4))
assert exact.search(np.eye(4, dtype=np.float32), k=1).ids.tolist() == [[0], [1], [2], [3]]
try:
    FaissIndex(4)
except BackendMissingError as error:
    raise SystemExit("pip install 'crossfind[cpu]'" not in str(error))
raise SystemExit(2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


# Exact blocks


def test_a_mapped_block_is_searched_without_being_copied(unit_vectors, slow_search, answers):
    rows = unit_vectors(90, DIM, seed=1)
    half = rows.astype(np.float16)
    half.flags.writeable = False
    ix = ExactIndex(DIM)
    ix.add_block(half, ids=np.arange(90))
    ix.add(rows[:5], ids=np.arange(100, 105))
    ix.remove(np.arange(10))
    queries = unit_vectors(20, DIM, seed=2)
    kept = np.concatenate([quantize(rows, dtype="float16")[10:], rows[:5]])
    kept_ids = np.concatenate([np.arange(10, 90), np.arange(100, 105)])
    assert answers(ix.search(queries, k=8)) == slow_search(kept, kept_ids, queries, 8)
    assert np.shares_memory(ix._parts[0].rows, half)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf], ids=["zero", "nan", "infinity"])
def test_a_block_with_an_unusable_row_is_refused(unit_vectors, bad):
    half = unit_vectors(9, DIM, seed=1).astype(np.float16)
    half[4] = bad
    with pytest.raises(InputError, match="row 4"):
        ExactIndex(DIM).add_block(half, ids=np.arange(9))


def test_many_small_adds_make_few_parts(unit_vectors):
    ix, rows = ExactIndex(DIM), unit_vectors(2_000, DIM, seed=1)
    for position in range(2_000):
        ix.add(rows[position : position + 1], ids=np.array([position]))
    assert len(ix._parts) == 1
    assert ix.search(rows, k=1).ids[:, 0].tolist() == list(range(2_000))
