"""`crossfind export`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.exchange.export import export_store


@click.command()
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="A new or empty folder.")  # fmt: skip
@click.option("--faiss", "with_faiss", is_flag=True, help="Also write a flat faiss index.")
@click.option("--parquet", "with_parquet", is_flag=True, help="Also write the rows as parquet.")
@click.option("--space", metavar="ID", help="Of a store with several; the largest if left out.")
@store_option
@json_option
def command(
    to: Path,
    with_faiss: bool,
    with_parquet: bool,
    space: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Write the store's vectors as npy and what they belong to as jsonl.

    \b
    crossfind export --to vectors/
    crossfind export --to vectors/ --faiss --parquet
    """
    settings = load_settings({"store": store})
    with Engine.open(settings=settings) as engine:
        done = export_store(
            engine, to=to, catalog_url=settings.catalog, space_id=space, with_faiss=with_faiss,
            with_parquet=with_parquet,
        )  # fmt: skip
    if as_json:
        print_json(done)
    else:
        say(f"{plural(done.n_vectors, 'vector')} of {plural(done.n_items, 'item')} in "
            f"{escape(done.folder)}")  # fmt: skip
