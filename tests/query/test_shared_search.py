"""Searches of several threads go in common calls, and each gets its own answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from index.exact import ExactIndex
from index.types import Ids, Neighbors, Vectors
from retrieval.errors import CrossfindError
from retrieval.query.shared_search import SharedSearch


def make_exact(n: int = 400, dim: int = 16) -> ExactIndex:
    rows = np.random.default_rng(3).standard_normal((n, dim)).astype(np.float32)
    exact = ExactIndex(dim)
    exact.add(rows / np.linalg.norm(rows, axis=1, keepdims=True), ids=np.arange(n, dtype=np.int64))
    return exact


def test_each_thread_gets_what_it_would_get_alone() -> None:
    exact = make_exact()
    some = np.arange(0, 400, 3, dtype=np.int64)
    calls: list[int] = []

    def slow(queries: Vectors, k: int, allowed: Ids | None) -> Neighbors:
        calls.append(len(queries))
        time.sleep(0.01)
        return exact.search(queries, k=k, allowed=allowed)

    shared = SharedSearch(slow, max_batch=8)
    queries = np.random.default_rng(4).standard_normal((120, 1, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=2, keepdims=True)
    asked = [(q, 3 + n % 2, some if n % 3 == 0 else None) for n, q in enumerate(queries)]
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda a: shared(a[0], k=a[1], allowed=a[2]), asked))
    for (query, k, allowed), near in zip(asked, found, strict=True):
        alone = exact.search(query, k=k, allowed=allowed)
        assert near.ids.tolist() == alone.ids.tolist()
        assert np.allclose(near.scores, alone.scores, atol=1e-6)
    assert sum(calls) == shared.n_queries == 120
    assert max(calls) <= 8
    assert shared.n_calls == len(calls) < 100  # some went together


def test_an_idle_search_goes_at_once_and_alone() -> None:
    exact = make_exact()
    shared = SharedSearch(lambda q, k, a: exact.search(q, k=k, allowed=a))
    for _ in range(5):
        shared(np.eye(1, 16, dtype=np.float32), k=2, allowed=None)
    assert (shared.n_calls, shared.n_queries) == (5, 5)


def test_a_search_that_fails_tells_all_of_its_batch_and_nobody_waits_for_ever() -> None:
    begun = threading.Event()

    def broken(queries: Vectors, k: int, allowed: Ids | None) -> Neighbors:
        begun.set()
        time.sleep(0.05)
        raise CrossfindError("no", code="broken")

    shared = SharedSearch(broken)
    query = np.eye(1, 16, dtype=np.float32)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(shared, query, k=2, allowed=None) for _ in range(6)]
        for job in jobs:
            with pytest.raises(CrossfindError) as caught:
                job.result(timeout=10)
            assert caught.value.code == "broken"
    assert begun.is_set()
