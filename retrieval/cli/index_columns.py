"""`crossfind index columns`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.columns import ColumnsReport
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@store_option
@json_option
def command(table: Path, store: str | None, as_json: bool) -> None:
    """Give items columns of your own from TABLE, for --where and JSON.

    TABLE is a csv, tsv, jsonl or parquet file with a column 'path' (absolute, or from the table's
    folder on); its other columns are texts, numbers, or true and false. A column 'tags' gives tags.
    What an item had in these columns is replaced.

    \b
    crossfind index columns ratings.csv
    crossfind search beach --where "rating >= 4 AND tag IN ('pets', 'wild')"
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        report = engine.add_columns(table)
    tell_columns(report)
    if as_json:
        print_json(report)


def tell_columns(report: ColumnsReport) -> None:
    """Say what a table brought."""
    named = ", ".join(f"{name} ({kind})" for name, kind in report.columns.items()) or "tags"
    say(f"{named}: {plural(report.n_items, 'item')} of {plural(report.n_rows, 'row')}")
    if report.n_unknown:
        say(
            f"not in the store: {plural(report.n_unknown, 'path')}, "
            f"the first {escape(report.unknown[0])}"
        )
