"""`crossfind index add`."""

from __future__ import annotations

import click

from retrieval.cli.adding import Flag, add_with_progress, exit_for, open_for_adding, tell_added
from retrieval.cli.index_columns import tell_columns
from retrieval.cli.options import add_options
from retrieval.cli.output import print_json


@click.command()
@add_options
@click.option(
    "--columns", "table", type=click.Path(exists=True, dir_okay=False),
    help="Then give items columns of your own from this table (see: index columns).",
)  # fmt: skip
def command(
    paths: tuple[str, ...],
    table: str | None,
    store: str | None,
    model: str | None,
    prune: bool,
    on: str,
    as_json: bool,
    **flags: Flag,
) -> None:
    """Add files and folders; they are searchable at once, exactly, until the next build.

    The rows of a table named here (csv, tsv, jsonl, parquet) whose columns name files below its
    folder (image, audio, sound, video, ... and caption, title, ...) are one item each, found by any
    of its parts.

    \b
    crossfind index add ~/Pictures/new
    crossfind index add pairs.csv
    """
    with open_for_adding(paths, store=store, model=model, **flags) as engine:
        added = add_with_progress(engine, paths, prune=prune, on=on)
        told = None if table is None else engine.add_columns(table)
    tell_added(added)
    if told is not None:
        tell_columns(told)
    if as_json:
        print_json(added)
    exit_for(added)
