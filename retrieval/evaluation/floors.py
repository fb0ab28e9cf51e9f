"""`--fail-under r@10=0.5`: floors that a report must reach, for scripts and CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.errors import CrossfindError, UsageError
from retrieval.evaluation.evaluate import Report

__all__ = ["BelowFloorError", "Floor", "check_floors", "parse_floor"]


class BelowFloorError(CrossfindError):
    """A measured figure is below the floor that was asked for."""

    default_code = "below_floor"


@dataclass(frozen=True, slots=True)
class Floor:
    """A figure that must be reached.

    Attributes:
        metric: as in a report, e.g. `r@10`; `median_rank` is a ceiling, as lower is better.
        least: the figure.
        direction: only this one, e.g. `text->image`, or None for all.
    """

    metric: str
    least: float
    direction: str | None = None


def parse_floor(typed: str) -> Floor:
    """Read `METRIC=FIGURE` or `DIRECTION:METRIC=FIGURE`.

    Raises:
        UsageError: another form (`bad_floor`).

    Example:
        >>> parse_floor("text->image:r@10=0.5")
        Floor(metric='r@10', least=0.5, direction='text->image')
    """
    name, sign, figure = typed.partition("=")
    direction, colon, metric = name.rpartition(":")
    try:
        least = float(figure)
    except ValueError:
        sign = ""
    if not sign or not metric.strip() or (colon and not direction.strip()):
        raise UsageError(
            f"floor {typed!r} is not METRIC=FIGURE, e.g. r@10=0.5 or text->image:mrr=0.3",
            code="bad_floor",
        )
    return Floor(metric.strip().lower(), least, direction.strip() or None)


def check_floors(report: Report, *, floors: Sequence[Floor]) -> None:
    """Compare a report with floors.

    Raises:
        BelowFloorError: a figure is not reached; the message names all of them.
        UsageError: a floor names a metric or direction that the report lacks (`bad_floor`).
    """
    missed = []
    for floor in floors:
        chosen = [d for d in report.directions if floor.direction in (None, d.direction)]
        known = sorted(report.directions[0].metrics)
        if not chosen or floor.metric not in known:
            raise UsageError(
                f"the report has no {floor.metric} of {floor.direction or 'any direction'}; it has "
                f"{', '.join(known)} of {', '.join(d.direction for d in report.directions)}",
                code="bad_floor",
            )
        for direction in chosen:
            figure = direction.metrics[floor.metric]
            good = figure <= floor.least if floor.metric == "median_rank" else figure >= floor.least
            if not good:
                missed.append(
                    f"{direction.direction} {floor.metric} {figure:.4f} ({floor.least:g})"
                )
    if missed:
        raise BelowFloorError(f"below what was asked for: {'; '.join(missed)}")
