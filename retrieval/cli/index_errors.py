"""`crossfind index errors`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, print_json, say, short_path
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.types import Failure


@click.command()
@store_option
@json_option
def command(store: str | None, as_json: bool) -> None:
    """List the files that cannot be used: path, code and reason.

    They are tried again when they change.

    \b
    crossfind index errors
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        failures = engine.failures()
    if as_json:
        print_json({"errors": failures})
    elif not failures:
        say("no file was skipped")
    else:
        for failure in failures:
            click.echo(f"{failure.code:<20}  {short_path(failure.path)}  {_reason(failure)}")


def _reason(failure: Failure) -> str:
    return escape(failure.reason.removeprefix(failure.path).lstrip(": "))
