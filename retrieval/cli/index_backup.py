"""`crossfind index backup`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@click.argument("archive", type=click.Path(dir_okay=False))
@store_option
@json_option
def command(archive: str, store: str | None, as_json: bool) -> None:
    """Save the catalog and the vectors in one tar file, and read it back to be sure.

    Others may search and add meanwhile. Media files and what can be rebuilt are not in it.

    \b
    crossfind index backup /mnt/usb/pictures-2026-11.tar
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        report = engine.backup(archive)
    if as_json:
        print_json(report)
    size = f"{plural(report.n_segments, 'segment')}, {report.n_bytes / 1e6:.1f} MB"
    what = f"generation {report.generation}: {size}, read back and compared"
    say(f"saved in {escape(archive)}: {what}")
