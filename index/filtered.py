"""Filtered search that keeps its promise: as many answers as there are, whatever the filter.

faiss's graph with a filter of 1 % finds .27 of the true answers and leaves 28 % of the places
empty. Here one of two ways is taken, by cost counted in rows compared:

    scan    the wanted rows alone are compared: exact, and cheapest for few of them
    widen   so many candidates are nominated without the filter that k wanted ones are likely
            among them; who gets fewer asks for more, and at last is scanned for

Nominating without the filter has a certificate that a selector lacks: k wanted ones among the
nearest n of *all* vectors are the nearest wanted ones, as surely as the n are the nearest. With
clusters that a filter takes out whole, a selector walks the wrong region and cannot tell. Nor
need a GPU index support selectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from index.types import Ids, Mask, Neighbors, Vectors

SPARE = 8  # candidates beyond k that are scored exactly, for the order at the last place
WIDER = 4

# A row compared for many queries at once, in rows compared for one: BLAS reads it once.
_BATCH_SHARE = 0.06


class Nominator(ABC):
    """What a filtered search needs of an approximate index."""

    @abstractmethod
    def n_candidates(self, k: int) -> int:
        """How many candidates hold the best k wanted ones as surely as a search without filter."""

    @abstractmethod
    def rows_compared(self, n: int) -> float:
        """What n candidates cost one query, in float32 rows that could be compared instead."""

    @abstractmethod
    def nominate(self, queries: Vectors, n: int) -> Ids:
        """Give the nearest n positions of each query, int64 [Q, n], best first, -1 for none."""

    @abstractmethod
    def decide(self, queries: Vectors, positions: Ids, *, k: int) -> Neighbors:
        """Score candidates exactly and keep the best k; position -1 is none."""

    @abstractmethod
    def scan(self, queries: Vectors, *, k: int) -> Neighbors:
        """Compare the queries with every wanted row."""


def search_filtered(queries: Vectors, *, k: int, wanted: Mask, by: Nominator) -> Neighbors:
    """Find the best k wanted ones of each query.

    Args:
        queries: float32 [Q, D].
        k: at least 1, at most as many as are wanted.
        wanted: bool [n_positions].
        by: the index.

    Returns:
        Neighbors [Q, k], every count k.
    """
    found = Neighbors(
        np.zeros((len(queries), k), np.int64),
        np.zeros((len(queries), k), np.float32),
        np.zeros(len(queries), np.int64),
    )
    n_wanted = int(np.count_nonzero(wanted))
    left, n = np.arange(len(queries)), by.n_candidates(k)
    while left.size and n < len(wanted) and by.rows_compared(n) < scan_cost(n_wanted, len(left)):
        here = queries[left]
        positions = by.nominate(here, n)
        positions = np.where((positions >= 0) & wanted[positions], positions, -1)
        full = (positions >= 0).sum(axis=1) >= k
        if full.any():
            _put(found, left[full], by.decide(here[full], positions[full], k=k))
        left, n = left[~full], n * WIDER
    if left.size:
        _put(found, left, by.scan(queries[left], k=k))
    return found


def scan_cost(n_wanted: int, n_queries: int) -> float:
    """What comparing the wanted rows costs each of some queries, in rows compared for one.

    Example:
        >>> scan_cost(1_000, 1), scan_cost(1_000, 256)
        (1000.0, 63.671875)
    """
    return n_wanted * (_BATCH_SHARE + (1 - _BATCH_SHARE) / n_queries)


def _put(found: Neighbors, at: Ids, some: Neighbors) -> None:
    found.ids[at], found.scores[at], found.counts[at] = some.ids, some.scores, some.counts
