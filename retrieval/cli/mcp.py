"""`crossfind mcp`."""

from __future__ import annotations

import click

from retrieval.cli.options import models_dir_option, store_option
from retrieval.cli.output import say
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@click.option("--http", is_flag=True, help="Over HTTP at /mcp rather than stdin and stdout.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http: address.")
@click.option("--port", type=click.IntRange(0, 65535), default=8766, show_default=True,
              help="With --http: port; 0: any free one.")  # fmt: skip
@click.option("--allow-host", "names", multiple=True, metavar="NAME",
              help="With --http: a further host name of this server.")  # fmt: skip
@store_option
@models_dir_option
def command(http: bool, host: str, port: int, names: tuple[str, ...], store: str | None) -> None:
    """Let assistants use the store, by the Model Context Protocol: search, similar, item, classify.

    Off this machine's own address a token is needed (CROSSFIND_TOKEN). Needs the extra 'mcp'.

    \b
    crossfind mcp --store ~/Pictures/.crossfind
    crossfind mcp --http --port 8766
    """
    from retrieval.mcp.tools import make_tools

    settings = load_settings({"store": store})
    with Engine.open(settings=settings) as engine:
        tools = make_tools(engine, settings=settings)
        if not http:
            tools.run()
            return
        from retrieval.mcp.serve import serve_tools
        from retrieval.server.serve import Address

        address = Address(host, port, settings.token, names)
        serve_tools(tools, address=address, on_start=lambda url: say(f"serving tools on {url}"))
