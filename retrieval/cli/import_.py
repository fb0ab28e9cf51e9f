"""`crossfind import`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.config import Settings, expand_home, load_settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.exchange.bring import import_clip_retrieval, import_export, is_clip_retrieval
from retrieval.exchange.foreign import find_matrix, import_matrix, import_rclip, is_rclip
from retrieval.exchange.new_store import Imported
from retrieval.exchange.shards import find_shards, import_shards
from retrieval.media import Loader


@click.command()
@click.argument("source", metavar="FOLDER|FILE", type=click.Path(path_type=Path))
@click.option("--store", required=True, metavar="DIR", help="The new store.")
@click.option("--model", metavar="NAME",
              help="The model that made the vectors, or is to encode shards.")  # fmt: skip
@models_dir_option
@json_option
def command(source: Path, store: str, model: str | None, as_json: bool) -> None:
    """Make a store of vectors that exist, or of tar shards.

    Known are exports of crossfind, folders of clip-retrieval, rclip's db.sqlite3, a folder with one
    .npy and one .jsonl file (a line a vector: path, modality, caption, text, start_s, end_s), and
    .tar shards of webdataset and img2dataset, whose pictures and sounds are encoded. Nothing is
    lost on the way: ids, paths, times and vectors stay the same.

    \b
    crossfind import vectors/ --store copy
    crossfind import laion/ --store laion-store --model open_clip:ViT-B-32/laion2b_s34b_b79k
    crossfind import db.sqlite3 --store new --model open_clip:ViT-B-32-quickgelu/openai
    crossfind import shards/ --store new
    """
    done = _bring(source, store=expand_home(store).absolute(), model=model)
    if as_json:
        print_json(done)
    else:
        bad = f"; {done.n_bad} bad, see: crossfind index errors" if done.n_bad else ""
        say(f"{plural(done.n_vectors, 'vector')} of {plural(done.n_items, 'item')} in "
            f"{escape(done.store)}{bad}")  # fmt: skip


def _bring(source: Path, *, store: Path, model: str | None) -> Imported:
    settings = load_settings({"model": model})
    read = _reader(source, settings)
    if read is None:
        if model:
            raise click.UsageError("--model has no effect: an export names its model itself")
        return import_export(source, store=store, catalog_url=settings.catalog)
    if model is None and not find_shards(source):
        raise click.UsageError("--model is needed: the files do not say what made the vectors")
    opened = open_encoder(settings.model, threads=settings.threads, models_dir=settings.models_dir)
    with closing(opened) as encoder:
        return read(store=store, encoder=encoder, catalog_url=settings.catalog)


def _reader(source: Path, settings: Settings) -> Callable[..., Imported] | None:
    """Tell by what is there how to read it; None for an export of our own."""
    if is_clip_retrieval(source):
        return partial(import_clip_retrieval, source)
    if is_rclip(source):
        return partial(import_rclip, source)
    matrix = find_matrix(source)
    if matrix is not None:
        return partial(import_matrix, matrix[0], table=matrix[1])
    if find_shards(source):
        return partial(_import_shards, source, settings=settings)
    return None


def _import_shards(
    source: Path, *, settings: Settings, store: Path, encoder: Encoder, catalog_url: str
) -> Imported:
    with Loader(
        spec=encoder.media, n_workers=settings.workers, timeout_s=settings.decode_timeout_s,
        memory_bytes=settings.decode_memory_bytes,
    ) as loader:  # fmt: skip
        return import_shards(
            source, store=store, encoder=encoder, loader=loader, catalog_url=catalog_url
        )
