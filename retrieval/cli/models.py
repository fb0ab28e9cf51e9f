"""`crossfind models`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option
from retrieval.cli.output import print_json, print_table
from retrieval.config import load_settings
from retrieval.encoders.registry import MODELS, open_encoder


@click.group()
def command() -> None:
    """List and describe models.

    \b
    crossfind models list
    crossfind models show starter
    """


@command.command(name="list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models this installation can open.

    \b
    crossfind models list
    """
    rows = {info.name: info.summary for info in MODELS}
    if as_json:
        print_json({"models": [{"name": name, "summary": text} for name, text in rows.items()]})
    else:
        print_table(rows)


@command.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Describe a model: its spaces, what it encodes and how it wants its media.

    \b
    crossfind models show starter
    """
    encoder = open_encoder(name, threads=load_settings().threads)
    if as_json:
        print_json({"name": encoder.name, "spaces": encoder.spaces, "media": encoder.media})
        return
    for space in encoder.spaces:
        about = (
            f"{space.dim}-d, {', '.join(space.modalities)}, fingerprint {space.fingerprint[:12]}"
        )
        print_table({"model": encoder.name, f"space {space.id}": about})
    print_table({name: getattr(encoder.media, name) for name in type(encoder.media).__slots__})
