"""What answers now: the model, the loader of query files and the generation of the vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import RLock

from retrieval.add import FileLoader
from retrieval.asked import Asked
from retrieval.catalog.read import Reader
from retrieval.catalog.store import Catalog
from retrieval.config import Settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.micro_batch import MicroBatchEncoder
from retrieval.engine_open import open_own_encoder, remote_of
from retrieval.engine_warm import warm
from retrieval.media import Loader, find_file
from retrieval.media.cut import wide_spec
from retrieval.media.opened import open_loader
from retrieval.query.generation import Generation, follow, open_generation
from retrieval.store import Store
from retrieval.types import Loaded, MediaSpec


class Serving:
    """Opens what searches need on first use, keeps it warm, and changes it as the store changes.

    Args:
        catalog, store, settings: of the store.
        model: name of the model of a store without vectors; None takes that of the settings.
    """

    def __init__(
        self, *, catalog: Catalog, store: Store, settings: Settings, model: str | None
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._settings = settings
        self._model = model
        self._remote = remote_of(settings)
        self._is_held = self._is_shared = False
        self._guard = RLock()
        self.generation: Generation | None = None

    def close(self) -> None:
        """End the decode workers, let the model and the vectors go."""
        for name in ("loader", "encoder"):
            held = self.__dict__.pop(name, None)
            if held is not None:
                held.close()
        self.generation = None

    @cached_property
    def encoder(self) -> Encoder:
        """The store's model, opened on first use."""
        opened = open_own_encoder(self.model_name(), catalog=self._catalog, settings=self._settings)
        return MicroBatchEncoder(opened) if self._is_shared else opened

    @cached_property
    def loader(self) -> Loader:
        """The loader of query files, with one worker; it does not listen to what is said."""
        return self.new_loader(1, spec=self.encoder.media)

    def load_wide(self, path: Path) -> Loaded:
        """Load a query file in more detail than the model sees, to cut a part out of it."""
        with self.new_loader(1, spec=wide_spec(self.encoder.media)) as loader:
            return loader.load(find_file(path))

    def new_loader(self, n_workers: int, *, spec: MediaSpec | None = None) -> Loader:
        """Make a loader of the model's media with what is said in them, or of another spec."""
        return open_loader(
            spec or self.encoder.media, settings=self._settings, n_workers=n_workers,
            listens=spec is None,
        )  # fmt: skip

    @contextmanager
    def adding(self, on: str) -> Iterator[tuple[FileLoader, Encoder]]:
        """Open what loads and encodes files: here, or on a cluster of Ray (see `Engine.add`)."""
        if not on:
            with self.new_loader(self._settings.workers) as loader:
                yield loader, self.encoder
            return
        from retrieval.cluster.encoded import EncodedElsewhere
        from retrieval.cluster.ray_loader import RayLoader

        with RayLoader(on, encoder=self.encoder, settings=self._settings) as cluster:
            yield cluster, EncodedElsewhere(self.encoder)

    def model_name(self) -> str:
        """Read the name of the store's model, or of the one its first vectors will be of."""
        with self._catalog.reading() as reader:
            spaces = reader.spaces()
        return spaces[0].model if spaces else self._model or self._settings.model

    def share(self) -> None:
        """Encode together what several threads encode at the same time."""
        self._is_shared = True

    def reload(self) -> int:
        """Open and warm the newest generation beside the one that serves till then.

        Returns:
            The generation that serves now; from the first call on `reading` looks for no newer one.
        """
        self._is_held = True
        with self._catalog.reading() as reader:
            number = reader.generation()
            if self.generation is None or self.generation.number != number:
                if self.generation is None:
                    self._catalog.lease(number)
                opened = open_generation(
                    reader.snapshot(), self.generation, store=self._store, remote=self._remote
                )
                warm(opened, reader=reader, encoder=self.encoder, loader=self.loader)
                with self._guard:
                    self._serve(opened, reader=reader)
                self._catalog.lease(number)  # not before: the one that served needed its files
        return number

    @contextmanager
    def reading(self) -> Iterator[tuple[Reader, Generation]]:
        """Open the newest generation; the one before is kept as long as it is the newest."""
        with self._catalog.reading() as reader:
            # Before the guard: a read may wait for a writer, who waits for `reload` to read on.
            newest = reader.generation()
            with self._guard:
                generation = follow(
                    self.generation,
                    newest=newest,
                    reader=reader,
                    store=self._store,
                    stays=self._is_held,
                    remote=self._remote,
                )
                if generation is not self.generation:
                    self._serve(generation, reader=reader)
            yield reader, generation

    def _serve(self, generation: Generation, *, reader: Reader) -> None:
        """Change the generation, and let the model go where a migration has replaced it."""
        self.generation = generation
        asked = Asked(self._store.derived)
        if self._settings.keep_queries:
            generation.asked = asked
        else:
            asked.forget()
        serving = {(space.id, space.fingerprint) for space in reader.spaces()}
        held = self.__dict__.get("encoder")
        if held and serving and not serving & {(s.id, s.fingerprint) for s in held.spaces}:
            for name in ("encoder", "loader"):  # a search of another thread may still use them
                self.__dict__.pop(name, None)
