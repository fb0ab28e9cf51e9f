"""The façade: every verb of the product on one object. No logic lives here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import TracebackType

from retrieval.add import AddReport, OnProgress, add
from retrieval.backup import BackupReport, backup
from retrieval.build import BuildReport, OnPlan, build
from retrieval.build_wishes import DEFAULT_WISHES, Wishes
from retrieval.catalog.store import Catalog
from retrieval.columns import ColumnsReport, add_columns
from retrieval.config import Settings, load_settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import canonical_name
from retrieval.engine_migrate import drop_old, kept_model, run_migration
from retrieval.engine_open import encode_bank, locate, open_catalog, other_model, remote_of
from retrieval.engine_serving import Serving
from retrieval.engine_verify import run_verification
from retrieval.errors import CrossfindError, ModelError
from retrieval.garbage import collect_garbage
from retrieval.media.roots import read_roots
from retrieval.migrate import MigrateReport, OnParts
from retrieval.query.grammar import make_query
from retrieval.query.search import Outcome, search_each
from retrieval.remove import remove, resolve_item
from retrieval.status import Status, read_status
from retrieval.store import Store
from retrieval.types import Expression, Failure, Hit, Item, Query
from retrieval.verify import VerifyReport


class Engine:
    """A store and everything one can do with it.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "note.txt").write_text("red and green")
        >>> with Engine.open(folder / "store", create=True, model="fake") as engine:
        ...     _ = engine.add(folder / "note.txt")
        ...     [hit.path.endswith("note.txt") for hit in engine.search("red", k=3)]
        [True]
    """

    def __init__(
        self, *, store: Store, catalog: Catalog, settings: Settings, model: str | None
    ) -> None:
        self.store = store
        self._catalog = catalog
        self._settings = settings
        self.serving = Serving(catalog=catalog, store=store, settings=settings, model=model)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        create: bool = False,
        model: str | None = None,
        settings: Settings | None = None,
    ) -> Engine:
        """Open a store.

        Args:
            path: the store directory or its parent; found from the working directory upwards,
                or by CROSSFIND_STORE, when left out.
            create: make the store where there is none (`.crossfind` in the working directory
                when no path is given).
            model: name of the model; must be the store's own if it has vectors already.
            settings: resolved settings; read from the environment when left out.

        Raises:
            NotFoundError: no store there, and `create` is False.
            DamagedError: the store is not what was written.
            ModelError: `model` is not the one the store was made with.
        """
        settings = settings or load_settings()
        explicit = os.fspath(path) if path is not None else settings.store
        store = locate(explicit, create=create)
        catalog = open_catalog(store, url=settings.catalog)
        name = canonical_name(model) if model else None
        engine = cls(store=store, catalog=catalog, settings=settings, model=name)
        try:
            engine._check_model(name)
        except ModelError:
            engine.close()
            raise
        return engine

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog, end the decode workers, let the model go."""
        self.serving.close()
        self._catalog.close()

    def turn(self, *, alone: bool = True) -> AbstractContextManager[bool]:
        """Hold the right to write; see `retrieval.catalog.store.Catalog.turn`."""
        return self._catalog.turn(self.store, alone=alone)

    def add(
        self,
        *paths: str | os.PathLike[str],
        prune: bool = False,
        on: str = "",
        on_progress: OnProgress | None = None,
        stop: Event | None = None,
    ) -> AddReport:
        """Add files and folders; what is already there and unchanged is skipped.

        Args:
            paths: files, folders, URLs (`s3://bucket/folder`, `https://host/a.jpg`) and shards of
                webdataset (`shards/{00..09}.tar`, also at URLs).
            prune: also remove items under these paths whose files are gone.
            on: where files are decoded and encoded: `ray` for a cluster of this machine's cores,
                `ray://HOST:10001` for another, whose machines see the same paths; empty: here.
            on_progress: called now and then.
            stop: set it to stop early; what was acknowledged is kept.

        Returns:
            What was done; bad files are counted, and listed by `failures`.

        Raises:
            LockedError: another process is writing.
            StoppedError: `stop` was set.
            StorageError: the disk is full or read-only.
        """
        roots = read_roots(paths)
        with self.turn(alone=False) as alone, self.serving.adding(on) as (loader, encoder):
            if alone:
                collect_garbage(self._catalog, store=self.store)
            return add(
                roots,
                catalog=self._catalog,
                store=self.store,
                encoder=encoder,
                loader=loader,
                commit_s=self._settings.commit_s,
                prune=prune,
                listens=bool(self._settings.speech),
                on_progress=on_progress,
                stop=stop,
            )

    def build(
        self,
        *,
        force: bool = False,
        wishes: Wishes = DEFAULT_WISHES,
        on_plan: OnPlan | None = None,
    ) -> list[BuildReport]:
        """Build the index of each space from its segments; see `retrieval.build.build`."""
        wishes = replace(wishes, remote=wishes.remote or remote_of(self._settings))
        with self.turn():
            return build(
                catalog=self._catalog, store=self.store, force=force, wishes=wishes,
                on_plan=on_plan, bank=lambda space: encode_bank(self.encoder, space),
            )  # fmt: skip

    def add_columns(self, table: str | os.PathLike[str]) -> ColumnsReport:
        """Give items columns of the user's own; see `retrieval.columns.add_columns`."""
        with self.turn(alone=False):
            return add_columns(Path(table), catalog=self._catalog)

    def remove(self, *targets: str | os.PathLike[str] | int) -> int:
        """Remove items by path, folder or id; return how many went. The files stay."""
        with self.turn(alone=False):
            return remove(targets, catalog=self._catalog)

    def search(
        self,
        query: str | Path | int | Expression,
        *,
        k: int = 10,
        modality: str | None = None,
        where: str = "",
        min_confidence: float = 0.0,
        offset: int = 0,
        hybrid: bool = True,
    ) -> list[Hit]:
        """Find the items nearest to a query.

        Args:
            query: a text (str), a media file (pathlib.Path), a stored item's id (int), or a
                composed query: what `retrieval.query.parse.parse` gives.
            k: how many hits, 1 to 1000.
            modality: image, audio, text, video, or None for any.
            where: a condition on the items' fields, e.g. `width_px > 800 AND format = 'jpeg'`.
            min_confidence: hits below are left out, 0 to 1.
            offset: how many of the best are passed over; the next page of a list.
            hybrid: also look for the words in file names, captions and texts; False for the
                vectors alone.

        Returns:
            At most k hits, best first, ties by id.

        Raises:
            UsageError: empty query, or k or modality outside their limits.
            BadMediaError: the query file cannot be used.
        """
        wanted = make_query(
            query, k=k, modality=modality, where=where, min_confidence=min_confidence,
            offset=offset,
            hybrid=hybrid,
        )  # fmt: skip
        (outcome,) = self.search_each([wanted])
        if isinstance(outcome, CrossfindError):
            raise outcome
        return outcome

    def search_each(self, queries: Sequence[Query]) -> list[Outcome]:
        """Answer several queries side by side, for little more than a few cost alone.

        Args:
            queries: made by `retrieval.query.grammar.make_query`.

        Returns:
            For each, in their order, what `search` gives or the error it raises.
        """
        with self.serving.reading() as (reader, generation):
            return search_each(
                queries,
                reader=reader,
                generation=generation,
                encoder=self.encoder,
                loader=self.serving.loader,
                load_wide=self.serving.load_wide,
            )

    def similar(
        self,
        target: str | os.PathLike[str] | int,
        *,
        k: int = 10,
        modality: str | None = None,
        where: str = "",
        min_confidence: float = 0.0,
    ) -> list[Hit]:
        """Find items like a file or stored item, without itself; see `search`."""
        with self._catalog.reading() as reader:
            item_id = resolve_item(target, reader=reader)
        value = Path(str(target)) if item_id is None else item_id
        return self.search(
            value, k=k, modality=modality, where=where, min_confidence=min_confidence
        )

    def item(self, target: str | os.PathLike[str] | int) -> Item | None:
        """Look up a stored item by path or id; None where there is none."""
        with self._catalog.reading() as reader:
            item_id = resolve_item(target, reader=reader)
            return None if item_id is None else reader.items([item_id]).get(item_id)

    def status(self) -> Status:
        """Tell what the store holds and how it is searched."""
        with self.serving.reading() as (reader, generation):
            return read_status(self.store, reader=reader, generation=generation)

    def failures(self) -> list[Failure]:
        """List the bad files, in order of their paths."""
        with self._catalog.reading() as reader:
            return reader.failures()

    def verify(self, *, repair: bool = False, n_sample: int = 32) -> VerifyReport:
        """Check every file and row of the store; see `retrieval.verify.verify`.

        Args:
            repair: see there.
            n_sample: parts of each modality that are encoded again from their sources, to see that
                vectors belong to their ids; 0 for none.
        """
        with self.turn() if repair else nullcontext():
            return run_verification(
                catalog=self._catalog, store=self.store, serving=self.serving,
                repair=repair, n_sample=n_sample,
            )  # fmt: skip

    def backup(self, archive: str | os.PathLike[str]) -> BackupReport:
        """Save the store in one file while it is used; see `retrieval.backup.backup`."""
        return backup(Path(archive).absolute(), catalog=self._catalog, store=self.store)

    def migrate(
        self,
        to: str | None,
        *,
        partial: bool = False,
        on_parts: OnParts | None = None,
        stop: Event | None = None,
    ) -> MigrateReport | None:
        """Change the store's model; see `retrieval.migrate.migrate`.

        Args:
            to: name of the new model; None goes back to the model before, or gives a begun
                migration up, which gives None.
            partial, on_parts, stop: see there.
        """
        with self.turn():
            target = kept_model(self._catalog) if to is None else to
            if not target:
                return None
            return run_migration(
                target, catalog=self._catalog, store=self.store, settings=self._settings,
                partial=partial, on_parts=on_parts, stop=stop,
            )  # fmt: skip

    def drop_old_model(self) -> int:
        """Drop the vectors kept from before the last migration; return how many files went."""
        with self.turn():
            return drop_old(self._catalog, store=self.store)

    def share(self) -> None:
        """Encode together what several threads encode at the same time; before the first search."""
        self.serving.share()

    def reload(self) -> int:
        """Serve the newest generation, opened and warmed beside the one that serves till then.

        From the first call on searches no longer look for a newer generation: a server calls this
        from a thread of its own, and no request waits for files to be read.

        Returns:
            The generation that serves now.
        """
        return self.serving.reload()

    @property
    def generation(self) -> int:
        """Number of the generation that the last search saw; 0 before the first."""
        held = self.serving.generation
        return held.number if held else 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """List what the last search found damaged, and what to do about it."""
        held = self.serving.generation
        return held.warnings if held else ()

    @property
    def encoder(self) -> Encoder:
        """The store's model, opened on first use."""
        return self.serving.encoder

    def _check_model(self, wanted: str | None) -> None:
        own = self.serving.model_name()
        if wanted is not None and own != wanted:
            raise other_model(own, wanted)
