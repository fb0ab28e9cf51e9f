"""The searchable vectors of one space: what an index holds, and the exact tail behind it."""

from __future__ import annotations

import hashlib
import logging
from functools import cached_property

import numpy as np

from index.allowed import Allowed
from index.base import Index
from index.derived import load_index
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.gpu import exact_on_gpu, place
from index.merge import merge
from index.segment_block import SegmentBlock
from index.segments import Segment, open_segment
from index.torch_exact import TorchExactIndex
from index.types import Ids, Neighbors, Vectors
from retrieval.catalog.records import DerivedEntry, SegmentEntry, Snapshot
from retrieval.errors import BackendMissingError, DamagedError, InputError, UnreachableError
from retrieval.remote import MILVUS_KIND, Remote, open_remote
from retrieval.store import Store
from retrieval.types import Space

_log = logging.getLogger(__name__)


class OpenSpace:
    """The searchable vectors of one space at one generation.

    What an index file holds is searched there; vectors added since, or all of them where there is
    no usable file, are searched exactly. Opening happens on first use. Where the generation before
    has opened the same files, their contents are shared, and only what was added and removed
    since is worked in: the one before goes on answering as it did.
    """

    def __init__(
        self,
        space: Space,
        *,
        store: Store,
        snapshot: Snapshot,
        before: OpenSpace | None = None,
        remote: Remote | None = None,
    ) -> None:
        self.space = space
        self.warnings: list[str] = []
        self._opened: dict[str, Segment] = {}
        self._orders: dict[str, Ids] = {}  # of segments whose ids do not ascend; empty: they do
        self._store, self._remote = store, remote
        self._segments = [s for s in snapshot.segments if s.space_id == space.id]
        self._derived = {d.space_id: d for d in snapshot.derived}.get(space.id)
        self._dead = np.fromiter(sorted(snapshot.tombstones), dtype=np.int64)
        self._before = before if before is not None and self._continues(before) else None
        if self._before is not None:
            self._opened = dict(self._before._opened)
            self._orders = dict(self._before._orders)

    def _continues(self, before: OpenSpace) -> bool:
        """Tell whether all that the space before has opened is still a part of this one."""
        names = {entry.info.name for entry in self._segments}
        return (
            "_parts" in before.__dict__
            and before._derived == self._derived
            and before.space == self.space
            and not before.warnings
            and all(entry.info.name in names for entry in before._segments)
        )

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def ids(self) -> Ids:
        """List the ids of the vectors that can be found, ascending."""
        return np.sort(np.concatenate([part.ids() for part in self._parts]))

    @property
    def n_tail(self) -> int:
        """Count the vectors searched exactly because no index file holds them."""
        return len(self._parts[-1])

    @property
    def store(self) -> Store:
        """Where the vectors lie."""
        return self._store

    @cached_property
    def state(self) -> str:
        """Digest of which vectors are here and alive: what depends on them can be kept by it."""
        digest = hashlib.sha256(self.space.fingerprint.encode())
        for entry in self._segments:
            digest.update(entry.info.sha256.encode())
        digest.update(self._dead.tobytes())
        return digest.hexdigest()

    def search(
        self, queries: Vectors, *, k: int, allowed: Ids | Allowed | None = None
    ) -> Neighbors:
        """Find the best live vectors for each query; see `Index.search`."""
        try:
            found = [p.search(queries, k=k, allowed=allowed) for p in self._parts if len(p)]
        except (DamagedError, UnreachableError) as error:  # found when it was first needed
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
            if segment is not None and len(segment.ids):
                positions = self._positions(ids, segment=segment, name=entry.info.name)
                known.append(segment.ids[positions])
                rows += [segment.vectors(int(p), int(p) + 1) for p in positions]
        return np.concatenate(known), np.concatenate(rows)

    def _positions(self, ids: Ids, *, segment: Segment, name: str) -> Ids:
        """Find where a segment has some ids, ascending; those it has not are left out."""
        order = self._orders.get(name)
        if order is None:
            in_order = bool((segment.ids[1:] > segment.ids[:-1]).all())  # as a writer leaves them
            order = np.zeros(0, np.int64) if in_order else np.argsort(segment.ids, kind="stable")
            self._orders[name] = order
        at = np.searchsorted(segment.ids, ids, sorter=order if order.size else None)
        at = np.minimum(at, len(segment.ids) - 1)  # beyond the end: compared below, it differs
        positions = order[at] if order.size else at
        found: Ids = np.unique(positions[segment.ids[positions] == ids])
        return found

    def _search_exactly(self, error: Exception) -> None:
        """Go on without the index file, as if it had been found damaged when it was opened."""
        self._warn(f"{error}; searching exactly until 'crossfind index rebuild' has run")
        self._derived = None
        self.__dict__.pop("_parts", None)

    @cached_property
    def _parts(self) -> tuple[Index, ...]:
        """The index of the file, where there is one, and the exact tail."""
        if self._before is not None:
            return self._continued(self._before)
        main = self._load_derived()
        since = self._derived.generation if main is not None and self._derived else -1
        tail = ExactIndex(self.space.dim)
        for entry in self._segments:
            if entry.generation > since:
                self._add_live(tail, entry)
        return (tail,) if main is None else (main, tail)

    def _continued(self, before: OpenSpace) -> tuple[Index, ...]:
        parts = tuple(part.fork() for part in before._parts)
        self._before = None  # a chain would keep every generation alive
        known = {entry.info.name for entry in before._segments}
        tail = parts[-1]
        assert isinstance(tail, ExactIndex)  # `_parts` has put it there
        for entry in self._segments:
            if entry.info.name not in known:
                self._add_live(tail, entry)
        for part in parts:
            part.remove(self._dead)
        return parts

    def _load_derived(self) -> Index | None:
        entry = self._derived
        if entry is not None and entry.kind == TorchExactIndex.kind:
            return self._on_gpu(entry)
        if entry is not None and entry.kind == MILVUS_KIND:
            return self._in_milvus(entry)
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

    def _on_gpu(self, entry: DerivedEntry) -> Index | None:
        """Copy what the plan covers to the GPU; None where there is none."""
        try:
            main = exact_on_gpu(self.space.dim)
        except BackendMissingError as error:
            self._warn(f"{error}; searching exactly on the CPU until a GPU is there")
            return None
        for segment in self._segments:
            if segment.generation <= entry.generation:
                self._add_live(main, segment)
        return place(main) if isinstance(main, FaissIndex) else main

    def _in_milvus(self, entry: DerivedEntry) -> Index | None:
        """Open the collection that a file names; None where it cannot be had."""
        rows = [
            SegmentBlock(open_segment(self._store.segments / s.info.name, verify=False))
            for s in self._segments
            if s.generation <= entry.generation
        ]
        try:
            main = open_remote(
                self._store.derived / entry.name,
                sha256=entry.sha256,
                remote=self._remote or Remote(""),
                store=self._store,
                dim=self.space.dim,
                segments=[(block, block.segment.ids) for block in rows],
            )
        except (DamagedError, BackendMissingError, UnreachableError, InputError) as error:
            self._warn(f"{error}; searching exactly, in the segments, meanwhile")
            return None
        main.remove(self._dead)
        return main

    def _open_block(self, name: str) -> SegmentBlock:
        """Open the rows of a segment that an index scores with; proven when they are read."""
        return SegmentBlock(open_segment(self._store.segments / name, verify=False))

    def _add_live(self, tail: Index, entry: SegmentEntry) -> None:
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
