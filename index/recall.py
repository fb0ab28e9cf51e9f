"""How much of the exact answer an approximate index finds."""

from __future__ import annotations

import numpy as np

from index.base import Index
from index.checks import check_k
from index.errors import InputError
from index.types import Neighbors, SearchParameters, Vectors

TIE_TOLERANCE = 1e-6
"""Scores this close count as equal; float32 scores of unit vectors differ by less by rounding."""


def recall_at_k(found: Neighbors, truth: Neighbors, *, k: int) -> float:
    """Measure the share of the k best that was found, ties counted fairly.

    An answer is right if its score reaches the k-th true score: of two vectors that score alike,
    either will do. recall = sum_q min(right_q, true_q) / sum_q true_q, true_q = min(k, counts_q).

    Args:
        found: what an index answered; scores comparable with those of `truth`.
        truth: the exact answer to the same queries, at least k columns.
        k: how many of the best count.

    Returns:
        0 to 1; 1 where there is nothing to find.

    Raises:
        InputError: k is not positive, or the two answer different numbers of queries or fewer
            than k columns.

    Example:
        >>> truth = Neighbors(np.array([[7, 3]]), np.array([[0.9, 0.8]], np.float32), np.array([2]))
        >>> found = Neighbors(np.array([[7, 5]]), np.array([[0.9, 0.1]], np.float32), np.array([2]))
        >>> recall_at_k(found, truth, k=2)
        0.5
    """
    k = check_k(k)
    if len(found.ids) != len(truth.ids) or min(found.ids.shape[1], truth.ids.shape[1]) < k:
        raise InputError(
            f"found is {list(found.ids.shape)} and truth {list(truth.ids.shape)}; both must answer "
            f"the same queries with at least {k} columns",
            code="bad_shape",
        )
    n_true = np.minimum(truth.counts, k)
    last_true = truth.scores[np.arange(len(n_true)), np.maximum(n_true - 1, 0)]
    answered = np.arange(k) < found.counts[:, None]
    right = answered & (found.scores[:, :k] >= last_true[:, None] - TIE_TOLERANCE)
    n_right = np.minimum(np.count_nonzero(right, axis=1), n_true)
    return float(n_right.sum() / n_true.sum()) if n_true.sum() else 1.0


def measure_recall(
    candidate: Index,
    *,
    reference: Index,
    queries: Vectors,
    k: int,
    parameters: SearchParameters | None = None,
) -> float:
    """Measure recall@k of an index against an exact one holding the same vectors.

    Ask with queries of the *other* modality: an index that finds its own vectors at 0.99 can miss
    a third of what text queries look for among images.

    Args:
        candidate: the index to judge.
        reference: an exact index of the same vectors and ids.
        queries: float32 [Q, D], unit length, like those it will be asked.
        k: how many of the best count.
        parameters: of the candidate's search.

    Returns:
        0 to 1.

    Raises:
        InputError: the indexes hold different ids, or a query is refused.

    Example:
        >>> from index.exact import ExactIndex
        >>> exact = ExactIndex(2)
        >>> exact.add(np.eye(2, dtype=np.float32), ids=np.arange(2))
        >>> measure_recall(exact, reference=exact, queries=np.eye(2, dtype=np.float32), k=1)
        1.0
    """
    if not np.array_equal(candidate.ids(), reference.ids()):
        raise InputError(
            f"the candidate holds {len(candidate)} ids, the reference {len(reference)}; "
            "they must be the same ids",
            code="bad_ids",
        )
    found = candidate.search(queries, k=k, parameters=parameters)
    return recall_at_k(found, reference.search(queries, k=k), k=k)
