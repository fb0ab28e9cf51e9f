"""`crossfind cluster`."""

from __future__ import annotations

import click

from retrieval.around.cluster import cluster_items
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, short_path
from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.types import MODALITIES, Modality

_SHOWN = 5


@click.command()
@click.option("-k", "n_clusters", type=click.IntRange(2, 10_000),
              help="How many; by the number of items if left out.")  # fmt: skip
@click.option("--for", "modality", type=click.Choice(MODALITIES), help="Only items of this one.")
@click.option("--keywords", type=click.IntRange(0, 50), default=5, show_default=True,
              help="Words a cluster.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first centres.")
@store_option
@json_option
def command(
    n_clusters: int | None,
    modality: Modality | None,
    keywords: int,
    seed: int,
    store: str | None,
    as_json: bool,
) -> None:
    """Group the items of the store by what they show, with keywords for each group.

    \b
    crossfind cluster --for image -k 12
    crossfind cluster --json
    """
    settings = load_settings({"store": store})
    with Engine.open(settings=settings) as engine:
        clusters = cluster_items(
            read_contents(engine, catalog_url=settings.catalog),
            encoder=engine.encoder,
            n_clusters=n_clusters,
            modality=modality,
            n_keywords=keywords,
            seed=seed,
        )
    if as_json:
        print_json({"clusters": clusters})
        return
    for cluster in clusters:
        size = plural(len(cluster.ids), "item")
        click.echo(f"{cluster.number:>3}  {size}  {escape(', '.join(cluster.keywords))}")
        for id_, path in list(zip(cluster.ids, cluster.paths, strict=True))[:_SHOWN]:
            click.echo(f"       #{id_}  {short_path(path)}")
