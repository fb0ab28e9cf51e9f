"""Exact search in torch: what a GPU answers is what the CPU answers."""

from __future__ import annotations

import numpy as np
import pytest

from index import ExactIndex
from index.errors import BackendMissingError, InputError
from index.torch_exact import GROUP, TorchExactIndex, _topk

DIM = 64


def in_halves(monkeypatch) -> TorchExactIndex:
    """The code that a GPU runs, float16 rows and all, on the CPU; in many small tiles."""
    import torch

    monkeypatch.setattr("index.torch_exact.TILE_SCORES", 1 << 16)
    monkeypatch.setattr("index.torch_exact.SCORED_VALUES", 1 << 14)
    ix = TorchExactIndex(DIM, device="cpu")
    ix._on_cpu, ix._dtype = False, torch.float16
    ix._rows = ix._rows.half()
    return ix


def test_without_a_gpu_the_error_names_the_way_out():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendMissingError, match="device='cpu'"):
        TorchExactIndex(DIM)


def test_another_device_is_refused():
    with pytest.raises(InputError, match="'tpu'"):
        TorchExactIndex(DIM, device="tpu")


def test_more_ties_than_are_fetched_are_still_ordered_by_id(unit_vectors):
    rows = np.repeat(unit_vectors(1, DIM, seed=1), 3_000, axis=0)
    ids = np.random.default_rng(2).permutation(3_000)
    ix = TorchExactIndex(DIM, device="cpu")
    ix.add(rows, ids=ids)
    assert ix.search(rows[:2].copy(), k=7).ids.tolist() == [list(range(7))] * 2


@pytest.mark.parametrize("n_queries", [1, 30])
def test_float16_only_nominates(monkeypatch, unit_vectors, n_queries):
    rows, queries = unit_vectors(5_000, DIM, seed=1), unit_vectors(n_queries, DIM, seed=2)
    rows[4_000:4_040] = rows[:40]  # duplicates, far from each other
    on_gpu, on_cpu = in_halves(monkeypatch), ExactIndex(DIM, dtype="float16")
    for ix in (on_gpu, on_cpu):
        ix.add(rows[:3_000], ids=np.arange(3_000) * 2)
        ix.add(rows[3_000:], ids=np.arange(2_000) * 2 + 1)
    for k, allowed in ((10, None), (10, np.arange(1, 4_000, 7)), (4, np.arange(5)), (3_000, None)):
        mine, its = (ix.search(queries, k=k, allowed=allowed) for ix in (on_gpu, on_cpu))
        assert np.array_equal(mine.ids, its.ids)
        assert np.array_equal(mine.scores, its.scores)
    for ix in (on_gpu, on_cpu):
        ix.remove(np.arange(0, 6_000, 3))
    same = on_gpu.search(rows[:20].copy(), k=7), on_cpu.search(rows[:20].copy(), k=7)
    assert np.array_equal(same[0].ids, same[1].ids)


@pytest.mark.parametrize("width", [9, GROUP * 8, GROUP * 40 + 5, GROUP * 300 + 77])
def test_the_best_of_groups_are_the_best_of_all(width):
    import torch

    scores = torch.from_numpy(np.random.default_rng(3).permutation(4 * width).reshape(4, width))
    best, where = _topk(torch, scores.double(), 9)
    slow = np.sort(scores.numpy(), axis=1)[:, ::-1][:, :9]
    assert np.array_equal(best.numpy(), slow)
    assert np.array_equal(np.take_along_axis(scores.numpy(), where.numpy(), 1), slow)


def test_a_fork_keeps_what_the_original_forgets(unit_vectors):
    ix = TorchExactIndex(DIM, device="cpu")
    rows = unit_vectors(20, DIM, seed=1)
    ix.add(rows, ids=np.arange(20))
    fork = ix.fork()
    fork.remove(np.arange(10))
    assert ix.search(rows, k=1).ids[:, 0].tolist() == list(range(20))
    assert fork.search(rows[10:], k=1).ids[:, 0].tolist() == list(range(10, 20))
    assert not (fork.search(rows, k=10).ids < 10).any()


@pytest.mark.gpu
@pytest.mark.parametrize("n_queries", [1, 300])
def test_gpu_and_cpu_agree(unit_vectors, n_queries):
    rows, queries = unit_vectors(50_000, DIM, seed=1), unit_vectors(n_queries, DIM, seed=2)
    on_gpu, on_cpu = TorchExactIndex(DIM), ExactIndex(DIM, dtype="float16")
    for ix in (on_gpu, on_cpu):
        ix.add(rows, ids=np.arange(50_000))
        ix.remove(np.arange(0, 50_000, 3))
    allowed = np.arange(1, 50_000, 7)
    for some in (None, allowed):
        mine, its = (
            on_gpu.search(queries, k=10, allowed=some),
            on_cpu.search(queries, k=10, allowed=some),
        )
        assert np.array_equal(mine.ids, its.ids)
        assert np.array_equal(mine.scores, its.scores)
