"""Two plots drawn as plain SVG text: grouped bars with error bars, and labelled points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "Point", "bar_chart", "scatter"]

# Distinct also for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 28, 40


@dataclass(frozen=True, slots=True)
class Bar:
    """A share in [0, 1] with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """A labelled point; `x` > 0 is drawn on a logarithmic axis, `y` in [0, 1]."""

    label: str
    x: float
    y: float


def bar_chart(title: str, *, groups: Mapping[str, Mapping[str, Bar]]) -> str:
    """Draw bars side by side.

    Args:
        title: above the chart.
        groups: label on the x axis -> series -> bar; series keep their colour by order of names.

    Returns:
        One `<svg>` element; every text in it is escaped.

    Example:
        >>> chart = bar_chart("R@1", groups={"a<b": {"m": Bar(0.5, 0.4, 0.6)}})
        >>> chart.startswith("<svg"), "a&lt;b" in chart
        (True, True)
    """
    series = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    span = (_WIDTH - _LEFT - _RIGHT) / max(1, len(groups))
    width = 0.8 * span / max(1, len(series))
    parts = _frame(title)
    for place, (label, bars) in enumerate(groups.items()):
        start = _LEFT + (place + 0.1) * span
        parts.append(_text(start + 0.4 * span, _HEIGHT - _BOTTOM + 16, label, anchor="middle"))
        for name, bar in bars.items():
            x = start + series.index(name) * width
            tip = f"{label} {name}: {bar.value:.3f} ({bar.low:.3f} to {bar.high:.3f})"
            parts.append(
                f'<rect x="{x:.1f}" y="{_y(bar.value):.1f}" width="{0.9 * width:.1f}" '
                f'height="{_y(0) - _y(bar.value):.1f}" fill="{_colour(series, name)}">'
                f"<title>{escape(tip)}</title></rect>"
            )
            middle = x + 0.45 * width
            parts.append(_line(middle, _y(bar.low), middle, _y(bar.high), "#222"))
    return _svg([*parts, *_legend(series)])


def scatter(title: str, *, points: Sequence[Point], x_label: str) -> str:
    """Draw labelled points, the x axis logarithmic.

    Args:
        title: above the chart.
        points: what to draw; those with x <= 0 are left out.
        x_label: below the chart.

    Returns:
        One `<svg>` element.

    Example:
        >>> scatter("speed", points=[Point("m", 10.0, 0.5)], x_label="per s").count("<circle")
        1
    """
    shown = [point for point in points if point.x > 0]
    lows = [math.floor(math.log10(p.x)) for p in shown] or [0]
    low, high = min(lows), max(max(lows) + 1, min(lows) + 1)
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    parts = _frame(title)
    for power in range(low, high + 1):
        x = _LEFT + (power - low) * scale
        parts.append(_line(x, _y(0), x, _y(0) + 4, "#222"))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{10.0**power:g}", anchor="middle"))
    names = [point.label for point in shown]
    for point in shown:
        x, y = _LEFT + (math.log10(point.x) - low) * scale, _y(point.y)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_colour(names, point.label)}"/>'
        )
        end = x > _WIDTH * 0.75  # a label at the right edge is written to the left of its point
        parts.append(
            _text(
                x - 8 if end else x + 8,
                y + 17 if point.y > 0.9 else y - 7,
                point.label,
                anchor="end" if end else "start",
            )
        )
    parts.append(_text(_WIDTH / 2, _HEIGHT - 6, x_label, anchor="middle"))
    return _svg(parts)


def _frame(title: str) -> list[str]:
    """Draw the title and the y axis from 0 to 1."""
    parts = [_text(_LEFT, 16, title, anchor="start", weight="bold")]
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "#ddd" if tenth else "#222"))
        parts.append(_text(_LEFT - 6, y + 4, f"{tenth / 10:.1f}", anchor="end"))
    return parts


def _legend(series: Sequence[str]) -> list[str]:
    parts, x = [], float(_LEFT)
    for name in series:
        parts.append(
            f'<rect x="{x:.1f}" y="{_HEIGHT - 14}" width="10" height="10" '
            f'fill="{_colour(series, name)}"/>'
        )
        parts.append(_text(x + 14, _HEIGHT - 5, name, anchor="start"))
        x += 30 + 7 * len(name)
    return parts


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - min(1.0, max(0.0, share)) * (_HEIGHT - _TOP - _BOTTOM)


def _colour(series: Sequence[str], name: str) -> str:
    return COLOURS[series.index(name) % len(COLOURS)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">' + "".join(parts) + "</svg>"
    )
