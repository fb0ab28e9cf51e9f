"""`crossfind search`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from retrieval.cli.options import hits_options, query_options
from retrieval.cli.output import escape, print_hits, print_json, say, say_warnings
from retrieval.cli.warm import ask_server, hits_of
from retrieval.config import Settings, load_settings
from retrieval.query.grammar import make_query, read_typed, refined
from retrieval.query.parse import join_arguments
from retrieval.types import Expression, Hit

Value = str | Path | int | Expression


@click.command()
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@click.option("--parse", "only_parse", is_flag=True,
              help="Print QUERY as JSON, as programs send it, and do not search.")  # fmt: skip
@query_options
@hits_options
def command(
    words: tuple[str, ...],
    only_parse: bool,
    syntax: str,
    more_like: tuple[int, ...],
    less_like: tuple[int, ...],
    where: str,
    min_confidence: float,
    vectors_only: bool,
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

    Queries are composed with + and - (vectors added), AND (all of them), OR (any of them),
    brackets, weights (2:beach), a crop of a picture (./a.jpg[0,0,0.5,1], shares of its sides) or a
    slice of a sound (./a.wav[3s:8s]). Operators stand between spaces, and at least one of their
    operands is quoted, weighted, a path or '#12': "rock - paper" alone stays text. With --syntax
    composed every query is read so, with --syntax text none.

    \b
    crossfind search "a red parrot" --for image
    crossfind search ./bark.ogg -k 5
    crossfind search '"2:beach" + ./dog.ogg - people'
    crossfind search '"rain" AND "piano"' --where "duration_s < 30"
    crossfind search beach --more-like 12 --less-like 9
    crossfind search '"2:beach" - people' --parse
    """
    query = join_arguments(words)
    typed = read_typed(query, syntax=syntax)
    value = refined(typed, more=more_like, less=less_like)
    if only_parse:
        print_json(_json_form(value))
        return
    # A file that is there is named as one: the server would read operators in its name.
    sent = {"file": str(typed.absolute())} if isinstance(typed, Path) else query
    asked = {"k": k, "where": where, "min_confidence": min_confidence, "hybrid": not vectors_only}
    refining = {"more_like": more_like, "less_like": less_like}
    hits, warnings = _find(
        value,
        body={
            "query": sent, "syntax": syntax, "for": modality, "folder": os.getcwd(),
            **asked, **refining,
        },
        options={"modality": modality, **asked},
        settings=load_settings({"store": store}),
    )  # fmt: skip
    for warning in warnings:
        say(f"warning: {escape(warning)}")
    if isinstance(typed, str) and os.path.isfile(query):
        say(f"note: searched for the words; to search with the file write ./{escape(query)}")
    print_hits(hits, query=query, as_json=as_json, as_jsonl=as_jsonl, as_files=as_files)


def _json_form(value: Value) -> dict[str, object]:
    from retrieval.query.json_form import expression_to_json
    from retrieval.query.plan import expression_of

    return expression_to_json(expression_of(make_query(value, k=1, modality=None)))


def _find(
    value: Value, *, body: dict[str, object], options: dict[str, Any], settings: Settings
) -> tuple[list[Hit], Sequence[str]]:
    """Ask the store's server if one runs, else open the store here."""
    answer = ask_server(settings, route="/v1/search", body=body)
    if answer is not None:
        return hits_of(answer), answer["warnings"]
    from retrieval.engine import Engine

    say_warnings()  # of what is found damaged, as it is found
    with Engine.open(settings=settings) as engine:
        return engine.search(value, **options), ()
