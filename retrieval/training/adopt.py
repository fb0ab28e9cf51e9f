"""Is the trained model better than its base? Held-out recall before and after, with its interval.

The figure is the mean recall: of each direction (queries of one modality, items of another), the
share of queries with a right answer among the first k, averaged over k = 1, 5, 10, and then over
the directions. It is adopted only if the bootstrap interval of the GAIN lies above zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import UsageError
from retrieval.training.features import Features
from retrieval.types import Modality

__all__ = ["Adoption", "Interval", "Recalls", "held_out_recalls", "judge_adoption", "mean_recall"]

Vectors = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

Recalls = Mapping[tuple[str, str], Values]
"""(query modality, item modality) -> float64 [Q, K]: was a right answer among the first k?"""

KS = (1, 5, 10)

# Queries scored at a time.
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Adoption:
    """The verdict.

    Attributes:
        before, after: mean recall of the base and of the trained model.
        gain: of the difference, over the same queries.
        adopted: the gain's interval lies above zero, or it was forced.
        forced: it would not have been adopted by itself.
    """

    before: Interval
    after: Interval
    gain: Interval
    adopted: bool
    forced: bool


def held_out_recalls(
    features: Features,
    *,
    rows: Ids,
    vectors: Mapping[str, Vectors],
    pairs: Sequence[tuple[Modality, Modality]],
) -> Recalls:
    """Search held-out rows among themselves, both ways of each pair type, exactly.

    Equal contents are one query and one item; all partners of a content are right answers.

    Args:
        features: of all rows; says what is present and equal.
        rows: int64 [R], held out.
        vectors: modality -> float32 [R, D], unit length, of these rows.
        pairs: pair types; those without a held-out row are left out.

    Returns:
        Hits per direction and k = 1, 5, 10.

    Raises:
        UsageError: no pair type has a held-out row (`too_few_pairs`).
    """
    out: dict[tuple[str, str], Values] = {}
    for one, other in pairs:
        both = np.flatnonzero(features.present[one][rows] & features.present[other][rows])
        if len(both) == 0:
            continue
        sides = [_unique(features.groups[side][rows][both]) for side in (one, other)]
        right = np.stack([number for _, number in sides])
        queries, items = (
            vectors[side][both[first]] for side, (first, _) in zip((one, other), sides, strict=True)
        )
        out[one, other] = _hits(queries, items=items, right=right)
        out[other, one] = _hits(items, items=queries, right=right[::-1])
    if not out:
        raise UsageError(
            f"none of the {len(rows)} held-out rows has a pair to judge by; give more pairs",
            code="too_few_pairs",
        )
    return out


def mean_recall(recalls: Recalls) -> float:
    """Average over queries and k, then over directions; in [0, 1].

    Example:
        >>> mean_recall({("text", "image"): np.array([[0, 1]]), ("image", "text"): np.ones((2, 2))})
        0.75
    """
    return float(np.mean([values.mean() for values in recalls.values()]))


def judge_adoption(
    before: Recalls, *, after: Recalls, force: bool = False, seed: int = 0, n_resamples: int = 2000
) -> Adoption:
    """Compare two models over the same held-out queries.

    Queries are drawn with replacement within each direction, the same ones for both models.

    Args:
        before, after: of the base and of the trained model.
        force: adopt whatever comes out.
        seed, n_resamples: of the bootstrap.

    Returns:
        The verdict.

    Example:
        >>> worse, better = ({("a", "b"): np.full((50, 3), x)} for x in (0.2, 0.3))
        >>> judge_adoption(worse, after=better).adopted, judge_adoption(better, after=worse).adopted
        (True, False)
    """
    generator = np.random.default_rng(seed)
    draws = np.empty((n_resamples, 2))
    per_query = [(b.mean(axis=1), after[key].mean(axis=1)) for key, b in before.items()]
    for draw in range(n_resamples):
        picks = [generator.integers(0, len(b), size=len(b)) for b, _ in per_query]
        for side in (0, 1):
            means = [both[side][p].mean() for both, p in zip(per_query, picks, strict=True)]
            draws[draw, side] = np.mean(means)
    gain = _interval(mean_recall(after) - mean_recall(before), draws[:, 1] - draws[:, 0])
    return Adoption(
        before=_interval(mean_recall(before), draws[:, 0]),
        after=_interval(mean_recall(after), draws[:, 1]),
        gain=gain,
        adopted=gain.low > 0 or force,
        forced=force and gain.low <= 0,
    )


def _unique(groups: Ids) -> tuple[Ids, Ids]:
    """Return the first place of each group, and the number of each place's group."""
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    return first, numbers


def _hits(queries: Vectors, *, items: Vectors, right: Ids) -> Values:
    """Look for a right answer among the first k of each query, by blocks to bound the memory.

    `right` int64 [2, R] pairs queries with their right items. A k that covers all items says
    nothing; it is left in, equal for every model.
    """
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ items.T
        inside = (right[0] >= start) & (right[0] < start + _BLOCK)
        fits = np.zeros(scores.shape, dtype=np.bool_)
        fits[right[0, inside] - start, right[1, inside]] = True
        # The best right answer's rank: one more than the wrong ones at least as good: a tie is a
        # miss, or a model that gives everything one vector would be perfect.
        best = np.where(fits, scores, -np.inf).max(axis=1, keepdims=True)
        ranks[start : start + _BLOCK] = 1 + ((scores >= best) & ~fits).sum(axis=1)
    return np.asarray(ranks[:, None] <= np.array(KS)[None, :], dtype=np.float64)


def _interval(value: float, draws: Values) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))
