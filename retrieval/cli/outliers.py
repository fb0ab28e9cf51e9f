"""`crossfind outliers`."""

from __future__ import annotations

import click

from retrieval.around.cluster import find_outliers
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import print_json, short_path
from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.types import MODALITIES, Modality


@click.command()
@click.option("-n", type=click.IntRange(1, 100_000), default=20, show_default=True,
              help="How many.")  # fmt: skip
@click.option("--for", "modality", type=click.Choice(MODALITIES), help="Only items of this one.")
@store_option
@json_option
def command(n: int, modality: Modality | None, store: str | None, as_json: bool) -> None:
    """Find the items that are least like all others of their modality, the strangest first.

    The first figure says how many spreads below the mean of its modality an item's likeness is, the
    second the likeness: the mean cosine to its nearest neighbours.

    \b
    crossfind outliers -n 10
    """
    settings = load_settings({"store": store})
    with Engine.open(settings=settings) as engine:
        contents = read_contents(engine, catalog_url=settings.catalog)
    found = find_outliers(contents, n=n, modality=modality)
    if as_json:
        print_json({"outliers": found})
        return
    for one in found:
        click.echo(
            f"{one.z:7.2f}  {one.similarity:6.3f}  {one.modality:<5}  #{one.id}  "
            f"{short_path(one.path)}"
        )
