"""Whatever was added and removed before, a search answers like sorting what is alive."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from index import ExactIndex, Index, load_index, quantize, save_index
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
    "hnsw": lambda: FaissIndex(DIM, kind="hnsw", m=8, ef_search=99),
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
        asked=st.lists(st.integers(0, 39), min_size=1, max_size=4),
        k=st.integers(1, 70),
        allowed=st.none() | st.lists(st.integers(0, 70), max_size=40),
    )
    def search(self, asked: list[int], k: int, allowed: list[int] | None) -> None:
        if self.kind not in EXACT and allowed is None:
            k = 70
        given = None if allowed is None else np.array(allowed, np.int64)
        found = self.ix.search(BANK[asked], k=k, allowed=given)
        ids = [id_ for id_ in self.alive if allowed is None or id_ in allowed]
        for at, query in enumerate(asked):
            n, q = found.counts[at], BANK[query].astype(np.float64)
            rows = {i: BANK[self.alive[i]].astype(float) for i in ids}
            score = {i: min(1.0, float(np.float32(q @ row))) for i, row in rows.items()}
            truth = sorted(ids, key=lambda i: (-score[i], i))[:k]
            assert found.ids[at, :n].tolist() == truth
            assert np.allclose(found.scores[at, :n], [score[i] for i in truth], atol=1e-7)
            assert not found.ids[at, n:].any()

    @rule(bad=st.sampled_from([np.nan, np.inf, 0.0, 2.0]), row=st.integers(0, 39))
    def refuse(self, bad: float, row: int) -> None:
        """What is no unit vector is neither stored nor asked, and good ones beside it are not."""
        rows = BANK[[row, row]].copy()
        rows[1] *= np.float32(bad)
        with pytest.raises(InputError):
            self.ix.add(rows, ids=np.array([61, 62]))
        with pytest.raises(InputError):
            self.ix.search(rows, k=1)

    @rule()
    def fork(self) -> None:
        """A fork answers as its original does, which goes on with what it has."""
        if not isinstance(self.ix, ExactIndex):
            return  # no other may be added to afterwards
        before, ids = self.ix, self.ix.ids().tolist()
        self.ix = before.fork()
        self.ix.remove(np.array(ids[:1], np.int64))
        assert before.ids().tolist() == ids
        for id_ in ids[:1]:
            del self.alive[id_]

    @precondition(lambda self: isinstance(self.ix, FaissIndex) and self.ix.is_trained)
    @rule()
    def save_and_load(self) -> None:
        if self.ix.takes_blocks:
            return  # its rows stand in memory here, outside of what is saved
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            sha256 = save_index(self.ix, folder / "ix", tmp=folder, fingerprint="f")
            self.ix = load_index(folder / "ix", sha256=sha256)

    @invariant()
    def knows_what_is_alive(self) -> None:
        if hasattr(self, "ix"):
            assert len(self.ix) == len(self.alive)
            assert self.ix.ids().tolist() == sorted(self.alive)


History.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestHistory = History.TestCase
