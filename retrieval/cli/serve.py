"""`crossfind serve`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import models_dir_option, store_option
from retrieval.cli.output import say
from retrieval.config import expand_home, load_settings
from retrieval.engine import Engine


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True,
              help="Port to listen on; 0: any free one.")  # fmt: skip
@click.option("--token", metavar="SECRET",
              help="Every request must carry it (safer: CROSSFIND_TOKEN).")  # fmt: skip
@click.option("--allow-host", "names", multiple=True, metavar="NAME",
              help="A further host name of this server, e.g. of a proxy.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Refuse uploads and removals.")
@click.option("--uploads", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder for uploaded files; in the store if left out.")  # fmt: skip
@click.option("--no-batching", is_flag=True, hidden=True, help="Search for each by itself.")
@click.option("--web", type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="DIR", hidden=True, help="Serve the page from this folder.")  # fmt: skip
@store_option
@models_dir_option
def command(
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...],
    read_only: bool,
    uploads: Path | None,
    no_batching: bool,
    web: Path | None,
    store: str | None,
) -> None:
    """Serve the store over HTTP, with a page, until Ctrl-C.

    On any other address than this machine's own a token of 16 characters or more is needed.
    'crossfind search' uses a running server of the same store by itself.

    \b
    crossfind serve
    CROSSFIND_TOKEN=... crossfind serve --host 0.0.0.0 --allow-host media.example.org
    """
    from retrieval.server.serve import Address, serve
    from retrieval.server.state import Options

    settings = load_settings({"store": store, "token": token})
    address = Address(host, port, settings.token, names)
    options = Options(
        read_only=read_only,
        uploads=uploads and expand_home(uploads).absolute(),
        web=web,
        batching=not no_batching,
    )
    with Engine.open(settings=settings) as engine:
        serve(engine, settings=settings, address=address, options=options, on_start=_tell)


def _tell(url: str) -> None:
    say(f"serving on {url} (Ctrl-C stops)")
