"""`crossfind index restore`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import store_option
from retrieval.cli.output import escape, say
from retrieval.config import expand_home


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False))
@store_option
def command(archive: str, store: str | None) -> None:
    """Make a store of a backup: complete and verified, or not at all.

    The directory must not exist yet, or be empty. Nothing is written if the archive is damaged
    or holds anything else than a backup does.

    \b
    crossfind index restore pictures-2026-11.tar --store ~/Pictures/.crossfind
    crossfind index rebuild --store ~/Pictures/.crossfind
    """
    from retrieval.backup import restore
    from retrieval.store import STORE_NAME

    root = expand_home(store or STORE_NAME).absolute()
    restored = restore(Path(archive), root=root)
    place = escape(str(restored.root))
    say(f"restored {place}; for fast search run: crossfind index rebuild --store {place}")
