"""Finding or making a store, and opening its catalog."""

from __future__ import annotations

from pathlib import Path

from retrieval.catalog.store import Catalog
from retrieval.errors import NotFoundError
from retrieval.store import STORE_NAME, Store, create_store, find_store, open_store


def locate(explicit: str, *, create: bool) -> Store:
    """Find the store, or make it: where it is named, else in the working directory."""
    try:
        return open_store(find_store(Path.cwd(), explicit=explicit))
    except NotFoundError:
        if not create:
            raise
    return create_store(Path(explicit or STORE_NAME).expanduser().absolute())


def open_catalog(store: Store, *, url: str) -> Catalog:
    """Open a store's catalog; an empty store gets one, under the writer lock."""
    if not url and not store.catalog_path.exists():
        with store.lock():
            if not any(store.segments.iterdir()) and not store.catalog_path.exists():
                Catalog.create(store.catalog_path, uuid=store.uuid, tmp=store.tmp)
    return Catalog.open(store.catalog_path, uuid=store.uuid, url=url, create=bool(url))
