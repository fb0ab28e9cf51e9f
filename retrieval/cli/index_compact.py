"""`crossfind index compact`."""

from __future__ import annotations

import click

from retrieval.build_wishes import Wishes
from retrieval.cli.index_build import tell_built
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import print_json
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@store_option
@json_option
def command(store: str | None, as_json: bool) -> None:
    """Merge the vectors that were added, drop those that were removed, and build the index.

    Searches go on meanwhile, with what there was at the beginning; adding waits.

    \b
    crossfind index compact
    crossfind index compact --store ~/Pictures/.crossfind --json
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        built = engine.build(force=True, wishes=Wishes(compact=True))
    tell_built(built)
    if as_json:
        print_json({"built": built})
