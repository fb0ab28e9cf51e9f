"""Changing a store's model: encode it into new Spaces while the old ones serve, then switch.

What is encoded is committed now and then, so a killed migration goes on where it was. The switch is
one catalog transaction: before it the old Spaces answer, after it the new ones, never both. The old
Spaces are kept, so that going back is the same again with little left to encode.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np

from index.segments import open_segment
from index.storage import failpoint
from index.types import Ids
from retrieval.catalog.chunks import chunks
from retrieval.catalog.spaces import resting_name
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder
from retrieval.errors import BadMediaError, DamagedError, ModelError, StoppedError, StorageError
from retrieval.media import Found, Loader
from retrieval.migrate_batch import Filler
from retrieval.sources import find_sources, match_pieces, media_parts
from retrieval.store import Store
from retrieval.types import Failure, Modality, Outcome, Part, Space

_MIN_FREE_BYTES = 64 << 20
_PART_MODALITIES: tuple[Modality, ...] = ("image", "audio", "text")

OnParts = Callable[[int, int], None]
"""Called with vectors kept so far and parts in all."""


@dataclass(frozen=True, slots=True)
class MigrateReport:
    """What a migration did.

    Attributes:
        before, after: names of the models.
        n_encoded: parts encoded now; those of an interrupted run before are not counted.
        n_parts: parts of the store that the new model serves.
        n_lost: parts that the new model does not serve, or that could not be encoded again.
        failures: files that could not be read again.
        seconds: wall clock.
    """

    before: str
    after: str
    n_encoded: int
    n_parts: int
    n_lost: int
    failures: tuple[Failure, ...]
    seconds: float


def migrate(
    *,
    catalog: Catalog,
    store: Store,
    encoder: Encoder,
    loader: Loader,
    partial: bool = False,
    commit_s: float = 10.0,
    on_parts: OnParts | None = None,
    stop: Event | None = None,
) -> MigrateReport:
    """Encode a store with another model and switch to it; the writer lock is held.

    Args:
        catalog, store: of the store.
        encoder: the new model.
        loader: gives media in the new model's form, but cut as the store's parts were cut.
        partial: switch even though some parts cannot be encoded.
        commit_s: seconds of work between two commits.
        on_parts: told now and then.
        stop: when set, the run commits what it has and stops.

    Returns:
        What was done.

    Raises:
        ModelError: the new model does not serve a modality of the store (`modality_not_served`).
        BadMediaError: files cannot be read again (`migration_incomplete`); the old model serves.
        StoppedError: `stop` was set; the same command goes on.
        StorageError: the disk is full.
    """
    started_s = time.monotonic()
    _check_space(store)
    with catalog.reading() as reader:
        spaces = reader.spaces()
    before = spaces[0].model if spaces else ""
    n_unserved = _check_served(catalog, encoder, partial=partial)
    targets = [s for s in encoder.spaces if not _serves(s, spaces)]
    n_wanted, missing = _plan(targets, catalog=catalog, store=store)
    filler = Filler(catalog=catalog, store=store, encoder=encoder, spaces=targets)
    run = _Run(filler, n_done=n_wanted - len(missing), commit_s=commit_s, on_parts=on_parts,
               stop=stop or Event())  # fmt: skip
    run.take_texts(catalog, missing)
    run.take_media(catalog, missing, loader=loader)
    run.commit()
    if run.failures and not partial:
        raise _incomplete(run.failures, before=before)
    _switch(catalog, store=store, encoder=encoder, targets=targets, missing=missing, run=run)
    return MigrateReport(
        before=before,
        after=encoder.name,
        n_encoded=filler.n_encoded,
        n_parts=len(_union([_part_ids(catalog, s.modalities) for s in encoder.spaces])),
        n_lost=n_unserved + len(run.lost(missing)),
        failures=tuple(run.failures),
        seconds=time.monotonic() - started_s,
    )


def _plan(targets: Sequence[Space], *, catalog: Catalog, store: Store) -> tuple[int, Ids]:
    """Register the Spaces to fill; count the parts they want, and list those they lack."""
    with catalog.writing() as writer:
        for space in targets:
            writer.ensure_pending(space)
    wanted = {s.id: _part_ids(catalog, s.modalities) for s in targets}
    lacking = [
        np.setdiff1d(wanted[s.id], _filled_ids(s, catalog=catalog, store=store)) for s in targets
    ]
    return len(_union(list(wanted.values()))), _union(lacking)


def _incomplete(failures: Sequence[Failure], *, before: str) -> BadMediaError:
    return BadMediaError(
        f"{len(failures)} files cannot be encoded again (first: {failures[0].reason}); {before} "
        "still serves; bring them back, or take them out with 'crossfind index remove', or go on "
        "without them with --partial",
        code="migration_incomplete",
    )


def abandon(catalog: Catalog) -> int:
    """Drop spaces that were being filled; return how many. The files go with the garbage."""
    with catalog.writing() as writer:
        return writer.drop_spaces("pending")


def drop_kept(catalog: Catalog) -> int:
    """Drop what was kept to go back to; return how many spaces."""
    with catalog.writing() as writer:
        return writer.drop_spaces("kept")


class _Run:
    """The state of one migration."""

    def __init__(
        self, filler: Filler, *, n_done: int, commit_s: float, on_parts: OnParts | None, stop: Event
    ) -> None:
        self.failures: list[Failure] = []
        self._filler = filler
        self._n_before = n_done
        self._n_total = 0
        self._commit_s = commit_s
        self._on_parts = on_parts
        self._stop = stop
        self._committed_s = time.monotonic()

    def take_texts(self, catalog: Catalog, missing: Ids) -> None:
        """Encode texts, which the catalog itself holds."""
        self._n_total = self._n_before + len(missing)
        for chunk in chunks(missing.tolist()):
            with catalog.reading() as reader:
                parts = reader.parts(chunk)
            for part in parts.values():
                if part.modality == "text" and part.text is not None:
                    self._filler.take(part, part.text)
            self._pause()

    def take_media(self, catalog: Catalog, missing: Ids, *, loader: Loader) -> None:
        """Load and encode the files that pictures and sounds came from."""
        wanted = media_parts(catalog, missing.tolist())
        jobs = find_sources(catalog, sorted(wanted), failures=self.failures, fetches=True)
        owners: dict[str, int] = {}

        def found() -> Iterator[Found]:
            for item_id, content_hash, one in jobs:
                owners[one.path] = item_id
                hashes[one.path] = content_hash
                yield one

        hashes: dict[str, str] = {}
        for one, outcome in loader.load_many(found()):
            parts = wanted[owners.pop(one.path)]
            self._take_outcome(one.path, outcome, parts, expected=hashes.pop(one.path))
            self._pause()

    def _take_outcome(
        self, path: str, outcome: Outcome, parts: Sequence[Part], *, expected: str
    ) -> None:
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            return
        matched = match_pieces(outcome, parts) if outcome.content_hash == expected else {}
        if len(matched) < len(parts):
            reason = (
                f"{path}: it is not what was added any more; add it again first with: "
                "crossfind index add"
            )
            self.failures.append(Failure(path, "changed_since_added", reason))
            return
        for part in parts:
            self._filler.take(part, matched[part.id].payload)

    def commit(self) -> None:
        """Keep what is encoded so far."""
        self._filler.commit()
        self._committed_s = time.monotonic()
        if self._on_parts is not None:
            self._on_parts(self._n_before + self._filler.n_encoded, self._n_total)

    def lost(self, missing: Ids) -> Ids:
        """List the parts that got no vector."""
        return np.setdiff1d(missing, self._filler.placed_ids())

    def _pause(self) -> None:
        if time.monotonic() - self._committed_s >= self._commit_s:
            self.commit()
        if self._stop.is_set():
            self.commit()
            raise StoppedError(
                f"stopped; {self._n_before + self._filler.n_encoded} of {self._n_total} parts are "
                "encoded and the old model serves; run the same command again to go on"
            )


def _switch(
    catalog: Catalog,
    *,
    store: Store,
    encoder: Encoder,
    targets: Sequence[Space],
    missing: Ids,
    run: _Run,
) -> None:
    """Let the new Spaces serve, in one transaction."""
    stored = [_filled_ids(space, catalog=catalog, store=store) for space in targets]
    failpoint("migrate.switch")
    with catalog.writing() as writer:
        generation = writer.touch()
        orphans = np.setdiff1d(_union(stored), writer.part_ids())
        writer.bury_vectors(orphans.tolist(), generation)
        # Their files are looked at again by the next add, which knows what to do with them.
        writer.mark_stale(run.lost(missing).tolist())
        writer.switch_spaces(encoder.spaces)


def _check_served(catalog: Catalog, encoder: Encoder, *, partial: bool) -> int:
    """Count the parts that the new model knows nothing of; refuse them unless `partial`."""
    served = {modality for space in encoder.spaces for modality in space.modalities}
    counts = {
        modality: len(_part_ids(catalog, (modality,)))
        for modality in _PART_MODALITIES
        if modality not in served
    }
    lost = {modality: n for modality, n in counts.items() if n}
    if lost and not partial:
        told = ", ".join(f"{n} of {modality}" for modality, n in lost.items())
        raise ModelError(
            f"model {encoder.name} knows nothing of {told}; join it with one that does "
            "(crossfind models join), or go on without them with --partial",
            code="modality_not_served",
        )
    return sum(lost.values())


def _filled_ids(space: Space, *, catalog: Catalog, store: Store) -> Ids:
    """List the ids that a pending space has; segments that are damaged are given up."""
    name = resting_name(space)
    with catalog.reading() as reader:
        resting = (*reader.segments(state="pending"), *reader.segments(state="kept"))
    entries = [segment for segment in resting if segment.space_id == name]
    ids = [np.zeros(0, np.int64)]
    for entry in entries:
        try:
            ids.append(open_segment(store.segments / entry.info.name, sha256=entry.info.sha256).ids)
        except DamagedError:
            with catalog.writing() as writer:
                writer.retire_segments([entry.info.name], writer.generation())
    return np.unique(np.concatenate(ids))


def _part_ids(catalog: Catalog, modalities: Sequence[Modality]) -> Ids:
    with catalog.reading() as reader:
        return reader.part_ids(part_modalities=modalities)


def _serves(space: Space, spaces: Sequence[Space]) -> bool:
    return any((s.id, s.fingerprint) == (space.id, space.fingerprint) for s in spaces)


def _union(ids: Sequence[Ids]) -> Ids:
    return np.unique(np.concatenate([np.zeros(0, np.int64), *ids]))


def _check_space(store: Store) -> None:
    free_bytes = shutil.disk_usage(store.root).free
    if free_bytes < _MIN_FREE_BYTES:
        raise StorageError(
            f"{free_bytes >> 20} MB are free at {store.root}; a migration keeps both models' "
            "vectors; free some space or move the store",
            code="disk_full",
        )
