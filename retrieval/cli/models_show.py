"""`crossfind models show`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import print_json, print_table
from retrieval.config import load_settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.model_folder import installed, models_folder
from retrieval.encoders.registry import open_encoder


@click.command()
@click.argument("name")
@models_dir_option
@json_option
def command(name: str, as_json: bool) -> None:
    """Describe a model: its spaces, what it encodes, how it wants its media, where it is from.

    \b
    crossfind models show starter
    """
    encoder = open_encoder(name, threads=load_settings().threads)
    manifest = {m.name: m for m in installed(models_folder())}.get(encoder.name)
    if as_json:
        about = {"name": encoder.name, "spaces": encoder.spaces, "media": encoder.media}
        print_json({**about, "source": manifest})
        return
    _print_spaces(encoder)
    if manifest is not None:
        print_table(
            {
                "licence": manifest.licence,
                "source": f"{manifest.source} at {manifest.revision or 'no revision'}",
                "files": ", ".join(manifest.files),
            }
        )
    print_table({name: getattr(encoder.media, name) for name in type(encoder.media).__slots__})


def _print_spaces(encoder: Encoder) -> None:
    for space in encoder.spaces:
        about = (
            f"{space.dim}-d, {', '.join(space.modalities)}, fingerprint {space.fingerprint[:12]}"
        )
        print_table({"model": encoder.name, f"space {space.id}": about})
