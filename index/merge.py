"""Merging answers of several indexes over disjoint ids into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index.types import Neighbors


def merge(parts: Sequence[Neighbors], *, k: int) -> Neighbors:
    """Merge neighbours found in indexes that share no id.

    Args:
        parts: at least one; each with the same number of queries.
        k: how many columns the result has.

    Returns:
        The best k of all, ordered by (-score, id).

    Example:
        >>> a = Neighbors(np.array([[1]]), np.array([[.5]], np.float32), np.array([1]))
        >>> b = Neighbors(np.array([[2]]), np.array([[.9]], np.float32), np.array([1]))
        >>> merge([a, b], k=3).ids.tolist(), merge([a, b], k=3).counts.tolist()
        ([[2, 1, 0]], [2])
    """
    n_queries = len(parts[0].counts)
    ids = np.zeros((n_queries, k), dtype=np.int64)
    scores = np.zeros((n_queries, k), dtype=np.float32)
    counts = np.zeros(n_queries, dtype=np.int64)
    for row in range(n_queries):
        all_ids = np.concatenate([p.ids[row, : p.counts[row]] for p in parts])
        all_scores = np.concatenate([p.scores[row, : p.counts[row]] for p in parts])
        order = np.lexsort((all_ids, -all_scores))[:k]
        counts[row] = len(order)
        ids[row, : len(order)] = all_ids[order]
        scores[row, : len(order)] = all_scores[order]
    return Neighbors(ids, scores, counts)
