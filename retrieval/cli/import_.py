"""`crossfind import`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from retrieval.cli.options import json_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.config import load_settings
from retrieval.encoders.registry import open_encoder
from retrieval.exchange.bring import (
    Imported,
    import_clip_retrieval,
    import_export,
    is_clip_retrieval,
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--store", required=True, metavar="DIR", help="The new store.")
@click.option("--model", metavar="NAME",
              help="Of a clip-retrieval folder: the model that made it.")  # fmt: skip
@json_option
def command(folder: Path, store: str, model: str | None, as_json: bool) -> None:
    """Make a store of vectors that exist: an export, or a folder of clip-retrieval.

    No media is read. Nothing is lost on the way: ids, paths, times and vectors stay the same.

    \b
    crossfind import vectors/ --store copy
    crossfind import laion/ --store laion-store --model open_clip:ViT-B-32/laion2b_s34b_b79k
    """
    done = _bring(folder, store=Path(store).expanduser().absolute(), model=model)
    if as_json:
        print_json(done)
    else:
        say(f"{plural(done.n_vectors, 'vector')} of {plural(done.n_items, 'item')} in "
            f"{escape(done.store)}")  # fmt: skip


def _bring(folder: Path, *, store: Path, model: str | None) -> Imported:
    settings = load_settings({"model": model})
    if not is_clip_retrieval(folder):
        if model:
            raise click.UsageError("--model has no effect: an export names its model itself")
        return import_export(folder, store=store, catalog_url=settings.catalog)
    if model is None:
        raise click.UsageError("--model is needed: clip-retrieval does not say what made it")
    with closing(open_encoder(settings.model, threads=settings.threads)) as encoder:
        return import_clip_retrieval(
            folder, store=store, encoder=encoder, catalog_url=settings.catalog
        )
