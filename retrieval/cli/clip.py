"""`crossfind clip`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.around.clip import cut_clip
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, print_json, say
from retrieval.config import expand_home, load_settings
from retrieval.engine import Engine
from retrieval.errors import NotFoundError
from retrieval.query.grammar import read_target


@click.command()
@click.argument("source", metavar="PATH|#ID")
@click.argument("start_s", type=float, metavar="START")
@click.argument("end_s", type=float, metavar="END")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="The new file: .wav .flac .ogg .mp3 .m4a, or .mp4 with pictures.")  # fmt: skip
@store_option
@json_option
def command(
    source: str, start_s: float, end_s: float, out: Path, store: str | None, as_json: bool
) -> None:
    """Cut the seconds START to END out of a sound or video.

    \b
    crossfind clip walk.mp4 12.5 20 --out bark.mp4
    crossfind clip '#12' 3 8 --out bark.wav
    """
    done = cut_clip(_path(source, store), start_s=start_s, end_s=end_s, out=out)
    if as_json:
        print_json(done)
    else:
        say(f"{escape(done.path)}: {done.start_s:.2f} to {done.end_s:.2f} s")


def _path(source: str, store: str | None) -> Path:
    target = read_target(source)
    if isinstance(target, str):
        return expand_home(target)
    with Engine.open(settings=load_settings({"store": store})) as engine:
        item = engine.item(target)
    if item is None:
        raise NotFoundError(f"no item {source} in the store", code="no_such_item")
    return Path(item.path)
