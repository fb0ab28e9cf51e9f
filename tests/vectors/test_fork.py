"""Forks: one reader goes on with what it has while a newer index loses and gains vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from index import ExactIndex
from index.allowed import Allowed
from index.errors import InputError
from index.faiss_index import FaissIndex

DIM = 8


def rows(n: int, seed: int) -> np.ndarray:
    """Unit rows; few directions, so that many scores are equal."""
    made = np.random.default_rng(seed).integers(-1, 2, (n, DIM)).astype(np.float32)
    made[~made.any(axis=1), 0] = 1
    return made / np.linalg.norm(made, axis=1, keepdims=True)


class Histories(RuleBasedStateMachine):
    """An exact index and its forks against dicts, whatever is done in whatever order."""

    @initialize(dtype=st.sampled_from(["float32", "float16"]), n=st.integers(0, 20))
    def begin(self, dtype: str, n: int) -> None:
        self.held: list[tuple[ExactIndex, dict[int, np.ndarray]]] = []
        self.newest, self.truth, self.next_id = ExactIndex(DIM, dtype=dtype), {}, 0
        self.add(n=n, seed=1)

    @rule(n=st.integers(0, 30), seed=st.integers(0, 50))
    def add(self, n: int, seed: int) -> None:
        ids = np.arange(self.next_id, self.next_id + n)
        self.next_id += n
        self.newest.add(rows(n, seed), ids=ids)
        self.truth |= dict(zip(ids.tolist(), rows(n, seed), strict=True))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.integers(0, max(1, self.next_id)), max_size=10))
        there = set(ids) & set(self.truth)
        assert self.newest.remove(np.array(ids, np.int64)) == len(there)
        for id_ in there:
            del self.truth[id_]

    @rule()
    def fork(self) -> None:
        newer = self.newest.fork()
        self.held = [*self.held[-2:], (self.newest, dict(self.truth))]
        self.newest = newer

    @rule(seed=st.integers(0, 50), k=st.integers(1, 8), keep=st.integers(1, 4))
    def search_filtered(self, seed: int, k: int, keep: int) -> None:
        allowed = np.arange(0, self.next_id + 3, keep)
        self._compare(self.newest, self.truth, rows(3, seed), k, allowed)

    @invariant()
    def every_fork_answers_as_its_own_history_says(self) -> None:
        for ix, truth in (*self.held, (self.newest, self.truth)):
            assert ix.ids().tolist() == sorted(truth)
            self._compare(ix, truth, rows(2, 99), 3, None)

    def _compare(self, ix, truth, queries, k, allowed) -> None:
        kept = [i for i in sorted(truth) if allowed is None or i in set(allowed.tolist())]
        found = ix.search(queries, k=k, allowed=None if allowed is None else Allowed(allowed))
        for query, got, count in zip(queries, found.ids, found.counts, strict=True):
            scores = [np.float32(truth[i].astype(np.float64) @ query) for i in kept]
            if ix._dtype == "float32":
                order = np.lexsort((kept, -np.array(scores))) if kept else []
                assert got[:count].tolist() == [kept[i] for i in order[:k]]
            assert count == min(k, len(kept))
            assert set(got[:count].tolist()) <= set(kept)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "fastscan"])
def test_a_faiss_fork_forgets_what_was_removed_and_its_original_does_not(kind, unit_vectors):
    vectors = unit_vectors(300, 16, seed=1)
    ix = FaissIndex(16, kind=kind, **({"n_train": 100} if kind == "fastscan" else {}))
    ix.add(vectors, ids=np.arange(300))
    before = ix.search(vectors[:20], k=5)
    newer = ix.fork()
    assert newer.remove(np.arange(0, 300, 2)) == 150
    assert ix.search(vectors[:20], k=5).ids.tolist() == before.ids.tolist()
    assert (newer.search(vectors[:20], k=5).ids % 2 == 1).all()
    assert (len(ix), len(newer)) == (300, 150)


def test_an_original_and_a_faiss_fork_take_no_more_vectors(unit_vectors):
    ix = FaissIndex(16)
    ix.add(unit_vectors(3, 16, seed=1), ids=np.arange(3))
    newer = ix.fork()
    for each in (ix, newer):
        with pytest.raises(InputError, match="forked"):
            each.add(unit_vectors(1, 16, seed=2), ids=np.array([9]))


def test_closing_a_fork_leaves_the_original_open(unit_vectors):
    ix = ExactIndex(16)
    ix.add(unit_vectors(3, 16, seed=1), ids=np.arange(3))
    ix.fork().close()
    assert ix.search(unit_vectors(3, 16, seed=1), k=1).ids[:, 0].tolist() == [0, 1, 2]
