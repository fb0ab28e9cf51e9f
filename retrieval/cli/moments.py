"""`crossfind moments`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.around.moments import item_moments
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import clock, print_json
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.media import Loader
from retrieval.query.grammar import read_target, read_typed


@click.command()
@click.argument("query")
@click.argument("hit", metavar="PATH|#ID")
@click.option("-n", "-k", "n", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="How many.")  # fmt: skip
@store_option
@json_option
def command(query: str, hit: str, n: int, store: str | None, as_json: bool) -> None:
    """Say when in a stored sound or video QUERY is answered: start, end, score.

    \b
    crossfind moments "dog barking" walk.mp4
    crossfind moments ./bark.ogg '#12' --json
    """
    read = read_typed(query)
    if not isinstance(read, str | Path):
        raise click.UsageError("QUERY must be one text or one file")
    settings = load_settings({"store": store})
    with Engine.open(settings=settings) as engine, Loader(spec=engine.encoder.media) as loader:
        item, found = item_moments(
            engine, query=read, hit=read_target(hit), loader=loader, n=n,
            catalog_url=settings.catalog,
        )  # fmt: skip
    if as_json:
        print_json({"id": item.id, "path": item.path, "moments": found})
        return
    for moment in found:
        click.echo(f"{moment.score:6.3f}  {clock(moment.start_s)}-{clock(moment.end_s)}")
