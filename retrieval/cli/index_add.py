"""`crossfind index add`."""

from __future__ import annotations

import click

from retrieval.cli.adding import Flag, add_with_progress, exit_for, open_for_adding, tell_added
from retrieval.cli.options import add_options
from retrieval.cli.output import print_json


@click.command()
@add_options
def command(
    paths: tuple[str, ...],
    store: str | None,
    model: str | None,
    prune: bool,
    as_json: bool,
    **flags: Flag,
) -> None:
    """Add files and folders; they are searchable at once, exactly, until the next build.

    \b
    crossfind index add ~/Pictures/new
    """
    with open_for_adding(store=store, model=model, **flags) as engine:
        added = add_with_progress(engine, paths, prune=prune)
    tell_added(added)
    if as_json:
        print_json(added)
    exit_for(added)
