"""One generation of a store, opened for searching."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from index.base import Index
from index.derived import load_index
from index.exact import ExactIndex
from index.merge import merge
from index.segment_block import SegmentBlock
from index.segments import Segment, open_segment
from index.types import Ids, Neighbors, Vectors
from retrieval.catalog.records import SegmentEntry, Snapshot
from retrieval.errors import BackendMissingError, DamagedError
from retrieval.store import Store
from retrieval.types import Space

if TYPE_CHECKING:
    from retrieval.query.calibrate import Pair

_log = logging.getLogger(__name__)


class OpenSpace:
    """The searchable vectors of one space at one generation.

    What an index file holds is searched there; vectors added since, or all of them where there is
    no usable file, are searched exactly. Opening happens on first use.
    """

    def __init__(self, space: Space, *, store: Store, snapshot: Snapshot) -> None:
        self.space = space
        self.warnings: list[str] = []
        self._opened: dict[str, Segment] = {}
        self._store = store
        self._segments = [s for s in snapshot.segments if s.space_id == space.id]
        self._derived = {d.space_id: d for d in snapshot.derived}.get(space.id)
        self._dead = np.fromiter(sorted(snapshot.tombstones), dtype=np.int64)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def n_tail(self) -> int:
        """Count the vectors searched exactly because no index file holds them."""
        return len(self._parts[-1])

    def search(self, queries: Vectors, *, k: int, allowed: Ids | None = None) -> Neighbors:
        """Find the best live vectors for each query; see `Index.search`."""
        try:
            found = [p.search(queries, k=k, allowed=allowed) for p in self._parts if len(p)]
        except DamagedError as error:  # a block that was read for the first time
            self._search_exactly(error)
            found = [p.search(queries, k=k, allowed=allowed) for p in self._parts if len(p)]
        if not found:
            n_queries = len(queries)
            return Neighbors(
                np.zeros((n_queries, k), np.int64),
                np.zeros((n_queries, k), np.float32),
                np.zeros(n_queries, np.int64),
            )
        return found[0] if len(found) == 1 else merge(found, k=k)

    def vectors(self, ids: Ids) -> Vectors:
        """Read stored vectors by id; ids that are not here are left out.

        Returns:
            float32 [M, D] with M <= len(ids), unit length.
        """
        return self.lookup(ids)[1]

    def lookup(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Read stored vectors by id; ids that are not here are left out.

        Returns:
            int64 [M], the ids in the order of storage, and float32 [M, D], unit length.
        """
        known, rows = [np.zeros(0, np.int64)], [np.zeros((0, self.space.dim), np.float32)]
        for entry in self._segments if len(ids) else ():
            segment = self._open_segment(entry)
            if segment is not None:
                positions = np.flatnonzero(np.isin(segment.ids, ids))
                known.append(segment.ids[positions])
                rows += [segment.vectors(int(p), int(p) + 1) for p in positions]
        return np.concatenate(known), np.concatenate(rows)

    def _search_exactly(self, error: DamagedError) -> None:
        """Go on without the index file, as if it had been found damaged when it was opened."""
        self._warn(f"{error}; searching exactly until 'crossfind index rebuild' has run")
        self._derived = None
        self.__dict__.pop("_parts", None)

    @cached_property
    def _parts(self) -> tuple[Index, ...]:
        """The index of the file, where there is one, and the exact tail."""
        main = self._load_derived()
        since = self._derived.generation if main is not None and self._derived else -1
        tail = ExactIndex(self.space.dim)
        for entry in self._segments:
            if entry.generation > since:
                self._add_live(tail, entry)
        return (tail,) if main is None else (main, tail)

    def _load_derived(self) -> Index | None:
        entry = self._derived
        if entry is None or not entry.name:
            return None
        try:
            main = load_index(
                self._store.derived / entry.name, sha256=entry.sha256, open_block=self._open_block
            )
        except (DamagedError, BackendMissingError, FileNotFoundError) as error:
            self._warn(
                f"index file {entry.name} cannot be used ({error}); searching exactly until "
                "'crossfind index rebuild' has run"
            )
            return None
        if main.dim != self.space.dim or len(main) != entry.n_vectors:
            self._warn(
                f"index file {entry.name} is not of this space; run: crossfind index rebuild"
            )
            return None
        main.remove(self._dead)
        return main

    def _open_block(self, name: str) -> SegmentBlock:
        """Open the rows of a segment that an index scores with; proven when they are read."""
        return SegmentBlock(open_segment(self._store.segments / name, verify=False))

    def _add_live(self, tail: ExactIndex, entry: SegmentEntry) -> None:
        segment = self._open_segment(entry)
        if segment is None:
            return
        alive = np.flatnonzero(~np.isin(segment.ids, self._dead))
        if len(alive):
            vectors = segment.vectors(0, len(segment.ids))
            whole = len(alive) == len(segment.ids)
            tail.add(vectors if whole else vectors[alive], ids=segment.ids[alive])

    def _open_segment(self, entry: SegmentEntry) -> Segment | None:
        name = entry.info.name
        try:
            if name not in self._opened:  # its bytes are checked once: they never change
                path = self._store.segments / name
                self._opened[name] = open_segment(path, sha256=entry.info.sha256)
            return self._opened[name]
        except (DamagedError, FileNotFoundError) as error:
            self._warn(
                f"segment {entry.info.name} is damaged ({error}); its {entry.info.n_vectors} "
                "vectors are left out; run: crossfind index verify --repair"
            )
            return None

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            _log.warning("%s", message)
            self.warnings.append(message)


@dataclass
class Generation:
    """What readers of one generation share; replaced whole when a writer commits.

    Attributes:
        number: the generation.
        spaces: by id.
        modality_ids: part ids by item modality, filled as filters ask for them.
        pairs: what `calibrate.Calibrator` has measured, filled as searches ask for it.
    """

    number: int
    spaces: dict[str, OpenSpace]
    modality_ids: dict[str, Ids] = field(default_factory=dict)
    pairs: dict[tuple[str, str, str, bool], Pair | None] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """List what was damaged and how the answers were found all the same."""
        return tuple(w for space in self.spaces.values() for w in space.warnings)


def open_generation(snapshot: Snapshot, *, store: Store) -> Generation:
    """Open a snapshot for searching; files are read on first use."""
    return Generation(
        number=snapshot.generation,
        spaces={s.id: OpenSpace(s, store=store, snapshot=snapshot) for s in snapshot.spaces},
    )
