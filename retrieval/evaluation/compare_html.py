"""A comparison as one HTML file that needs nothing else: tables and plots."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import BinaryIO

from index.storage import publish
from retrieval.evaluation.compare import Comparison, ModelRow
from retrieval.evaluation.svg import Bar, Point, bar_chart, scatter

__all__ = ["comparison_html", "write_comparison"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #111; color: #ddd; } svg { background: #eee; }
}
"""


def comparison_html(comparison: Comparison) -> str:
    """Write a comparison as a page.

    Args:
        comparison: what `compare` returned.

    Returns:
        A complete HTML document without scripts or outside links; all names are escaped.

    Example:
        >>> "<h1>" in comparison_html(Comparison(models=()))
        True
    """
    directions = list(dict.fromkeys(d for m in comparison.models for d in m.directions))
    sections = [_section(comparison, direction) for direction in directions]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>crossfind: models compared</title><style>{_STYLE}</style>"
        "<h1>Models compared</h1>"
        "<p>Every model searched the same gallery exactly. hit@k: share of the queries with a "
        "right item among the first k, with its 95&nbsp;% bootstrap interval.</p>"
        f"{_table(_overview(comparison))}{_speed(comparison)}{''.join(sections)}</html>\n"
    )


def write_comparison(path: Path, *, comparison: Comparison) -> None:
    """Write the page of a comparison to a file, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    page = comparison_html(comparison).encode()

    def write(out: BinaryIO) -> None:
        out.write(page)

    publish(path, tmp=path.parent, write=write)


def _overview(comparison: Comparison) -> list[list[str]]:
    rows = [["model", "dim", "weights", "image/s", "audio/s", "text/s", "query p50", "failed"]]
    for model in comparison.models:
        size = "-" if model.size_bytes is None else f"{model.size_bytes / 1e6:.1f} MB"
        rates = [_rate(model, modality) for modality in ("image", "audio", "text")]
        query = "-" if model.query_ms is None else f"{model.query_ms:.1f} ms"
        rows.append([model.name, str(model.dim), size, *rates, query, str(len(model.failures))])
    return rows


def _rate(model: ModelRow, modality: str) -> str:
    rate = model.encode_per_s.get(modality)
    return "-" if rate is None else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _speed(comparison: Comparison) -> str:
    """Draw quality against speed, over the directions that a model serves."""
    points = []
    for model in comparison.models:
        hits = [row.metrics["hit@10"] for row in model.directions.values()]
        if hits and model.query_ms:
            points.append(Point(model.name, model.query_ms, sum(hits) / len(hits)))
    if not points:
        return ""
    plot = scatter("mean hit@10 against query time", points=points, x_label="ms per text query")
    return f"<figure>{plot}</figure>"


def _section(comparison: Comparison, direction: str) -> str:
    rows = [["model", "queries", "items", "hit@1", "hit@5", "hit@10", "R@10", "MRR", "nDCG@10"]]
    groups: dict[str, dict[str, Bar]] = {"hit@1": {}, "hit@5": {}, "hit@10": {}}
    for model in comparison.models:
        row = model.directions.get(direction)
        if row is None:
            rows.append([model.name, *["-"] * 8])
            continue
        figures = [row.metrics[m] for m in ("hit@1", "hit@5", "hit@10", "r@10", "mrr", "ndcg@10")]
        cells = [f"{figure:.3f}" for figure in figures]
        rows.append([model.name, str(row.n_queries), str(row.n_items), *cells])
        for name, bars in groups.items():
            interval = row.hit[name]
            bars[model.name] = Bar(interval.value, interval.low, interval.high)
    chart = bar_chart(direction, groups=groups)
    return f"<h2>{escape(direction)}</h2><figure>{chart}</figure>{_table(rows)}"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in body)
    return f"<table><tr>{''.join(f'<th>{escape(c)}</th>' for c in head)}</tr>{lines}</table>"
