"""`crossfind index rebuild`."""

from __future__ import annotations

import click

from retrieval.cli.index_build import tell_built
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import print_json
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@store_option
@json_option
def command(store: str | None, as_json: bool) -> None:
    """Build the index again from its segments; no file is decoded or encoded.

    \b
    crossfind index rebuild
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        built = engine.build(force=True)
    tell_built(built)
    if as_json:
        print_json({"built": built})
