"""`crossfind similar`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import hits_options
from retrieval.cli.output import escape, print_hits, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.query.grammar import read_target, refined


@click.command()
@click.argument("target", metavar="PATH|#ID")
@click.option("--more-like", type=click.IntRange(min=0), multiple=True, metavar="ID",
              help="Nearer to this stored item too; may be repeated.")  # fmt: skip
@click.option("--less-like", type=click.IntRange(min=0), multiple=True, metavar="ID",
              help="Further from this stored item; may be repeated.")  # fmt: skip
@click.option("--where", default="", metavar="CONDITION", help="Only items that fit; see search.")
@click.option("--min-confidence", type=click.FloatRange(0.0, 1.0), default=0.0, metavar="P",
              help="Only hits this sure, 0 to 1.")  # fmt: skip
@hits_options
def command(
    target: str,
    more_like: tuple[int, ...],
    less_like: tuple[int, ...],
    where: str,
    min_confidence: float,
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
    crossfind similar holiday/beach.jpg --less-like 7 --where "year >= 2020"
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        item = engine.item(read_target(target))
        hits = engine.search(
            refined(Path(target) if item is None else item.id, more=more_like, less=less_like),
            k=k,
            modality=modality,
            where=where,
            min_confidence=min_confidence,
        )
        warnings = engine.warnings
    for warning in warnings:
        say(f"warning: {escape(warning)}")
    print_hits(hits, query=target, as_json=as_json, as_jsonl=as_jsonl, as_files=as_files)
