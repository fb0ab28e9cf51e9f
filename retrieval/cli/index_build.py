"""`crossfind index build`."""

from __future__ import annotations

import click

from retrieval.build import BuildReport
from retrieval.cli.adding import Flag, add_with_progress, exit_for, open_for_adding, tell_added
from retrieval.cli.options import add_options
from retrieval.cli.output import print_json, say


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
    """Add files and folders and build the index.

    Run it again at any time: what is unchanged is skipped, and what was interrupted goes on.

    \b
    crossfind index build ~/Pictures ~/Sounds
    crossfind index build --prune .
    """
    with open_for_adding(store=store, model=model, **flags) as engine:
        added = add_with_progress(engine, paths, prune=prune)
        built = engine.build()
    tell_added(added)
    tell_built(built)
    if as_json:
        print_json({"added": added, "built": built})
    exit_for(added)


def tell_built(reports: list[BuildReport]) -> None:
    """Say what was built."""
    for report in reports:
        recall = (
            f", recall {report.recall:.3f} ({report.recall_queries})" if report.recall < 1 else ""
        )
        say(
            f"index of {report.space}: {report.kind}, {report.n_vectors} vectors{recall}, "
            f"{report.seconds:.1f} s"
        )
