"""Filtered search in faiss indexes: what candidates cost each kind, and how few rows are compared.

Costs are in rows compared (`rows_compared`), measured on one core at 100,000 x 512: an exact row
costs .13 us, a graph 4 us a candidate, 4-bit codes 1/28 of a row each and .3 us a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from index.coded import CodedKind
from index.faiss_kinds import Core, FaissKind
from index.filtered import SPARE, Nominator
from index.ids import IdTable
from index.scan import Block, scan
from index.topk import Scores, slack
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

_ROWS_PER_STEP = 30.0  # of a graph walk, per candidate kept
_ROWS_PER_CODE = 1 / 28
_ROWS_PER_CANDIDATE = 2.5
_FEW_QUERIES = 4  # up to here reading rows in place beats copying them together for BLAS
_GATHERED_ROWS = 16_384
# Of ef_search, wanted candidates that a walk must keep: at 64 and 10 % it then finds .99, as
# without filter.
_OF_THE_WALK = 0.3
# Of the codes scored again without a filter: tuning left a margin there, and each candidate
# costs .1 us. At 10 % recall stays 1.00, and a search takes 6 % less.
_OF_THE_SCORED = 0.8
_LIKELY = 1.5  # times the candidates that would hold k wanted ones on average

Best = Callable[[Vectors, Ids, int], Neighbors]


class FaissNominator(Nominator):
    """One filtered search of a trained faiss index.

    Args:
        back: the kind.
        table: its ids.
        wanted: bool [n_positions], at least one.
        parameters: how hard a search without filter would try.
        best: scores positions exactly, -1 being none, and keeps the best k.
    """

    def __init__(
        self,
        back: FaissKind,
        *,
        table: IdTable,
        wanted: Mask,
        parameters: SearchParameters,
        best: Best,
    ) -> None:
        self._back = back
        self._table = table
        self._wanted = wanted
        self._share = int(np.count_nonzero(wanted)) / table.n_live
        self._best = best
        self._parameters = parameters
        if "n_probes" in back.efforts():
            n_probes = (parameters.n_probes or back.number("n_probes")) * self._share**-0.75
            self._n_probes: int = min(round(n_probes), _n_lists(back))
            self._parameters = replace(parameters, n_probes=self._n_probes)

    @property
    def _ef_search(self) -> int:
        return self._parameters.ef_search or self._back.number("ef_search")

    @cached_property
    def _positions(self) -> Ids:
        return np.flatnonzero(self._wanted)

    def n_candidates(self, k: int) -> int:
        least = _LIKELY * k / self._share
        if "ef_search" in self._back.efforts():
            least = max(least, _OF_THE_WALK * self._ef_search / self._share)
        if isinstance(self._back, CodedKind):
            least = max(least, _OF_THE_SCORED * self._n_scored(k) / self._share)
        return int(least) + SPARE

    def rows_compared(self, n: int) -> float:
        back = self._back
        if back.is_exact:
            return float("inf")  # comparing the wanted rows alone is the better way, always
        if "ef_search" in back.efforts():
            return _ROWS_PER_STEP * max(n, self._ef_search)
        row = _ROWS_PER_CODE if isinstance(back, CodedKind) else 1.0
        if "n_probes" not in back.efforts():
            return row * self._table.n_positions + _ROWS_PER_CANDIDATE * n
        n_lists = _n_lists(back)
        n_read: float = self._table.n_positions * self._n_probes / n_lists
        return float(n_lists + row * n_read + _ROWS_PER_CANDIDATE * n)

    def nominate(self, queries: Vectors, n: int) -> Ids:
        if isinstance(self._back, CodedKind):
            return self._back.nominate(queries, n=n, parameters=self._parameters)
        parameters = self._parameters
        _, positions = self._back.nearest(queries, k=n, selector=None, parameters=parameters)
        return positions

    def decide(self, queries: Vectors, positions: Ids, *, k: int) -> Neighbors:
        n_kept = self._n_scored(k) if isinstance(self._back, CodedKind) else k + SPARE
        kept = [row[row >= 0][:n_kept] for row in positions]
        if n_kept > k + SPARE:
            kept = [
                self._nearest_of(query, near, n=k + SPARE)
                for query, near in zip(queries, kept, strict=True)
            ]
        return self._best(queries, _padded(kept), k)

    def scan(self, queries: Vectors, *, k: int) -> Neighbors:
        flat = self._back.flat_core()
        if flat is not None and len(queries) <= _FEW_QUERIES:
            kept = [self._compare(flat, query, k=k) for query in queries]
            return self._best(queries, _padded(kept), k)
        return scan(self._blocks(), queries, k=k)

    def _n_scored(self, k: int) -> int:
        return k * (self._parameters.k_factor or self._back.number("k_factor"))

    def _nearest_of(self, query: Vectors, near: Ids, *, n: int) -> Ids:
        """Keep what float32 says are the nearest n of a query's candidates."""
        if len(near) <= n:
            return near
        flat = self._back.flat_core()
        scores = self._back.rows(near) @ query if flat is None else self._scores(flat, query, near)
        kept: Ids = near[np.argpartition(scores, len(near) - n)[-n:]]
        return kept

    def _compare(self, flat: Core, query: Vectors, *, k: int) -> Ids:
        """Compare one query with the wanted rows where they lie; keep who may be the best k."""
        scores, n = self._scores(flat, query, self._positions), len(self._positions)
        kth = np.partition(scores, n - k)[n - k]
        near = scores >= np.minimum(kth, 1) - np.float32(slack(len(query)))
        kept: Ids = self._positions[near]
        return kept

    def _scores(self, flat: Core, query: Vectors, positions: Ids) -> Scores:
        """Compare one query with rows where they lie, in float32."""
        pointer, n = self._back.faiss.swig_ptr, len(positions)
        scores = np.empty(n, np.float32)
        flat.compute_distance_subset(1, pointer(query), n, pointer(scores), pointer(positions))
        return scores

    def _blocks(self) -> Iterator[Block]:
        table = self._table
        if self._share * 4 <= 1:  # few rows are copied together
            for start in range(0, len(self._positions), _GATHERED_ROWS):
                some = self._positions[start : start + _GATHERED_ROWS]
                yield Block(self._back.rows(some), table.ids[some])
            return
        for rows, positions in self._back.pieces():
            yield Block(rows, table.ids[positions], wanted=self._wanted[positions])


def _n_lists(back: FaissKind) -> int:
    core = back.faiss.downcast_index(back.core)
    if isinstance(back, CodedKind):
        core = back.faiss.extract_index_ivf(back.core)
    return int(core.nlist)


def _padded(rows: list[Ids]) -> Ids:
    """Lay rows of unequal length out as a table, -1 at their ends."""
    table = np.full((len(rows), max(map(len, rows))), -1, np.int64)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table
