"""Exact search in torch: what a GPU answers is what the CPU answers."""

from __future__ import annotations

import numpy as np
import pytest

from index import ExactIndex
from index.errors import BackendMissingError, InputError
from index.torch_exact import TorchExactIndex

DIM = 64


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
