"""`crossfind index rebuild`."""

from __future__ import annotations

import click

from retrieval.build_wishes import Wishes
from retrieval.cli.index_build import tell_built
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import print_json
from retrieval.cli.plan_options import plan_options, tell_plan
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@store_option
@json_option
@plan_options
def command(
    store: str | None,
    as_json: bool,
    recall: float | None,
    memory_bytes: int | None,
    batch_size: int,
    device: str,
    factory: str,
    address: str | None,
    explain: bool,
) -> None:
    """Build the index again from its segments; no file is decoded or encoded.

    \b
    crossfind index rebuild
    crossfind index rebuild --factory IVF1024,SQ8,RFlat
    """
    with Engine.open(settings=load_settings({"store": store, "index": address})) as engine:
        wishes = Wishes(recall, memory_bytes, batch_size, device, factory)
        built = engine.build(force=True, wishes=wishes, on_plan=tell_plan if explain else None)
    tell_built(built)
    if as_json:
        print_json({"built": built})
