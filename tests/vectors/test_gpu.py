"""Placing on GPUs: parity where one is; elsewhere the logic around a stand-in for faiss's GPU part.

The stand-in does what faiss documents of its GPU indexes: it refuses large k, ignores selectors,
rounds to float16, spreads no float16 rows over GPUs, takes none through cuVS, and here fails when
two threads meet. What CUDA does it cannot show.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from index import ExactIndex, FaissIndex, load_index, save_index
from index.errors import BackendMissingError, InputError
from index.gpu import build_graph, n_gpus, place

DIM, N = 64, 3_000


class StandIn:
    """A faiss index that behaves like its copy on a GPU."""

    def __init__(self, core, log):
        self._core, self._log = faiss.clone_index(core), log

    def search(self, queries, k, *, params=None):
        assert k <= 2_048, "faiss refuses it"
        assert params is None or params.sel is None, "faiss would ignore it"
        self._log.threads.add(threading.get_ident())
        assert self._log.busy.acquire(blocking=False), "two threads met"
        try:
            self._log.n_searches += 1
            half = queries.astype(np.float16).astype(np.float32)
            return self._core.search(half, k, params=params)
        finally:
            self._log.busy.release()


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as far as the layer above can tell."""
    log = SimpleNamespace(threads=set(), busy=threading.Lock(), n_searches=0, options=[])

    def one(resources, device, core, options):
        assert not options.use_cuvs, "faiss refuses float16 rows"
        log.options.append(((device,), options))
        return StandIn(core, log)

    def several(resources, core, options, devices):
        assert len(resources) == len(devices)
        assert type(core) in (faiss.IndexFlatIP, faiss.IndexIVFScalarQuantizer), "not sharded"
        log.options.append((tuple(devices), options))
        return StandIn(core, log)

    for name, value in {
        "StandardGpuResources": object,
        "GpuClonerOptions": lambda: SimpleNamespace(use_cuvs=True),
        "GpuMultipleClonerOptions": lambda: SimpleNamespace(use_cuvs=True),
        "get_num_gpus": lambda: 2,
        "index_cpu_to_gpu": one,
        "index_cpu_to_gpu_multiple_py": several,
    }.items():
        monkeypatch.setattr(faiss, name, value, raising=False)
    return log


@pytest.fixture(params=["flat", "ivf"])
def pair(request, unit_vectors):
    """An index with a fifth removed, and the exact answers' index."""
    rows, ids = unit_vectors(N, DIM, seed=1), np.arange(N) * 3
    parameters = {"n_lists": 16, "n_probes": 16} if request.param == "ivf" else {}
    ix = FaissIndex(DIM, kind=request.param, dtype="float16", **parameters)
    exact = ExactIndex(DIM, dtype="float16")
    for one in (ix, exact):
        one.add(rows, ids=ids)
        one.remove(ids[::5])
    return ix, exact


def agree(ix, exact, queries, *, k=10, allowed=None):
    mine, its = (one.search(queries, k=k, allowed=allowed) for one in (ix, exact))
    assert np.array_equal(mine.ids, its.ids)
    # faiss rounds halves that lie in the middle away from zero, numpy to even.
    assert np.allclose(mine.scores, its.scores, atol=2e-5)
    assert np.array_equal(mine.counts, its.counts)


@pytest.mark.parametrize("numbers", [[1], [0, 1]])
def test_a_placed_index_answers_what_the_exact_one_answers(pair, gpus, unit_vectors, numbers):
    ix, exact = pair
    placed = place(ix, gpus=numbers)
    queries = unit_vectors(20, DIM, seed=2)
    agree(placed, exact, queries)
    agree(placed, exact, queries[:1])
    assert gpus.n_searches >= 2
    devices, options = gpus.options[0]
    assert list(devices) == numbers
    assert options.useFloat16
    assert getattr(options, "shard", False) is (len(numbers) > 1)


def test_filters_hold_though_a_gpu_knows_none(pair, gpus, unit_vectors):
    ix, exact = pair
    queries = unit_vectors(5, DIM, seed=3)
    place(ix)
    for allowed in (np.arange(0, 3 * N, 7), np.array([3, 6, 9]), np.arange(3 * N)):
        agree(ix, exact, queries, allowed=allowed)


def test_one_thread_searches_for_all(pair, gpus, unit_vectors):
    ix, exact = pair
    place(ix)
    queries = unit_vectors(16, DIM, seed=4)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: agree(ix, exact, queries[row : row + 1]), range(16)))
    assert len(gpus.threads) == 1
    assert threading.get_ident() not in gpus.threads


def test_what_the_gpu_refuses_the_cpu_answers(pair, gpus, unit_vectors):
    ix, exact = pair
    place(ix)
    agree(ix, exact, unit_vectors(2, DIM, seed=5), k=2_300)
    assert gpus.n_searches == 0


