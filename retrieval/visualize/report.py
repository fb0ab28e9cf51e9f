"""An analysis as one HTML page that needs nothing else: what the figures are, drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from retrieval.visualize.analyze import Analysis
from retrieval.visualize.details import Details
from retrieval.visualize.names import readable

__all__ = ["analysis_html"]

_W, _H, _PAD = 560, 260, 34
# Distinct also for colour-blind readers (Okabe and Ito 2008).
_COLOURS = {"image": "#0072b2", "audio": "#d55e00", "text": "#009e73", "image-audio": "#cc79a7",
            "image-text": "#56b4e9", "audio-text": "#e69f00"}  # fmt: skip

_STYLE = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fff; --ink: #1d1d1f; --soft: #6b6a66;
  --line: #dedbd3; }
@media (prefers-color-scheme: dark) { :root { --page: #141416; --card: #1e1e21; --ink: #f0efec;
  --soft: #a09e98; --line: #3a3a40; } }
* { box-sizing: border-box; } body { margin: 0 auto; max-width: 1220px; padding: 28px 20px;
  background: var(--page); color: var(--ink); font: 15px/1.5 ui-sans-serif, system-ui,
  "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 16px; margin: 0 0 2px; }
p { color: var(--soft); margin: 0 0 12px; font-size: 13.5px; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr));
  gap: 16px; margin-top: 18px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 16px 18px; min-width: 0; overflow-x: auto; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 12px; }
svg .axis { stroke: var(--line); } svg .mean { stroke: var(--ink); stroke-width: 2; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
.left { text-align: left; } .left:last-child { overflow-wrap: anywhere; }
.key { display: flex; flex-wrap: wrap; gap: 4px 14px; font-size: 12.5px; margin-top: 8px;
  color: var(--soft); } .key i { display: inline-block; width: 10px; height: 10px;
  border-radius: 3px; margin-right: 6px; }
"""


def analysis_html(found: Analysis, *, details: Details) -> str:
    """Write an analysis as a page.

    Args:
        found: the figures.
        details: what is drawn.

    Returns:
        A complete HTML document without scripts or outside links; all names are escaped.
    """
    head = (
        f"{found.n_parts} vectors of {escape(found.model)}, {found.dim} dimensions of which about "
        f"{found.effective_dim:.0f} are in use"
    )
    sections = [
        _section("Where the modalities lie", _GAP.format(kept=details.kept),
                 _places(details), details.places),
        _section("How alike any two are", _COSINES, _curves(details.cosines), details.cosines),
        _section("Figures", _SPREAD, f"{_spreads(found)}<p></p><p>{_PAIRS}</p>{_pairings(found)}"),
        _section("Hubs", _HUBS, _hubs(details), details.counts, below=_named(details)),
        *(
            _section(f"Do {name.replace('-', ' and ')} agree?", _LIKENESS, _likeness(pairs, name))
            for name, pairs in details.likeness.items()
        ),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>crossfind analyze</title><style>{_STYLE}</style><h1>How the vectors lie</h1>"
        f"<p>{head}</p><main>{''.join(sections)}</main></html>\n"
    )


_GAP = (
    "Items in the plane of their two principal components, which keeps {kept:.0%} of the variance; "
    "rings are the modalities' means. Modalities far apart are the modality gap."
)
_COSINES = (
    "Distribution of the cosine of two different items, within a modality and between two. Curves "
    "apart from each other: raw scores of the two are not comparable."
)
_SPREAD = (
    "Uniformity: log mean exp(-2 |a - b|&sup2;), lower is more even. Hubness: skewness of how "
    "often an item is among the 10 nearest of others; above 1 some items match everything."
)
_HUBS = "How many items are how often among the 10 nearest of another, and the most frequent ones."
_PAIRS = (
    "Gap: distance of the means. Alignment: mean squared distance of what belongs to one item, "
    "such as a picture and its caption, 0 at best. Consistency: how far likenesses agree."
)
_LIKENESS = "Each dot is two items that own both: how alike they are in the one and in the other."


def _section(
    title: str,
    note: str,
    body: str,
    series: Mapping[str, object] | None = None,
    *,
    below: str = "",
) -> str:
    key = "".join(
        f'<span><i style="background:{_COLOURS.get(name, "#888")}"></i>{escape(name)}</span>'
        for name in series or ()
    )
    key = f'<div class="key">{key}</div>' if key else ""
    return f"<section><h2>{escape(title)}</h2><p>{note}</p>{body}{key}{below}</section>"


def _places(details: Details) -> str:
    every = np.concatenate(list(details.places.values()))
    middle = (every.max(axis=0) + every.min(axis=0)) / 2
    largest = max(float(np.ptp(every[:, 0])) / (_W - 2 * _PAD),
                  float(np.ptp(every[:, 1])) / (_H - 2 * _PAD), 1e-9)  # fmt: skip
    dots, rings = [], []
    for kind, points in details.places.items():
        at = (points - middle) / largest * (1, -1) + (_W / 2, _H / 2)
        colour = _COLOURS[kind]
        dots += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}" fill-opacity=".55"/>'
                 for x, y in at.tolist()]  # fmt: skip
        x, y = at.mean(axis=0).tolist()
        rings.append(
            f'<circle class="mean" cx="{x:.1f}" cy="{y:.1f}" r="8" fill="{colour}">'
            f"<title>mean of {kind}</title></circle>"
        )
    return _svg([*dots, *rings])


