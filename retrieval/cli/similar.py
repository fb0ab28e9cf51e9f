"""`crossfind similar`."""

from __future__ import annotations

import click

from retrieval.cli.options import hits_options
from retrieval.cli.output import escape, print_hits, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.query.grammar import read_target


@click.command()
@click.argument("target", metavar="PATH|#ID")
@hits_options
def command(
    target: str,
    modality: str,
    k: int,
    as_jsonl: bool,
    as_files: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Find items like a file or a stored item, without itself.

    \b
    crossfind similar holiday/beach.jpg
    crossfind similar '#12' --for audio
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        hits = engine.similar(read_target(target), k=k, modality=modality)
        warnings = engine.warnings
    for warning in warnings:
        say(f"warning: {escape(warning)}")
    print_hits(hits, query=target, as_json=as_json, as_jsonl=as_jsonl, as_files=as_files)
