"""`crossfind similar`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from retrieval.cli.options import hits_options
from retrieval.cli.output import escape, print_hits, say, say_warnings
from retrieval.cli.warm import ask_server, hits_of
from retrieval.config import Settings, load_settings
from retrieval.query.grammar import read_target, refined
from retrieval.types import Hit


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
    asked = {"k": k, "where": where, "min_confidence": min_confidence}
    hits, warnings = _find(
        read_target(target),
        asked={**asked, "modality": modality},
        body={**asked, "for": modality, "more_like": more_like, "less_like": less_like},
        settings=load_settings({"store": store}),
    )
    for warning in warnings:
        say(f"warning: {escape(warning)}")
    print_hits(hits, query=target, as_json=as_json, as_jsonl=as_jsonl, as_files=as_files)


def _find(
    target: str | int, *, asked: dict[str, Any], body: dict[str, Any], settings: Settings
) -> tuple[list[Hit], Sequence[str]]:
    """Ask the store's server if one runs, else open the store here."""
    like = {"query": {"item": target}} if isinstance(target, int) else {"like": target}
    sent = {**body, **like, "folder": os.getcwd()}
    answer = ask_server(settings, route="/v1/search", body=sent)
    if answer is not None:
        return hits_of(answer), answer["warnings"]
    from retrieval.engine import Engine

    say_warnings()  # of what is found damaged, as it is found
    with Engine.open(settings=settings) as engine:
        item = engine.item(target)
        value = Path(str(target)) if item is None else item.id
        query = refined(value, more=body["more_like"], less=body["less_like"])
        return engine.search(query, **asked), ()
