"""Fusing ranked lists. Scores of different Spaces are never added; ranks are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

# Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).
RRF_CONSTANT = 60


def fuse_ranks(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Fuse rankings by reciprocal rank: sum of 1 / (60 + rank), rank from 1; ties by id.

    Args:
        rankings: ids, best first.

    Returns:
        Every id once, best first.

    Example:
        >>> fuse_ranks([[1, 2, 3], [2, 4]])
        [2, 1, 4, 3]
    """
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, id_ in enumerate(ranking, start=1):
            scores[id_] += 1.0 / (RRF_CONSTANT + rank)
    return sorted(scores, key=lambda id_: (-scores[id_], id_))
