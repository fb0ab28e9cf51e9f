"""Stacking: how far to trust each source of a ranking, learnt from right answers.

A candidate of a query has, per source, four features: its score brought to [0, 1] within the
source's list, its score as it is, 61 / (60 + rank), and whether the source has it at all. What
a source lacks counts as 0 of the first and third and as the least of the second. Features are
standardised over the training candidates. The weights w minimise, over queries Q with right
candidates R_q among their candidates C_q (the listwise loss of Cao et al., ICML 2007),

    -1/|Q| sum_q 1/|R_q| sum_(r in R_q) log(exp(w.f_r) / sum_(c in C_q) exp(w.f_c)) + p/2 |w|^2

which is convex: Newton's method with backtracking finds the one minimum.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError
from retrieval.query.fusion import RRF_CONSTANT, Scores, scaled_scores

__all__ = ["Lists", "Stack", "fit_stack", "fold_of"]

Values = npt.NDArray[np.float64]
Lists = Mapping[str, Scores]
"""What each source gave for one query: its name -> item id -> score, higher is better."""

PENALTY = 0.01
N_FEATURES = 4
_MAX_STEPS = 100
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Stack:
    """A learnt fusion of named sources.

    Attributes:
        sources: their names.
        weights: float64 [4 S], of the standardised features, source by source.
        mean, scale: float64 [4 S], of the features over the training candidates.
    """

    sources: tuple[str, ...]
    weights: Values
    mean: Values
    scale: Values

    def fuse(self, lists: Lists) -> dict[int, float]:
        """Fuse the lists of one query.

        Returns:
            Every id with its fused score, best first, ties by id.
        """
        ids, features = stack_features(lists, sources=self.sources)
        scores = ((features - self.mean) / self.scale) @ self.weights
        fused = dict(zip(ids, scores.tolist(), strict=True))
        return dict(sorted(fused.items(), key=lambda entry: (-entry[1], entry[0])))


def fit_stack(
    queries: Sequence[Lists],
    *,
    right: Sequence[Collection[int]],
    sources: Sequence[str],
    penalty: float = PENALTY,
) -> Stack:
    """Learn a fusion from queries with right answers.

    Args:
        queries: what the sources gave for each.
        right: ids of the right items of each; queries without one among their candidates, or
            with nothing else, teach nothing and are passed over.
        sources: which of them to use.
        penalty: p, above 0.

    Returns:
        The fusion, the same for the same input.

    Raises:
        InputError: no query teaches anything (`nothing_to_learn`), or a figure is out of bounds.

    Example:
        >>> good, poor = {1: 0.9, 2: 0.1}, {1: 0.4, 2: 0.5}
        >>> lists = [{"good": good, "poor": poor}] * 3
        >>> list(fit_stack(lists, right=[{1}] * 3, sources=["good", "poor"]).fuse(lists[0]))
        [1, 2]
    """
    if penalty <= 0 or len(queries) != len(right) or not sources:
        raise InputError(
            f"{len(queries)} queries, {len(right)} right answers, {len(sources)} sources, "
            f"penalty {penalty}; give one answer a query, a source and a penalty above 0"
        )
    tables, targets = [], []
    for lists, wanted in zip(queries, right, strict=True):
        ids, features = stack_features(lists, sources=sources)
        is_right = np.array([id_ in wanted for id_ in ids], dtype=np.float64)
        if 0 < is_right.sum() < len(is_right):
            tables.append(features)
            targets.append(is_right / is_right.sum())
    if not tables:
        raise InputError(
            "no query has a right and a wrong item among its candidates; give more right answers",
            code="nothing_to_learn",
        )
    every = np.concatenate(tables)
    mean, scale = every.mean(axis=0), every.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    weights = _newton([(t - mean) / scale for t in tables], targets, penalty)
    return Stack(tuple(sources), weights, mean, scale)


def stack_features(lists: Lists, *, sources: Sequence[str]) -> tuple[list[int], Values]:
    """Describe the candidates of one query.

    Args:
        lists: what the sources gave; a missing source gave nothing.
        sources: which to describe, in order.

    Returns:
        The ids that any of them has, ascending, and float64 [N, 4 S].
    """
    ids = sorted({id_ for name in sources for id_ in lists.get(name, {})})
    table = np.zeros((len(ids), N_FEATURES * len(sources)))
    place = {id_: row for row, id_ in enumerate(ids)}
    for column, name in enumerate(sources):
        scores = lists.get(name, {})
        scaled = scaled_scores(scores)
        order = sorted(scores, key=lambda id_: (-scores[id_], id_))
        own = table[:, N_FEATURES * column : N_FEATURES * (column + 1)]
        own[:, 1] = min(scores.values(), default=0.0)
        for rank, id_ in enumerate(order, start=1):
            share = (RRF_CONSTANT + 1) / (RRF_CONSTANT + rank)
            own[place[id_]] = (scaled[id_], scores[id_], share, 1.0)
    return ids, table


def stack_loss(
    weights: Values, tables: Sequence[Values], targets: Sequence[Values], penalty: float
) -> tuple[float, Values, Values]:
    """Compute the loss with its gradient and Hessian.

    Args:
        weights: float64 [F].
        tables: per query float64 [N, F].
        targets: per query float64 [N], shares of the right candidates, sum 1.
        penalty: p.

    Returns:
        The loss, float64 [F] and float64 [F, F].
    """
    loss = penalty / 2 * float(weights @ weights)
    gradient = penalty * weights
    hessian = penalty * np.eye(len(weights))
    for table, target in zip(tables, targets, strict=True):
        scores = table @ weights
        scores -= scores.max()
        shares = np.exp(scores)
        total = shares.sum()
        shares /= total
        loss += float(np.log(total) - target @ scores) / len(tables)
        centred = table - shares @ table
        gradient = gradient + (shares - target) @ table / len(tables)
        hessian += (centred * shares[:, None]).T @ centred / len(tables)
    return loss, gradient, hessian


def _newton(tables: Sequence[Values], targets: Sequence[Values], penalty: float) -> Values:
    weights = np.zeros(tables[0].shape[1])
    loss, gradient, hessian = stack_loss(weights, tables, targets, penalty)
    for _ in range(_MAX_STEPS):
        step = np.linalg.solve(hessian, gradient)
        slope = float(gradient @ step)
        if slope < _TOLERANCE:
            break
        size = 1.0
        while True:
            new = stack_loss(weights - size * step, tables, targets, penalty)
            if new[0] <= loss - 0.25 * size * slope or size < 1e-6:
                break
            size /= 2
        weights = weights - size * step
        loss, gradient, hessian = new
    return weights


def fold_of(groups: Sequence[object], *, n_folds: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Deal queries into folds of about equal size; equal groups stay together.

    Args:
        groups: one hashable value a query, e.g. its text.
        n_folds: 2 or more, at most the number of groups.
        seed: of the deal.

    Returns:
        int64 [Q], the fold of each query.

    Raises:
        InputError: too few groups for so many folds (`too_few_queries`).

    Example:
        >>> sorted(np.bincount(fold_of(["a", "b", "a", "c"], n_folds=3)).tolist())
        [1, 1, 2]
    """
    names = list(dict.fromkeys(groups))
    if not 2 <= n_folds <= len(names):
        raise InputError(
            f"{len(names)} different queries cannot be dealt into {n_folds} folds; "
            "give more queries or fewer folds (at least 2)",
            code="too_few_queries",
        )
    order = np.random.default_rng(seed).permutation(len(names))
    dealt = {names[place]: turn % n_folds for turn, place in enumerate(order.tolist())}
    return np.array([dealt[group] for group in groups], dtype=np.int64)
