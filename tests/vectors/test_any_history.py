"""Whatever was added and removed before, a search answers like sorting what is alive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from index import ExactIndex, Index, quantize
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.torch_exact import TorchExactIndex

DIM = 8
# Few distinct vectors, so that equal scores are common; drawn by position.
BANK = np.random.default_rng(0).standard_normal((40, DIM))
BANK = quantize(
    (BANK / np.linalg.norm(BANK, axis=1, keepdims=True)).astype(np.float32), dtype="float16"
)
KINDS = {
    "exact-float32": lambda: ExactIndex(DIM),
    "exact-float16": lambda: ExactIndex(DIM, dtype="float16"),
    "flat": lambda: FaissIndex(DIM),
    "flat-float16": lambda: FaissIndex(DIM, dtype="float16"),
    "torch_exact": lambda: TorchExactIndex(DIM, device="cpu"),
    # With every list read the order at the last place is still faiss's, so k covers everything.
    "ivf": lambda: FaissIndex(DIM, kind="ivf", n_lists=1, n_probes=1),
    "ivf-float16": lambda: FaissIndex(DIM, kind="ivf", n_lists=1, n_probes=1, dtype="float16"),
    "fastscan": lambda: FaissIndex(DIM, kind="fastscan", n_train=16, k_factor=99),
    "fastscan-mapped": lambda: FaissIndex(
        DIM, kind="fastscan", n_train=16, k_factor=99, rows="mapped"
    ),
    "ivf_fastscan": lambda: FaissIndex(
        DIM, kind="ivf_fastscan", n_lists=2, n_probes=2, n_train=16, k_factor=99
    ),
    "ivf_rabitq": lambda: FaissIndex(
        DIM, kind="ivf_rabitq", n_lists=2, n_probes=2, n_train=16, k_factor=99
    ),
    "factory": lambda: FaissIndex(DIM, kind="factory", factory="SQ8,RFlat", n_train=256),
}

EXACT = ("exact-float32", "exact-float16", "flat", "flat-float16", "torch_exact")


class History(RuleBasedStateMachine):
    """Run an index and a dict side by side."""

    @initialize(kind=st.sampled_from(sorted(KINDS)))
    def start(self, kind: str) -> None:
        self.kind = kind
        self.ix: Index = KINDS[kind]()
        self.alive: dict[int, int] = {}  # id -> row of BANK

    @rule(pairs=st.dictionaries(st.integers(0, 60), st.integers(0, 39), max_size=12))
    def add(self, pairs: dict[int, int]) -> None:
        ids = np.array(list(pairs), np.int64)
        rows = BANK[np.array(list(pairs.values()), np.int64)]
        if self.alive.keys() & pairs.keys():
            with pytest.raises(InputError, match="in use"):
                self.ix.add(rows, ids=ids)
            return
        self.ix.add(rows, ids=ids)
        self.alive.update(pairs)

    @rule(ids=st.lists(st.integers(0, 60), max_size=12))
    def remove(self, ids: list[int]) -> None:
        there = set(ids) & self.alive.keys()
        assert self.ix.remove(np.array(ids, np.int64)) == len(there)
        for id_ in there:
            del self.alive[id_]

    @rule(
        query=st.integers(0, 39),
        k=st.integers(1, 70),
        allowed=st.none() | st.lists(st.integers(0, 70), max_size=40),
    )
    def search(self, query: int, k: int, allowed: list[int] | None) -> None:
        if self.kind not in EXACT and allowed is None:
            k = 70
        found = self.ix.search(
            BANK[query : query + 1],
            k=k,
            allowed=None if allowed is None else np.array(allowed, np.int64),
        )
        ids = [id_ for id_ in self.alive if allowed is None or id_ in allowed]
        q = BANK[query].astype(np.float64)
        score = {i: min(1.0, float(np.float32(q @ BANK[self.alive[i]].astype(float)))) for i in ids}
        truth = sorted(ids, key=lambda i: (-score[i], i))[:k]
        assert found.ids[0, : found.counts[0]].tolist() == truth
        assert np.allclose(found.scores[0, : found.counts[0]], [score[i] for i in truth], atol=1e-7)

    @invariant()
    def knows_what_is_alive(self) -> None:
        if hasattr(self, "ix"):
            assert len(self.ix) == len(self.alive)
            assert self.ix.ids().tolist() == sorted(self.alive)


History.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestHistory = History.TestCase
