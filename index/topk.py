"""Choosing and ordering the best: one order, (-score, id), for every kind of index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import gt

import numpy as np
import numpy.typing as npt

from index.types import Ids, Neighbors, Vectors

Scores = npt.NDArray[np.float32]

SCORE_CHUNK = 128
"""Pairs scored at a time: their rows, in float64, stay in a core's own cache."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Scored pairs of query and vector, flat.

    Attributes:
        queries: int64 [C], row of the query.
        ids: int64 [C].
        scores: float32 [C], in [-1, 1].
    """

    queries: Ids
    ids: Ids
    scores: Scores

    def joined(self, other: Candidates) -> Candidates:
        """Put two lists behind each other."""
        return Candidates(
            np.concatenate([self.queries, other.queries]),
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.scores, other.scores]),
        )

    def best(self, k: int) -> Candidates:
        """Keep the k best of each query, ordered by (query, -score, id)."""
        order = np.lexsort((self.ids, -self.scores, self.queries))
        queries = self.queries[order]
        firsts = np.searchsorted(queries, queries)  # where each one's query begins
        order = order[np.arange(len(order)) - firsts < k]
        return Candidates(self.queries[order], self.ids[order], self.scores[order])

    def to_neighbors(self, *, n_queries: int, k: int) -> Neighbors:
        """Lay the k best of each query out as a table."""
        best = self.best(k)
        counts = np.bincount(best.queries, minlength=n_queries).astype(np.int64)
        columns = np.arange(len(best.queries)) - np.searchsorted(best.queries, best.queries)
        ids, scores = np.zeros((n_queries, k), np.int64), np.zeros((n_queries, k), np.float32)
        ids[best.queries, columns] = best.ids
        scores[best.queries, columns] = best.scores
        return Neighbors(ids, scores, counts)


NO_CANDIDATES = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def pair_scores(queries: Vectors, rows: Vectors, *, at_query: Ids, at_row: Ids) -> Scores:
    """Score pairs, the same to the last bit wherever and beside whatever a pair stands.

    A float32 product by BLAS depends on the batch and on a row's place in its block, so equal
    vectors can get unequal scores and ties break at random. Summed in float64 and rounded once,
    they are equal.

    Args:
        queries: float32 [Q, D], unit length.
        rows: float32 [N, D], unit length.
        at_query, at_row: int64 [C]; pair c is queries[at_query[c]] and rows[at_row[c]].

    Returns:
        float32 [C], cosine in [-1, 1].

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> pair_scores(eye, eye, at_query=np.array([0, 0]), at_row=np.array([0, 1])).tolist()
        [1.0, 0.0]
    """
    scores = np.empty(len(at_row), np.float32)
    for start in range(0, len(at_row), SCORE_CHUNK):
        here = slice(start, start + SCORE_CHUNK)
        left = queries[at_query[here]].astype(np.float64)
        right = rows[at_row[here]].astype(np.float64)
        scores[here] = np.einsum("cd,cd->c", left, right)
    return _within_one(scores)


def score_table(queries: Vectors, positions: Ids, *, rows: Callable[[Ids], Vectors]) -> Scores:
    """Score a full table of positions, to the last bit as `pair_scores` does.

    Args:
        queries: float32 [Q, D], unit length.
        positions: int64 [Q, K], none negative.
        rows: gives the rows at positions, float32 [P, D], unit length.

    Returns:
        float32 [Q, K], cosine in [-1, 1].

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> score_table(eye, np.array([[0, 1], [0, 1]]), rows=lambda at: eye[at]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    scores = np.empty(positions.shape, np.float32)
    step = max(1, SCORE_CHUNK // positions.shape[1])
    for start in range(0, len(positions), step):
        here = positions[start : start + step]
        left = queries[start : start + step].astype(np.float64)
        right = rows(here.ravel()).astype(np.float64).reshape(*here.shape, -1)
        scores[start : start + step] = np.matmul(right, left[:, :, None])[:, :, 0]
    return _within_one(scores)


def best_of_table(
    queries: Vectors, positions: Ids, *, ids: Ids, rows: Callable[[Ids], Vectors], k: int
) -> Neighbors:
    """Score a full table of positions and keep the k best of each row, ordered by (-score, id).

    Args:
        queries: float32 [Q, D], unit length.
        positions: int64 [Q, N], none negative, N >= k.
        ids: int64 [Q, N], of the positions.
        rows: gives the rows at positions, float32 [P, D], unit length.
        k: at least 1.

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> found = best_of_table(
        ...     eye[:1], np.array([[0, 1]]), ids=np.array([[7, 3]]), rows=lambda at: eye[at], k=1
        ... )
        >>> found.ids.tolist(), found.scores.tolist()
        ([[7]], [[1.0]])
    """
    if len(queries) == 1:
        return _best_of_one(queries[0], rows(positions[0]), ids=ids[0], k=k)
    return order_table(ids, score_table(queries, positions, rows=rows), k=k)


def _best_of_one(query: Vectors, rows: Vectors, *, ids: Ids, k: int) -> Neighbors:
    """Do for a single query, which is in a hurry, without a sort where none is needed."""
    scores = rows.astype(np.float64).dot(query.astype(np.float64)).astype(np.float32)
    listed: list[float] = scores.tolist()
    if max(listed) > 1 or min(listed) < -1:
        listed = _within_one(scores).tolist()
    if not all(map(gt, listed, listed[1:])):
        order = np.lexsort((ids, -scores))
        ids, scores = ids[order], scores[order]
    return Neighbors(ids[None, :k], scores[None, :k], np.array([k]))


def order_table(ids: Ids, scores: Scores, *, k: int) -> Neighbors:
    """Keep the k best of each row of a full table, ordered by (-score, id).

    Args:
        ids: int64 [Q, N], N >= k.
        scores: float32 [Q, N].
        k: at least 1.

    Example:
        >>> order_table(np.array([[7, 3, 5]]), np.array([[.5, .5, .9]], np.float32), k=2).ids
        array([[5, 3]])
    """
    order = np.lexsort((ids, -scores), axis=-1)[:, :k]
    row = np.arange(len(ids))[:, None]
    return Neighbors(ids[row, order], scores[row, order], np.full(len(ids), k, np.int64))


def _within_one(scores: Scores) -> Scores:
    np.minimum(scores, np.float32(1.0), out=scores)
    return np.maximum(scores, np.float32(-1.0), out=scores)


def slack(dim: int) -> float:
    """Bound how far below the k-th best float32 score a true member of the k best can lie.

    A float32 dot product of unit vectors is off by at most dim * 2^-24 in any order of summation
    (Higham, Accuracy and Stability, 3.1), lengths may be off by 0.1 %, and two scores are compared.

    Example:
        >>> slack(512) < 1e-4
        True
    """
    return 2.1 * dim * 2.0**-24
