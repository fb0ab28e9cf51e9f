"""What all requests share: the warm engine, its loaders, and the gates before them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.types import Receive

from retrieval.catalog.records import FileRecord
from retrieval.catalog.store import Catalog
from retrieval.config import Settings
from retrieval.engine import Engine
from retrieval.errors import CrossfindError, NotFoundError
from retrieval.media import Loader
from retrieval.server.found import Sought, answer_each
from retrieval.server.lane import Lane
from retrieval.server.limits import Gate, RequestError
from retrieval.server.metrics import Metrics
from retrieval.types import NOTHING, Details, Item, MediaSpec
from retrieval.visualize.map import StoreMap

__all__ = ["THUMBNAIL_PX", "Options", "State", "StoredItem"]

T = TypeVar("T")
_log = logging.getLogger(__name__)

THUMBNAIL_PX = 320
_THUMBNAIL_SPEC = MediaSpec(image_size_px=THUMBNAIL_PX, frame_every_s=3600.0)
_SECONDS = 30.0
_BATCHES = 4
"""Batches of searches at once: more than one runs only where one takes long."""
_MAX_BATCH = 32
_RELOAD_SECONDS = 0.5


@dataclass(frozen=True)
class Options:
    """How a server is run.

    Attributes:
        read_only: whether POST and DELETE of items are refused.
        uploads: folder for uploaded files; `uploads` in the store when left out.
        web: folder with the page; the package's own when left out.
        search_width, search_depth: searches that run and that wait at once.
        batching: whether searches that come together are answered together.
    """

    read_only: bool = False
    uploads: Path | None = None
    web: Path | None = None
    search_width: int = 32
    search_depth: int = 96
    batching: bool = True


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item, the files on record that hold it, and what they say of themselves."""

    item: Item
    files: tuple[FileRecord, ...]
    details: Details = NOTHING


