"""From scored windows and frames of a long sound or video to moments: start, end, score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError

__all__ = ["Moment", "find_moments", "overlap"]

_MAX_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of time that answers a query.

    Attributes:
        start_s, end_s: where it lies.
        score: the highest score of a window in it.
    """

    start_s: float
    end_s: float
    score: float


def find_moments(
    spans: Sequence[tuple[float, float]],
    *,
    scores: Sequence[float],
    n: int = 5,
    depth: float = 0.4,
) -> list[Moment]:
    """Merge scored windows into moments, the best first.

    Time is cut where windows begin or end; a cell scores the mean of the windows over it, so that
    overlapping windows agree on an edge. The best cell is a peak; its moment reaches to both sides
    while cells stay above `floor + (1 - depth) * (peak - floor)`, where floor is the median of all
    cells, weighted by time. The next peak is sought outside (non-maximum suppression). Only peaks
    above half of the best peak's height over the floor count.

    Args:
        spans: (start_s, end_s) of windows in one item; a frame is a span of no length and reaches
            to the next one.
        scores: one for each.
        n: most moments.
        depth: in (0, 1); larger makes moments longer.

    Returns:
        Moments that do not overlap, by score, then start. One that covers everything where all
        windows score the same.

    Raises:
        InputError: nothing given, lengths differ, a span ends before it starts, or `n` or `depth`
            is out of range (`bad_windows`).

    Example:
        >>> spans = [(0, 10), (10, 20), (20, 30), (30, 40)]
        >>> find_moments(spans, scores=[0.1, 0.1, 0.9, 0.1])
        [Moment(start_s=20.0, end_s=30.0, score=0.9)]
    """
    starts, ends, values = _checked(spans, scores, n=n, depth=depth)
    edges = np.unique(np.concatenate([starts, ends]))
    cells = _cell_scores(edges, starts, ends, values)
    lengths = np.diff(edges)
    floor = _weighted_median(cells, lengths)
    free = ~np.isnan(cells)
    best = float(np.nanmax(cells))
    moments: list[Moment] = []
    while free.any() and len(moments) < n:
        open_cells = np.where(free, cells, -np.inf)
        peak = int(np.argmax(open_cells))
        if moments and cells[peak] - floor <= 0.5 * (best - floor):
            break
        level = floor + (1 - depth) * (cells[peak] - floor)
        first, last = _reach(open_cells, peak, level)
        inside = (starts < edges[last + 1]) & (ends > edges[first])
        moments.append(
            Moment(float(edges[first]), float(edges[last + 1]), float(values[inside].max()))
        )
        # The slopes of this peak are no peaks of their own.
        low, high = _reach(open_cells, peak, floor)
        free[low : high + 1] = False
    return sorted(moments, key=lambda moment: (-moment.score, moment.start_s))


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Measure intersection over union of two stretches of time, in [0, 1].

    Example:
        >>> overlap((0, 10), (5, 15))
        0.3333333333333333
    """
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    either = (a[1] - a[0]) + (b[1] - b[0]) - both
    return both / either if either > 0 else 0.0


def _checked(
    spans: Sequence[tuple[float, float]], scores: Sequence[float], *, n: int, depth: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if not spans or len(spans) != len(scores) or n < 1 or not 0 < depth < 1:
        raise InputError(
            f"{len(spans)} windows with {len(scores)} scores, n {n}, depth {depth}: give as many "
            "scores as windows, at least one, n >= 1 and depth in (0, 1)",
            code="bad_windows",
        )
    order = sorted(range(len(spans)), key=lambda i: (spans[i], -scores[i]))
    table = np.array([spans[i] for i in order], dtype=np.float64)
    values = np.array([scores[i] for i in order], dtype=np.float64)
    starts, ends = table[:, 0], table[:, 1].copy()
    later = np.concatenate([starts[1:], [np.inf]])
    # The last frame of all is taken to last as long as the one before it.
    usual = float(np.median(np.diff(starts))) if len(starts) > 1 else 1.0
    points = ends == starts
    ends[points] = np.where(np.isfinite(later), later, starts + max(usual, 1e-3))[points]
    if not np.isfinite(table).all() or not np.isfinite(values).all() or (ends < starts).any():
        raise InputError(
            "windows and scores must be finite and end after they start", code="bad_windows"
        )
    if len(table) > _MAX_CELLS:
        raise InputError(f"{len(table)} windows; the limit is {_MAX_CELLS}", code="bad_windows")
    return starts, ends, values


def _cell_scores(
    edges: npt.NDArray[np.float64],
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Average the windows over each cell, by running sums; NaN where there is none."""
    total, count = np.zeros(len(edges)), np.zeros(len(edges))
    first, last = np.searchsorted(edges, starts), np.searchsorted(edges, ends)
    np.add.at(total, first, values)
    np.add.at(total, last, -values)
    np.add.at(count, first, 1.0)
    np.add.at(count, last, -1.0)
    sums, counts = np.cumsum(total)[:-1], np.round(np.cumsum(count)[:-1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _weighted_median(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    running = np.cumsum(weights[known][order])
    return float(values[known][order][np.searchsorted(running, running[-1] / 2)])


def _reach(cells: npt.NDArray[np.float64], peak: int, level: float) -> tuple[int, int]:
    """Go from a peak to both sides while the cells stay at or above a level."""
    first = last = peak
    while first > 0 and cells[first - 1] >= level and cells[first - 1] > -np.inf:
        first -= 1
    while last + 1 < len(cells) and cells[last + 1] >= level and cells[last + 1] > -np.inf:
        last += 1
    return first, last
