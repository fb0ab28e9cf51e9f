"""`crossfind models`: find, fetch, check, join and export models."""

from __future__ import annotations

import click

from retrieval.cli.lazy import LazyGroup

_COMMANDS = {
    "list": ("retrieval.cli.models_list", "List the models this installation can open."),
    "show": ("retrieval.cli.models_show", "Describe a model: spaces, media, source, licence."),
    "fetch": ("retrieval.cli.models_fetch", "Download a model that you name, pinned and checked."),
    "check": ("retrieval.cli.models_check", "Check a model's files and what it makes of a probe."),
    "join": ("retrieval.cli.models_join", "Join a picture model and a sound model into one."),
    "export": ("retrieval.cli.models_export", "Write faster ONNX copies for the CPU."),
}


@click.group(cls=LazyGroup, table=_COMMANDS)
def command() -> None:
    """Find, fetch, check, join and export models.

    \b
    crossfind models list
    crossfind models fetch open_clip:ViT-B-32/laion2b_s34b_b79k
    crossfind index build ~/Pictures --model open_clip:ViT-B-32/laion2b_s34b_b79k
    """
