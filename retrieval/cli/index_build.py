"""`crossfind index build`."""

from __future__ import annotations

import click

from retrieval.build import BuildReport
from retrieval.build_wishes import Wishes
from retrieval.cli.adding import Flag, add_with_progress, exit_for, open_for_adding, tell_added
from retrieval.cli.options import add_options
from retrieval.cli.output import print_json, say
from retrieval.cli.plan_options import plan_options, tell_plan


@click.command()
@add_options
@plan_options
def command(
    paths: tuple[str, ...],
    store: str | None,
    model: str | None,
    prune: bool,
    on: str,
    as_json: bool,
    recall: float | None,
    memory_bytes: int | None,
    batch_size: int,
    device: str,
    factory: str,
    address: str | None,
    explain: bool,
    **flags: Flag,
) -> None:
    """Add files and folders and build the index.

    Run it again at any time: what is unchanged is skipped, and what was interrupted goes on.

    \b
    crossfind index build ~/Pictures ~/Sounds
    crossfind index build --prune .
    crossfind index build ~/Pictures --recall 0.99 --memory 4G --explain
    """
    with open_for_adding(paths, store=store, model=model, index=address, **flags) as engine:
        added = add_with_progress(engine, paths, prune=prune, on=on)
        wishes = Wishes(recall, memory_bytes, batch_size, device, factory)
        built = engine.build(wishes=wishes, on_plan=tell_plan if explain else None)
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
        if report.own_recall is not None and report.own_recall < report.recall - 0.005:
            own = f"{report.own_recall:.3f}"
            say(f"  (tuned with its own vectors, as is usual, it would find {own} of the same)")
        if not report.reached:
            say("  warning: the wanted recall could not be proven; see: crossfind index status")
