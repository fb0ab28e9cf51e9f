"""`crossfind explain`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import clock, escape, print_json, say, short_path
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.explain.draw import draw
from retrieval.explain.explain import Explanation, explain
from retrieval.media import Loader
from retrieval.query.grammar import read_target, read_typed


@click.command()
@click.argument("query")
@click.argument("hit", metavar="PATH|#ID")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Also draw it: a PNG with the heat over the picture or sound.")  # fmt: skip
@store_option
@json_option
def command(query: str, hit: str, out: Path | None, store: str | None, as_json: bool) -> None:
    """Say why an item is a hit of QUERY: which place, which second, which word.

    Pieces are covered one at a time, and what is lost without each is measured. QUERY is one text,
    file or stored item; of a composed query explain one part at a time.

    \b
    crossfind explain "a red parrot" photos/parrot.jpg --out why.png
    crossfind explain ./bark.ogg '#12' --json
    """
    settings = load_settings({"store": store})
    with (
        Engine.open(settings=settings) as engine,
        Loader(spec=engine.encoder.media) as loader,
    ):
        found = explain(engine, query=_one_part(query), hit=read_target(hit), loader=loader)
    if out is not None:
        out.write_bytes(draw(found))
        say(f"drawn: {escape(str(out))}")
    print_json(found.to_plain()) if as_json else _print(found)


def _one_part(query: str) -> str | Path | int:
    read = read_typed(query)
    if isinstance(read, str | Path | int):
        return read
    raise click.UsageError("QUERY has several parts; explain one of them at a time")


def _print(found: Explanation) -> None:
    click.echo(f"{found.score:6.3f}  {found.part.modality}  {short_path(found.item.path)}")
    for name, pieces in (("query word", found.words), ("text word", found.text)):
        for piece in sorted(pieces, key=lambda p: -p.drop)[:10]:
            click.echo(f"  {name}  {piece.share:6.1%}  {piece.drop:+.3f}  {escape(piece.label)}")
    if found.picture is not None:
        x, y = found.picture.peak
        click.echo(f"  place  {x:.0%} from the left, {y:.0%} from the top")
    for piece in sorted(found.sound, key=lambda p: -p.drop)[:5]:
        when = f"{clock(piece.start_s or 0.0)}-{clock(piece.end_s or 0.0)}"
        click.echo(f"  time  {piece.share:6.1%}  {piece.drop:+.3f}  {when}")
