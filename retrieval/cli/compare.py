"""`crossfind compare`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option
from retrieval.cli.output import escape, print_json, say
from retrieval.config import load_settings
from retrieval.evaluation.compare import Comparison, ModelRow, compare
from retrieval.evaluation.compare_html import write_comparison
from retrieval.evaluation.relevance import read_relevance

_FIGURES = ("hit@1", "hit@5", "hit@10", "mrr")


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--relevance", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="csv or jsonl, as for evaluate; its items are the gallery.",
)  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page with plots.")
@click.option("--threads", type=click.IntRange(0, 256), help="Encoder threads; 0: one per core.")
@json_option
def command(
    models: tuple[str, ...], relevance: Path, html: Path | None, threads: int | None, as_json: bool
) -> None:
    """Compare MODELS side by side: quality, size and speed.

    Every model encodes the same queries and items and searches them exactly; no store is needed.

    \b
    crossfind compare starter ./my.model --relevance pairs.csv --html report.html
    """
    settings = load_settings({"threads": threads})
    comparison = compare(
        models,
        judgements=read_relevance(relevance),
        threads=settings.threads,
        n_workers=settings.workers,
        on_model=lambda name: say(f"measuring {escape(name)}"),
    )
    if html is not None:
        write_comparison(html, comparison=comparison)
        say(f"drawn: {escape(str(html))}")
    print_json(comparison) if as_json else _print(comparison)


def _print(comparison: Comparison) -> None:
    rows = [["model", "direction", *_FIGURES, "weights", "ms/query"]]
    for model in comparison.models:
        for direction, row in model.directions.items():
            figures = [f"{row.metrics[name]:.3f}" for name in _FIGURES]
            rows.append([escape(model.name), direction, *figures, _size(model), _query(model)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        left = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        click.echo("  ".join([*left, *right]))
    for model in comparison.models:
        for failure in model.failures:
            say(f"skipped by {escape(model.name)}: {escape(failure.reason)} [{failure.code}]")


def _size(model: ModelRow) -> str:
    return "-" if model.size_bytes is None else f"{model.size_bytes / 1e6:.1f} MB"


def _query(model: ModelRow) -> str:
    return "-" if model.query_ms is None else f"{model.query_ms:.1f}"
