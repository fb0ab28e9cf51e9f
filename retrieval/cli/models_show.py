"""`crossfind models show`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import print_json, print_table
from retrieval.config import load_settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.fetch import plan_fetch
from retrieval.encoders.hub import HuggingFaceHub
from retrieval.encoders.model_folder import installed, models_folder
from retrieval.encoders.registry import open_encoder


@click.command()
@click.argument("name")
@click.option(
    "--remote", is_flag=True,
    help="Ask the hub about a model that is not here: licence, commit, size. Nothing is fetched.",
)  # fmt: skip
@click.option("--revision", default="", metavar="REV", help="With --remote: branch, tag or commit.")
@models_dir_option
@json_option
def command(name: str, remote: bool, revision: str, as_json: bool) -> None:
    """Describe a model: its spaces, what it encodes, how it wants its media, where it is from.

    \b
    crossfind models show starter
    crossfind models show open_clip:ViT-B-32/laion2b_s34b_b79k --remote
    """
    if remote:
        _show_remote(name, revision=revision, as_json=as_json)
        return
    if revision:
        raise click.UsageError("--revision has no effect without --remote; leave it out")
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


def _show_remote(name: str, *, revision: str, as_json: bool) -> None:
    plan = plan_fetch(name, hub=HuggingFaceHub(), revision=revision)
    about = {
        "model": name,
        "licence": plan.remote.licence,
        "source": f"{plan.remote.repo} at {plan.remote.revision}",
        "weights": plan.weights,
        "files": len(plan.files),
        "size": f"{plan.size_bytes / 1e6:,.1f} MB",
        "fetch it": f"crossfind models fetch {name}",
    }
    print_json({**about, "size_bytes": plan.size_bytes}) if as_json else print_table(about)


def _print_spaces(encoder: Encoder) -> None:
    for space in encoder.spaces:
        about = (
            f"{space.dim}-d, {', '.join(space.modalities)}, fingerprint {space.fingerprint[:12]}"
        )
        print_table({"model": encoder.name, f"space {space.id}": about})