@dataclass
class State:
    """The shared part of a server; see the module.

    Attributes:
        engine: of the store.
        settings: resolved.
        options: of this server.
        is_ready: whether the model is warm.
    """

    engine: Engine
    settings: Settings
    options: Options = field(default_factory=Options)
    is_ready: bool = False

    def __post_init__(self) -> None:
        store = self.engine.store
        self.metrics = Metrics()
        if self.options.batching:
            self.engine.share()
        self._catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=self.settings.catalog)
        options = self.options
        n_inside = options.search_width + options.search_depth
        self.searches = Lane(
            partial(answer_each, engine=self.engine, metrics=self.metrics, items=self.items),
            name="search",
            width=_BATCHES if options.batching else options.search_width,
            depth=n_inside,
            seconds=_SECONDS,
            max_batch=_MAX_BATCH if options.batching else 1,
        )
        # What is decoded or encoded for itself first, which takes longer than searching.
        self.encodes = Gate(
            name="encode", width=options.search_width, depth=options.search_depth, seconds=_SECONDS
        )
        self.looks = Gate(name="look", width=4, depth=124, seconds=_SECONDS)
        self._gates: dict[str, Lane[Sought, bytes] | Gate] = {
            "/v1/search": self.searches,
            "/v1/embeddings": self.encodes,
        }
        self.slow = Gate(name="slow", width=2, depth=14, seconds=120.0)
        self.writes = Gate(name="write", width=1, depth=7, seconds=120.0)
        self.metrics.watch(self.searches, self.encodes, self.looks, self.slow, self.writes)
        self.thumbnails = Loader(spec=_THUMBNAIL_SPEC, timeout_s=self.settings.decode_timeout_s)
        self._loader: Loader | None = None
        self._guard = threading.Lock()
        self.map_cache: dict[tuple[int, bool], StoreMap] = {}
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def uploads(self) -> Path:
        """The folder that uploaded files are put into."""
        return self.options.uploads or self.engine.store.root / "uploads"

    @property
    def loader(self) -> Loader:
        """Decodes query files in the form the model wants; opened on first use."""
        with self._guard:
            if self._loader is None:
                self._loader = Loader(
                    spec=self.engine.encoder.media,
                    n_workers=2,
                    timeout_s=self.settings.decode_timeout_s,
                    memory_bytes=self.settings.decode_memory_bytes,
                )
            return self._loader

    def start(self) -> None:
        """Warm the model and the index in a thread of its own, then watch for new generations."""
        self._keeper = threading.Thread(target=self._keep, name="crossfind-keep", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Finish what runs, end the children, close the catalog; the engine stays open."""
        self._stopping.set()
        for gate in (self.searches, self.encodes, self.looks, self.slow, self.writes):
            gate.close()
        if self._keeper is not None:
            self._keeper.join()
        self.thumbnails.close()
        if self._loader is not None:
            self._loader.close()
        self._catalog.close()

    def generation(self) -> int:
        """Read the number of the newest commit."""
        with self._catalog.reading() as reader:
            return reader.generation()

    def stored(self, item_id: int) -> StoredItem:
        """Look an item up with its files.

        Raises:
            RequestError: it has been removed (`removed`, 410).
            NotFoundError: there never was such an item (`no_such_item`).
        """
        with self._catalog.reading() as reader:
            item = reader.items([item_id]).get(item_id)
            if item is None:
                if 0 < item_id < reader.next_ids()[0]:
                    raise RequestError(
                        f"item {item_id} has been removed", code="removed", status=410
                    )
                raise NotFoundError(f"no item {item_id} in the store", code="no_such_item")
            files = reader.known_files(sorted(reader.item_files(item_id)))
            said = reader.details([item_id]).get(item_id, NOTHING)
        return StoredItem(item, tuple(files[path] for path in sorted(files)), said)

    def items(self, ids: Iterable[int]) -> dict[int, Item]:
        """Look items up; those that are gone are left out."""
        with self._catalog.reading() as reader:
            return reader.items(ids)

    def facets(self, where: str) -> dict[str, dict[str, int]]:
        """Count the items that fit a condition by modality and format."""
        from retrieval.query.where import parse_where

        with self._catalog.reading() as reader:
            columns = reader.columns()
            condition = parse_where(where, columns=columns) if where.strip() else None
            return reader.facets(condition)

    def turns_away(self, path: str) -> bool:
        """Tell whether a request for a path would find its gate full; counts those that do."""
        gate = self._gates.get(path)
        if gate is None or not gate.is_full:
            return False
        gate.n_shed += 1
        return True

    async def search(self, sought: Sought, receive: Receive) -> bytes:
        """Search once the model is warm; gives the JSON of the answer."""
        self._check_ready()
        if not sought.has_files:
            return await self.searches.run(sought, key=sought.key, receive=receive)
        outcome = await self.encodes.run(
            lambda: answer_each(
                [sought], engine=self.engine, metrics=self.metrics, items=self.items
            )[0],
            receive=receive,
        )
        if isinstance(outcome, CrossfindError):
            raise outcome
        return outcome

    async def encode(self, work: Callable[[], T], receive: Receive) -> T:
        """Encode behind its gate once the model is warm."""
        self._check_ready()
        return await self.encodes.run(work, receive=receive)

    def _check_ready(self) -> None:
        if not self.is_ready:
            raise RequestError("the model is being loaded", code="not_ready", status=503)

    def _keep(self) -> None:
        """Serve the newest generation, again and again; whatever fails is tried again."""
        told = ""
        while not self._stopping.is_set():
            try:
                self.engine.reload()
                self.is_ready = True
            except Exception as error:  # the top of a thread: a server outlives what it meets
                if repr(error) != told:
                    told = repr(error)
                    is_ours = isinstance(error, CrossfindError)
                    _log.error("cannot open the store: %s", error, exc_info=not is_ours)
            self._stopping.wait(_RELOAD_SECONDS)