def test_removed_and_added_vectors_count_at_once(pair, gpus, unit_vectors):
    ix, exact = pair
    place(ix)
    more, queries = unit_vectors(4, DIM, seed=6), unit_vectors(6, DIM, seed=7)
    for one in (ix, exact):
        one.remove(one.search(queries, k=1).ids[:, 0])
    agree(ix, exact, queries)
    for one in (ix, exact):
        one.add(more, ids=np.arange(4) + 10 * N)
    agree(ix, exact, more)


def test_a_placed_index_is_saved_as_it_was(pair, gpus, unit_vectors, tmp_path: Path):
    ix, exact = pair
    place(ix)
    sha256 = save_index(ix, tmp_path / "ix", tmp=tmp_path, fingerprint="f")
    agree(load_index(tmp_path / "ix", sha256=sha256), exact, unit_vectors(5, DIM, seed=8))


def test_a_gpu_that_is_not_there_is_refused(pair, gpus):
    with pytest.raises(InputError, match=r"gpus is \[2\]; faiss sees 2"):
        place(pair[0], gpus=[2])


def test_without_a_gpu_one_line_says_so(pair, monkeypatch, caplog, unit_vectors):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    ix, exact = pair
    with caplog.at_level(logging.WARNING):
        assert place(ix) is ix
    assert [r.getMessage() for r in caplog.records] == [
        "faiss sees no GPU: this index is searched on the CPU"
    ]
    agree(ix, exact, unit_vectors(3, DIM, seed=9))


def test_codes_stay_on_the_cpu_and_one_line_says_so(gpus, caplog):
    with caplog.at_level(logging.WARNING):
        place(FaissIndex(DIM, kind="fastscan"))
    assert "on a GPU: this index is searched on the CPU" in caplog.text


def test_a_graph_needs_cagra(pair, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0, raising=False)
    with pytest.raises(BackendMissingError, match="faiss-gpu-cuvs"):
        build_graph(pair[0])


class Cagra:
    """A stand-in whose graph the CPU builds; `lost` makes it a bad one."""

    lost = False

    def __init__(self, *_):
        self._rows = None

    def train(self, rows):
        self._rows = rows

    def copyTo(self, core):
        core.base_level_only = False
        core.add(np.roll(self._rows, 1, axis=0) if self.lost else self._rows)


@pytest.mark.parametrize("lost", [False, True])
def test_a_graph_from_a_gpu_serves_on_the_cpu_after_its_canaries(
    gpus, monkeypatch, unit_vectors, tmp_path: Path, lost
):
    monkeypatch.setattr(faiss, "GpuIndexCagra", Cagra, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexCagraConfig", SimpleNamespace, raising=False)
    monkeypatch.setattr(Cagra, "lost", lost)
    rows = unit_vectors(600, DIM, seed=1)
    flat = FaissIndex(DIM)
    flat.add(rows, ids=np.arange(600) + 5)
    if lost:
        with pytest.raises(Exception, match="finds 0% of its own vectors"):
            build_graph(flat)
        return
    graph = build_graph(flat)
    assert graph.search(rows[7:8], k=1).ids.tolist() == [[12]]
    with pytest.raises(InputError, match="takes no more vectors"):
        graph.add(unit_vectors(1, DIM, seed=2), ids=np.array([1]))
    sha256 = save_index(graph, tmp_path / "graph", tmp=tmp_path, fingerprint="f")
    again = load_index(tmp_path / "graph", sha256=sha256)
    assert again.search(rows, k=1).ids[:, 0].tolist() == (np.arange(600) + 5).tolist()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_gpu_and_cpu_agree(unit_vectors, kind):
    if not n_gpus():
        pytest.skip("faiss sees no GPU")
    rows, queries = unit_vectors(50_000, DIM, seed=1), unit_vectors(300, DIM, seed=2)
    parameters = {"n_lists": 64, "n_probes": 64} if kind == "ivf" else {}
    ix, exact = (
        FaissIndex(DIM, kind=kind, dtype="float16", **parameters),
        ExactIndex(DIM, dtype="float16"),
    )
    for one in (ix, exact):
        one.add(rows, ids=np.arange(50_000))
        one.remove(np.arange(0, 50_000, 3))
    place(ix)
    agree(ix, exact, queries)
    agree(ix, exact, queries[:9], allowed=np.arange(1, 50_000, 7))


@pytest.mark.gpu
def test_a_real_cagra_graph_finds_its_vectors(unit_vectors):
    if not n_gpus() or not hasattr(faiss, "GpuIndexCagra"):
        pytest.skip("faiss has no CAGRA here")
    rows = unit_vectors(20_000, DIM, seed=1)
    flat = FaissIndex(DIM)
    flat.add(rows, ids=np.arange(20_000))
    graph = build_graph(flat)
    found = graph.search(rows[:500], k=1).ids[:, 0]
    assert np.mean(found == np.arange(500)) > 0.95
