"""Confidence intervals by resampling queries: how far a figure would move with other queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError

__all__ = ["Interval", "bootstrap", "bootstrap_difference"]

# Resamples drawn at once: bounds memory at 64 x Q positions.
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its percentile bootstrap interval.

    Attributes:
        value: the mean itself.
        low, high: ends of the interval.
        level: share of resamples inside it.
    """

    value: float
    low: float
    high: float
    level: float = 0.95


def bootstrap(
    values: npt.NDArray[np.floating], *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Compute the percentile bootstrap interval of a mean (Efron 1979).

    Args:
        values: floating [Q], one value per query, finite.
        seed: of the resampling; the same seed gives the same interval.
        n_resamples: how many times Q queries are drawn with replacement.
        level: share of resampled means inside the interval, in (0, 1).

    Returns:
        Mean and interval.

    Raises:
        InputError: no values, or level outside (0, 1) (`bad_input`).

    Example:
        >>> import numpy as np
        >>> bootstrap(np.ones(5))
        Interval(value=1.0, low=1.0, high=1.0, level=0.95)
    """
    n = len(values)
    if n == 0 or not 0 < level < 1:
        raise InputError(f"bootstrap of {n} values at level {level}; give >= 1 and 0 < level < 1")
    generator = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for start in range(0, n_resamples, _BLOCK):
        stop = min(start + _BLOCK, n_resamples)
        means[start:stop] = values[generator.integers(0, n, size=(stop - start, n))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=float(values.mean()), low=float(low), high=float(high), level=level)


def bootstrap_difference(
    after: npt.NDArray[np.floating],
    *,
    before: npt.NDArray[np.floating],
    seed: int = 0,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Compute the interval of a mean difference over the SAME queries.

    Pairing matters: hard queries are hard for both models, and the interval of the difference is
    far narrower than the two intervals beside each other suggest.

    Args:
        after, before: floating [Q], value of each query under the two models.
        seed, n_resamples, level: see `bootstrap`.

    Returns:
        Mean of after - before and its interval.

    Raises:
        InputError: lengths differ (`bad_shape`); see `bootstrap`.

    Example:
        >>> import numpy as np
        >>> bootstrap_difference(np.full(4, 0.75), before=np.full(4, 0.5)).low
        0.25
    """
    if after.shape != before.shape:
        raise InputError(
            f"{after.shape} values after, {before.shape} before; use the same queries",
            code="bad_shape",
        )
    return bootstrap(after - before, seed=seed, n_resamples=n_resamples, level=level)
