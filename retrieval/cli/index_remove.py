"""`crossfind index remove`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import plural, print_json, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.query.grammar import read_target


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="PATH|#ID...")
@store_option
@json_option
def command(targets: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Remove items by path, folder or id; the files themselves stay.

    \b
    crossfind index remove ~/Pictures/old
    crossfind index remove '#12'
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        n_removed = engine.remove(*map(read_target, targets))
    say(f"{plural(n_removed, 'item')} removed")
    if as_json:
        print_json({"n_removed": n_removed})
