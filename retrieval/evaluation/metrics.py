"""Ranking metrics for queries with any number of right answers, graded or not.

A query's right answers are a mapping item -> grade > 0. `judge` turns rankings into grades once;
each metric then gives one value per query, so that callers can average, bootstrap or list them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError

__all__ = [
    "Judged",
    "average_precision",
    "first_rank",
    "hit",
    "judge",
    "ndcg",
    "precision",
    "recall",
    "reciprocal_rank",
    "summarize",
    "top_positions",
]

T = TypeVar("T", bound=Hashable)

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """Rankings with their grades.

    Attributes:
        grades: float64 [Q, K], grade of the item at each place, 0 for a wrong one.
        ideal: float64 [Q, M], grades of all right answers of the query, best first, then 0.
    """

    grades: Values
    ideal: Values

    @property
    def n_right(self) -> Values:
        """Right answers that exist for each query, float64 [Q]."""
        return np.asarray(np.count_nonzero(self.ideal, axis=1), dtype=np.float64)


def judge(rankings: Sequence[Sequence[T]], *, relevance: Sequence[Mapping[T, float]]) -> Judged:
    """Grade what a search returned.

    Args:
        rankings: per query, the items returned, best first; lengths may differ.
        relevance: per query, right item -> grade > 0; at least one.

    Returns:
        The grades, [Q, longest ranking] and [Q, most right answers].

    Raises:
        InputError: numbers of queries differ (`bad_shape`), a query has no right answer or a grade
            that is not positive (`bad_relevance`), or a ranking names an item twice
            (`duplicate_ids`).

    Example:
        >>> judge([["b", "a"]], relevance=[{"a": 2, "c": 1}]).grades.tolist()
        [[0.0, 2.0]]
    """
    if len(rankings) != len(relevance):
        raise InputError(
            f"{len(rankings)} rankings for {len(relevance)} queries; give one each",
            code="bad_shape",
        )
    grades = np.zeros((len(rankings), max(map(len, rankings), default=0)))
    ideal = np.zeros((len(rankings), max(map(len, relevance), default=0)))
    for query, (ranking, right) in enumerate(zip(rankings, relevance, strict=True)):
        if not right or min(right.values()) <= 0:
            raise InputError(
                f"query {query} needs right answers with grades above 0, has {dict(right)}",
                code="bad_relevance",
            )
        if len(set(ranking)) != len(ranking):
            raise InputError(
                f"the ranking of query {query} names an item twice; count each once",
                code="duplicate_ids",
            )
        grades[query, : len(ranking)] = [right.get(item, 0.0) for item in ranking]
        ideal[query, : len(right)] = sorted(right.values(), reverse=True)
    return Judged(grades=grades, ideal=ideal)


def _found(judged: Judged, *, k: int) -> Values:
    """Count right answers among the first k, float64 [Q]."""
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1", code="bad_k")
    return np.asarray(np.count_nonzero(judged.grades[:, :k], axis=1), dtype=np.float64)


def recall(judged: Judged, *, k: int) -> Values:
    """Compute R@k: the share of a query's right answers that stand among the first k.

    With one right answer this is what papers on captions call R@k; with several, they mean `hit`.

    Args:
        judged: graded rankings.
        k: places looked at, >= 1.

    Returns:
        float64 [Q] in [0, 1].

    Example:
        >>> recall(judge(["ab"], relevance=[{"a": 1, "c": 1}]), k=1).tolist()
        [0.5]
    """
    return _found(judged, k=k) / judged.n_right


def hit(judged: Judged, *, k: int) -> Values:
    """Say whether any right answer stands among the first k.

    Args:
        judged: graded rankings.
        k: places looked at, >= 1.

    Returns:
        float64 [Q], 0 or 1.

    Example:
        >>> hit(judge(["ab"], relevance=[{"b": 1, "c": 1}]), k=2).tolist()
        [1.0]
    """
    return (_found(judged, k=k) > 0).astype(np.float64)


def precision(judged: Judged, *, k: int) -> Values:
    """Compute P@k: the share of the first k places that hold right answers.

    Args:
        judged: graded rankings; a ranking shorter than k counts its missing places as wrong.
        k: places looked at, >= 1.

    Returns:
        float64 [Q] in [0, 1].

    Example:
        >>> precision(judge(["ab"], relevance=[{"a": 1}]), k=2).tolist()
        [0.5]
    """
    return _found(judged, k=k) / k


def first_rank(judged: Judged) -> Values:
    """Find the rank, from 1, of the best placed right answer.

    Args:
        judged: graded rankings of depth K.

    Returns:
        float64 [Q]; K + 1 where no right answer was found, the least it can be.

    Example:
        >>> first_rank(judge(["ab", "ab"], relevance=[{"b": 1}, {"z": 1}])).tolist()
        [2.0, 3.0]
    """
    right = judged.grades > 0
    depth = right.shape[1]
    if depth == 0:
        return np.ones(len(right))
    ranks = np.where(right.any(axis=1), right.argmax(axis=1) + 1, depth + 1)
    return np.asarray(ranks, dtype=np.float64)


def reciprocal_rank(judged: Judged) -> Values:
    """Compute 1 / the rank of the first right answer; the mean is MRR.

    Args:
        judged: graded rankings.

    Returns:
        float64 [Q] in [0, 1]; 0 where none was found.

    Example:
        >>> reciprocal_rank(judge(["ab"], relevance=[{"b": 1}])).tolist()
        [0.5]
    """
    return np.asarray((judged.grades > 0).any(axis=1) / first_rank(judged))


def average_precision(judged: Judged) -> Values:
    """Compute average precision; the mean is mAP.

    AP = 1/R sum over found right answers of P@(their rank), R = right answers that exist: what was
    not found counts 0.

    Args:
        judged: graded rankings.

    Returns:
        float64 [Q] in [0, 1].

    Example:
        >>> average_precision(judge(["axb"], relevance=[{"a": 1, "b": 1}])).round(4).tolist()
        [0.8333]
    """
    right = judged.grades > 0
    ranks = np.arange(1, right.shape[1] + 1)
    precisions = np.cumsum(right, axis=1) / ranks
    return np.asarray((precisions * right).sum(axis=1) / judged.n_right)


def ndcg(judged: Judged, *, k: int, graded: bool = True) -> Values:
    """Compute nDCG@k with linear gain: DCG = sum_i grade_i / log2(1 + i), over the ideal DCG.

    Args:
        judged: graded rankings.
        k: places looked at, >= 1.
        graded: use the grades; otherwise every right answer counts 1.

    Returns:
        float64 [Q] in [0, 1].

    Example:
        >>> ndcg(judge(["ba"], relevance=[{"a": 1}]), k=2).round(4).tolist()
        [0.6309]
    """
    _found(judged, k=k)
    return _dcg(judged.grades, k=k, graded=graded) / _dcg(judged.ideal, k=k, graded=graded)


def _dcg(grades: Values, *, k: int, graded: bool) -> Values:
    top = grades[:, :k] if graded else (grades[:, :k] > 0).astype(np.float64)
    discounts = 1 / np.log2(np.arange(2, top.shape[1] + 2))
    return np.asarray(top @ discounts)


def summarize(judged: Judged, *, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Average every metric over the queries.

    Args:
        judged: graded rankings of at least one query, as deep as the largest k or exhausted.
        ks: places for R, hit, P and nDCG.

    Returns:
        Names (`r@10`, `hit@10`, `p@10`, `ndcg@10`, `ndcg_binary@10`, `mrr`, `map`,
        `median_rank`) -> value.

    Raises:
        InputError: there is no query (`no_queries`).

    Example:
        >>> summary = summarize(judge(["ba"], relevance=[{"a": 1}]), ks=(1, 2))
        >>> summary["r@1"], summary["r@2"], summary["mrr"], summary["median_rank"]
        (0.0, 1.0, 0.5, 2.0)
    """
    if len(judged.grades) == 0:
        raise InputError("there is no query to average over; give at least one", code="no_queries")
    values = {
        "mrr": reciprocal_rank(judged).mean(),
        "map": average_precision(judged).mean(),
        "median_rank": np.median(first_rank(judged)),
    }
    for k in ks:
        values[f"r@{k}"] = recall(judged, k=k).mean()
        values[f"hit@{k}"] = hit(judged, k=k).mean()
        values[f"p@{k}"] = precision(judged, k=k).mean()
        values[f"ndcg@{k}"] = ndcg(judged, k=k).mean()
        values[f"ndcg_binary@{k}"] = ndcg(judged, k=k, graded=False).mean()
    return {name: float(value) for name, value in values.items()}


def top_positions(scores: npt.NDArray[np.floating], *, k: int) -> npt.NDArray[np.int64]:
    """Rank items by score, equal scores by position.

    Args:
        scores: floating [Q, N], higher is better.
        k: places wanted; all N if larger.

    Returns:
        int64 [Q, min(k, N)], positions of the items, best first.

    Example:
        >>> import numpy as np
        >>> top_positions(np.array([[0.5, 0.9, 0.5]]), k=2).tolist()
        [[1, 0]]
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)
