"""Shards of webdataset and img2dataset as a new store: added as `index add SHARD.tar` does."""

from __future__ import annotations

from pathlib import Path

from retrieval.add import add
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder
from retrieval.errors import InputError, UsageError
from retrieval.exchange.new_store import Imported
from retrieval.media import Loader
from retrieval.media.roots import Roots
from retrieval.media.shards import is_shard
from retrieval.store import create_store

__all__ = ["find_shards", "import_shards"]


def find_shards(path: Path) -> list[Path]:
    """List the .tar files of a folder in order of their names; a .tar file is itself its list."""
    if path.is_file():
        return [path] if is_shard(path.name) else []
    return sorted(path.glob("*.tar"))


def import_shards(
    path: Path, *, store: Path, encoder: Encoder, loader: Loader, catalog_url: str = ""
) -> Imported:
    """Encode the media of shards into a new store; their paths are `SHARD.tar/MEMBER`.

    Args:
        path: a folder of .tar files, or one.
        store: the new store's directory.
        encoder: of the model; everything is encoded.
        loader: decodes as the encoder wants.
        catalog_url: of a catalog that is not the store's own SQLite file.

    Returns:
        What was brought in; bad members are counted, and named by `crossfind index errors`.

    Raises:
        UsageError: no shard there (`not_an_export`), or the store is not new (`store_in_use`).
        InputError: nothing of them can be used (`bad_export`).
    """
    shards = find_shards(path)
    if not shards:
        raise UsageError(f"{path} holds no .tar file", code="not_an_export")
    made = create_store(store)
    with made.lock():
        new = not made.catalog_path.exists()
        catalog = Catalog.open(made.catalog_path, uuid=made.uuid, url=catalog_url, create=new)
        try:
            with catalog.reading() as reader:
                if reader.spaces() or reader.segments():
                    raise UsageError(
                        f"{store} holds something already; import into a new store",
                        code="store_in_use",
                    )
            roots = Roots(elsewhere=tuple(str(shard.absolute()) for shard in shards))
            done = add(roots, catalog=catalog, store=made, encoder=encoder, loader=loader)
            with catalog.reading() as reader:
                failures = reader.failures()
        finally:
            catalog.close()
    if not done.n_added:
        why = f": {failures[0].reason}" if failures else ""
        raise InputError(f"nothing in {path} could be used{why}", code="bad_export")
    space = encoder.spaces[0]
    return Imported(str(made.root), space, done.n_parts, done.n_added, done.n_bad)