def _curves(cosines: Mapping[str, Sequence[float]]) -> str:
    used = [n for shares in cosines.values() for n, share in enumerate(shares) if share > 0]
    n_bins = len(next(iter(cosines.values()), ()))
    first, last = max(0, min(used, default=0) - 1), min(n_bins - 1, max(used, default=0) + 1)
    top = max((max(shares) for shares in cosines.values()), default=1.0) or 1.0
    wide = (_W - 2 * _PAD) / max(1, last - first + 1)
    parts = _axes(-1 + 2 * first / max(1, n_bins), -1 + 2 * (last + 1) / max(1, n_bins), "cosine")
    for name, shares in cosines.items():
        line = " ".join(
            f"{_PAD + (n - first + 0.5) * wide:.1f},{_H - _PAD - s / top * (_H - 2 * _PAD):.1f}"
            for n, s in enumerate(shares) if first <= n <= last
        )  # fmt: skip
        dash = ' stroke-dasharray="5 4"' if "-" in name else ""
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{_COLOURS.get(name, "#888")}" '
            f'stroke-width="2.2"{dash}/>'
        )
    return _svg(parts)


def _hubs(details: Details) -> str:
    most = max((int(counts.max()) for counts in details.counts.values()), default=1)
    step = max(1, -(-(most + 1) // 24))
    n_bins = most // step + 1
    binned = {k: np.bincount(c // step, minlength=n_bins) for k, c in details.counts.items()}
    top = max((float(b.max()) for b in binned.values()), default=1.0)
    wide = (_W - 2 * _PAD) / n_bins
    bar = wide * 0.86 / max(1, len(binned))
    parts = _axes(0, n_bins * step, "times among the 10 nearest of another")
    for place, (kind, heights) in enumerate(binned.items()):
        for n, height in enumerate(heights.tolist()):
            tall = height / top * (_H - 2 * _PAD)
            x = _PAD + n * wide + place * bar
            parts.append(f'<rect x="{x:.1f}" y="{_H - _PAD - tall:.1f}" width="{bar:.1f}" '
                         f'height="{tall:.1f}" fill="{_COLOURS[kind]}"/>')  # fmt: skip
    return _svg(parts)


def _named(details: Details) -> str:
    rows = [[f"{hub.n_times}", hub.modality, readable(hub.path)] for hub in details.hubs]
    return _table(["times", "", "item"], rows, left={1, 2}) if rows else ""


def _spreads(found: Analysis) -> str:
    rows = [
        [spread.modality, f"{spread.n_items}", f"{spread.mean_cosine:.3f}",
         f"{spread.uniformity:.2f}", f"{spread.hubness:.2f}"]
        for spread in found.spreads
    ]  # fmt: skip
    return _table(["", "items", "mean cosine", "uniformity", "hubness"], rows)


def _pairings(found: Analysis) -> str:
    if not found.pairings:
        return "<p>The store has vectors of one modality only.</p>"
    rows = [
        [pairing.modalities, f"{pairing.gap:.3f}", f"{pairing.mean_cosine:.3f}",
         f"{pairing.n_pairs}", _figure(pairing.alignment), _figure(pairing.consistency)]
        for pairing in found.pairings
    ]  # fmt: skip
    return _table(["", "gap", "mean cosine", "pairs", "alignment", "consistency"], rows)


def _likeness(pairs: npt.NDArray[np.float32], name: str) -> str:
    low, high = float(pairs.min()), float(pairs.max())
    span = max(high - low, 1e-6)
    across, up = name.split("-")
    parts = _axes(low, high, f"cosine of the two as {across}")
    parts.append(f'<text x="{_PAD}" y="{_PAD - 14}">cosine as {up}</text>')
    for one, other in pairs.tolist():
        x = _PAD + (one - low) / span * (_W - 2 * _PAD)
        y = _H - _PAD - (other - low) / span * (_H - 2 * _PAD)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{_COLOURS.get(name, "#888")}" '
                     'fill-opacity=".45"/>')  # fmt: skip
    return _svg(parts)


def _axes(low: float, high: float, label: str) -> list[str]:
    base = _H - _PAD
    ticks = [
        f'<text x="{_PAD + share * (_W - 2 * _PAD):.1f}" y="{base + 16}" '
        f'text-anchor="middle">{low + share * (high - low):.3g}</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    line = f'<line class="axis" x1="{_PAD}" y1="{base}" x2="{_W - _PAD}" y2="{base}"/>'
    name = f'<text x="{_W / 2}" y="{base + 32}" text-anchor="middle">{escape(label)}</text>'
    return [line, *ticks, name]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: set[int] | None = None) -> str:
    def cell(tag: str, n: int, text: str) -> str:
        style = ' class="left"' if n in (left or set()) else ""
        return f"<{tag}{style}>{escape(text)}</{tag}>"

    lines = [("th", head), *(("td", row) for row in rows)]
    body = "".join(
        f"<tr>{''.join(cell(tag, n, text) for n, text in enumerate(row))}</tr>"
        for tag, row in lines
    )
    return f"<table>{body}</table>"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _svg(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_W} {_H + 4}" role="img">{"".join(parts)}</svg>'
