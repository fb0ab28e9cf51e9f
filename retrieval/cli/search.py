"""`crossfind search`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import hits_options
from retrieval.cli.output import escape, print_hits, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.query.grammar import read_query


@click.command()
@click.argument("query")
@hits_options
def command(
    query: str,
    modality: str,
    k: int,
    as_jsonl: bool,
    as_files: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Find the items nearest to QUERY, whatever they are.

    A query that looks like a path (./bark.ogg, ../a.jpg, /b.wav, ~/c.png) is a file; '#12' is a
    stored item; everything else is text.

    \b
    crossfind search "a red parrot" --for image
    crossfind search ./bark.ogg -k 5
    """
    value = read_query(query)
    with Engine.open(settings=load_settings({"store": store})) as engine:
        hits = engine.search(value, k=k, modality=modality)
        warnings = engine.warnings
    for warning in warnings:
        say(f"warning: {escape(warning)}")
    if isinstance(value, str) and Path(query).is_file():
        say(f"note: searched for the words; to search with the file write ./{escape(query)}")
    print_hits(hits, query=query, as_json=as_json, as_jsonl=as_jsonl, as_files=as_files)
