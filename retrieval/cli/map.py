"""`crossfind map`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, print_json, say
from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.media import Loader
from retrieval.visualize.map import THUMBNAIL_SPEC, Method, draw_map, make_map, make_thumbnails


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("map.html"),
              show_default=True, metavar="FILE", help="The page.")  # fmt: skip
@click.option("--gap", is_flag=True, help="Leave the modalities where they stand, apart.")
@click.option("--method", type=click.Choice(["pca", "umap"]), default="pca", show_default=True,
              help="umap keeps neighbours together; it needs the extra viz.")  # fmt: skip
@click.option("--thumbnails", type=click.IntRange(0, 20_000), default=2000, show_default=True,
              help="Most small pictures in the page.")  # fmt: skip
@store_option
@json_option
def command(
    out: Path, gap: bool, method: Method, thumbnails: int, store: str | None, as_json: bool
) -> None:
    """Draw the store as a map in one HTML file: hover, zoom, move; no network.

    \b
    crossfind map
    crossfind map --out holidays.html --gap
    crossfind map --method umap
    """
    settings = load_settings({"store": store})
    with (
        Engine.open(settings=settings) as engine,
        Loader(spec=THUMBNAIL_SPEC, n_workers=settings.workers) as loader,
    ):
        found = make_map(read_contents(engine, catalog_url=settings.catalog),
                         with_gap=gap, method=method)  # fmt: skip
        small, failures = make_thumbnails(found.dots, loader=loader, limit=thumbnails)
    for failure in failures:
        say(f"no thumbnail: {escape(failure.reason)} [{failure.code}]")
    out.write_text(draw_map(found, thumbnails=small), encoding="utf-8")
    if as_json:
        print_json({"out": str(out), "kept": found.kept, "dots": found.dots})
    else:
        say(f"{len(found.dots)} items drawn in {escape(str(out))}; open it in a browser")
