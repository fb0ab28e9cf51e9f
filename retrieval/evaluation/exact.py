"""A store searched exactly, whatever index files it has: the yardstick of the live index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from retrieval.catalog.read import Reader
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder
from retrieval.engine import Engine
from retrieval.media import Loader
from retrieval.query.generation import Generation, open_generation
from retrieval.query.grammar import make_query
from retrieval.query.search import search
from retrieval.types import Hit

__all__ = ["ExactSearcher", "exact_searcher"]


class ExactSearcher:
    """Search one generation of a store without its index files; see `exact_searcher`."""

    def __init__(
        self, *, reader: Reader, generation: Generation, encoder: Encoder, loader: Loader
    ) -> None:
        self._reader = reader
        self._generation = generation
        self._encoder = encoder
        self._loader = loader

    @property
    def warnings(self) -> tuple[str, ...]:
        """List what was found damaged; see `Engine.warnings`."""
        return self._generation.warnings

    def search(
        self,
        query: str | Path | int,
        *,
        k: int = 10,
        modality: str | None = None,
        hybrid: bool = True,
    ) -> list[Hit]:
        """Find the items nearest to a query, exactly; see `Engine.search`."""
        return search(
            make_query(query, k=k, modality=modality, hybrid=hybrid),
            reader=self._reader,
            generation=self._generation,
            encoder=self._encoder,
            loader=self._loader,
            leave_out=[query] if isinstance(query, int) else [],
        )


@contextmanager
def exact_searcher(engine: Engine, *, catalog_url: str = "") -> Iterator[ExactSearcher]:
    """Open an engine's store a second time, as if it had no index file.

    Args:
        engine: whose store and model to use.
        catalog_url: the catalog's URL where it is not the store's own SQLite file.
    """
    store = engine.store
    catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=catalog_url)
    try:
        with catalog.reading() as reader, Loader(spec=engine.encoder.media) as loader:
            snapshot = replace(reader.snapshot(), derived=())
            yield ExactSearcher(
                reader=reader,
                generation=open_generation(snapshot, store=store),
                encoder=engine.encoder,
                loader=loader,
            )
    finally:
        catalog.close()
