"""`crossfind models fetch`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import print_json, say
from retrieval.encoders.fetch import FetchPlan, FolderHub, fetch, plan_fetch
from retrieval.encoders.hub import Hub, HuggingFaceHub
from retrieval.encoders.model_folder import models_folder


@click.command()
@click.argument("name")
@click.option("--revision", default="", metavar="REV", help="Branch, tag or commit of the source.")
@click.option("--from", "source", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Take the files from this folder instead of the network.")  # fmt: skip
@click.option("--licence", default="unknown", help="Licence of the files in --from.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@models_dir_option
@json_option
def command(
    name: str, revision: str, source: Path | None, licence: str, yes: bool, as_json: bool
) -> None:
    """Download a model that you name: one commit, safetensors only, every file with its SHA-256.

    Its licence is shown first. A machine without network takes a copy: fetch elsewhere with
    --models-dir DIR and copy the model's folder, or name a folder of files with --from.

    \b
    crossfind models fetch open_clip:ViT-B-32/laion2b_s34b_b79k
    crossfind models fetch clap:laion/clap-htsat-unfused --models-dir /media/stick/models
    """
    hub: Hub = FolderHub(source, licence=licence) if source else HuggingFaceHub()
    plan = plan_fetch(name, hub=hub, revision=revision)
    _tell(plan)
    if sys.stdin.isatty() and not yes:
        click.confirm("fetch it?", abort=True, err=True)
    path = fetch(plan, hub=hub, models_dir=models_folder(), on_file=_on_file)
    say(f"model {name} is in {path}; try: crossfind models check {name}")
    if as_json:
        print_json({"name": name, "path": str(path), "revision": plan.remote.revision})


def _tell(plan: FetchPlan) -> None:
    say(f"{plan.name}: {plan.remote.repo} at {plan.remote.revision or 'no revision'}")
    say(f"licence: {plan.remote.licence}")
    say(f"{len(plan.files)} files, {plan.size_bytes / 1e6:,.1f} MB, weights {plan.weights}")


def _on_file(name: str, size_bytes: int) -> None:
    say(f"  {name} ({size_bytes / 1e6:,.1f} MB)")
