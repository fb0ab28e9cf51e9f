"""Segments to an index: choose the kind, build by blocks, tune, publish, name it in the catalog.

An exact plan needs no file: the segments themselves are searched. Small segments, and segments
with many dead vectors, are merged on the way, so that opening a store stays quick. Beside the index
itself no more rows are held than one merged segment has.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from index.build import Source, build_index, sample_rows
from index.derived import save_index
from index.faiss_index import FaissIndex
from index.rows import read_rows
from index.segment_block import SegmentBlock
from index.segments import open_segment, write_segment
from index.types import Ids, Plan, SegmentInfo, Vectors
from retrieval.asked import Asked
from retrieval.build_measure import (
    LEAST_QUERIES,
    N_OWN_QUERIES,
    N_QUERIES,
    Measured,
    Outcome,
    Queries,
    filters_hold,
    to_json,
    tune_index,
)
from retrieval.build_remote import build_remote, publish_remote
from retrieval.build_wishes import DEFAULT_WISHES, Wishes
from retrieval.catalog.records import DerivedEntry, PartScalars, SegmentEntry, Snapshot
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.garbage import collect_garbage
from retrieval.remote import MILVUS_KIND, Remote, drop_unnamed
from retrieval.store import Store
from retrieval.types import MODALITIES, Space

if TYPE_CHECKING:
    from index.remote import MilvusIndex

_log = logging.getLogger(__name__)

# More segments than this, or more dead vectors than this share, and they are merged.
_MANY_SEGMENTS = 16
_MANY_DEAD = 0.25
# Rows of a merged segment: 200 MB of 384 float16 values, read and checked within a second.
_SEGMENT_ROWS = 262_144


OnPlan = Callable[[Space, Plan], None]
EncodeBank = Callable[[Space], Vectors]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build made for one space.

    Attributes:
        space: its id.
        kind: of the index.
        n_vectors: in it.
        recall: share of the true top 10 it finds, measured; 1.0 for exact search.
        recall_queries: which queries measured it.
        reason: why this kind.
        seconds: wall clock.
        factory: the index in faiss's words.
        memory_bytes: predicted.
        own_recall: what the same queries would have got had the index been tuned with its own
            vectors, as is usual; None where that is the same.
        reached: whether the wanted recall was.
        measured: recall by modality of queries and items.
    """

    space: str
    kind: str
    n_vectors: int
    recall: float
    recall_queries: str
    reason: str
    seconds: float
    factory: str = ""
    memory_bytes: int = 0
    own_recall: float | None = None
    reached: bool = True
    measured: tuple[Measured, ...] = field(default=())


def build(
    *,
    catalog: Catalog,
    store: Store,
    force: bool = False,
    wishes: Wishes = DEFAULT_WISHES,
    on_plan: OnPlan | None = None,
    bank: EncodeBank | None = None,
) -> list[BuildReport]:
    """Build the index of every space of a store whose writer lock is held.

    Args:
        catalog, store: of the store.
        force: build also where the newest index already holds everything.
        wishes: what the indexes should be.
        on_plan: told each plan before it is carried out.
        bank: encodes everyday searches, to tune with where a store holds too few texts.

    Returns:
        One report per space; a space whose index is current, and what is wished for, is built only
        if `force`.

    Raises:
        InputError: nothing fits the memory, or the factory string is refused.
        DamagedError: a segment is not what was written; `index verify --repair` mends it.
        StorageError: the disk is full; the index before still serves.
    """
    with catalog.reading() as reader:
        snapshot = reader.snapshot()
    merges = wishes.compact or _should_merge(snapshot)
    job = _Job(
        catalog, store, snapshot, wishes, merges=merges, anew=force or merges, on_plan=on_plan,
        bank=bank,
    )  # fmt: skip
    reports = [
        job.build_space(space)
        for space in snapshot.spaces
        if force or merges or not _is_current(space, snapshot, wishes=wishes)
    ]
    if merges:
        with catalog.writing() as writer:
            writer.clear_tombstones(snapshot.tombstones)
    collect_garbage(catalog, store=store)
    if wishes.remote is not None:
        drop_unnamed(wishes.remote.connect(store), store=store)
    return reports


def _should_merge(snapshot: Snapshot) -> bool:
    """Tell whether segments are too many or hold too many dead vectors."""
    n_stored = sum(s.info.n_vectors for s in snapshot.segments)
    n_dead = len(snapshot.tombstones) * max(1, len(snapshot.spaces))
    n_segments = len(snapshot.segments)
    n_needed = sum(-(-n_stored // _SEGMENT_ROWS) for _ in snapshot.spaces)
    return n_segments > _MANY_SEGMENTS + n_needed or n_dead > _MANY_DEAD * max(1, n_stored)


def _is_current(space: Space, snapshot: Snapshot, *, wishes: Wishes) -> bool:
    """Tell whether the newest index holds everything, and is where and what it is asked to be."""
    entry = {d.space_id: d for d in snapshot.derived}.get(space.id)
    if entry is None or (entry.kind == MILVUS_KIND) != (wishes.remote is not None):
        return False
    added = (s.generation for s in snapshot.segments if s.space_id == space.id)
    if not all(g <= entry.generation for g in (*added, *snapshot.tombstones.values())):
        return False
    if not wishes.are_said:
        return True
    plan = wishes.plan(entry.n_vectors, dim=space.dim)
    return entry.kind == plan.kind and entry.plan.startswith(plan.reason)


class _Job:
    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        snapshot: Snapshot,
        wishes: Wishes,
        *,
        merges: bool,
        anew: bool,
        on_plan: OnPlan | None,
        bank: EncodeBank | None,
    ) -> None:
        self._catalog, self._store, self._snapshot = catalog, store, snapshot
        self._wishes, self._merges, self._on_plan, self._bank = wishes, merges, on_plan, bank
        self._anew = anew
        self._dead = np.fromiter(sorted(snapshot.tombstones), dtype=np.int64)

    def build_space(self, space: Space) -> BuildReport:
        started_s = time.monotonic()
        entries = [s for s in self._snapshot.segments if s.space_id == space.id]
        sources = [self._open(entry) for entry in entries]
        n_live = sum(int(np.count_nonzero(source.live)) for source in sources)
        plan = self._wishes.plan(n_live, dim=space.dim)
        if self._on_plan is not None:
            self._on_plan(space, plan)
        merged: list[SegmentInfo] = []
        if self._merges:
            merged = _write_merged(space, sources, store=self._store)
            sources = [self._open(SegmentEntry(space.id, info, 0)) for info in merged]
        entry, outcome = self._publish(space, plan, sources, n_live=n_live)

        def name_files(writer: Writer) -> None:
            generation = writer.touch()
            if self._merges:
                for info in merged:
                    writer.add_segment(space.id, info, generation)
                writer.retire_segments([s.info.name for s in entries], generation)
            writer.record_derived(replace(entry, generation=generation))

        self._catalog.write(name_files)
        return BuildReport(
            space=space.id,
            kind=plan.kind,
            n_vectors=n_live,
            recall=1.0 if entry.recall is None else entry.recall,
            recall_queries=entry.recall_queries,
            reason=plan.reason,
            seconds=time.monotonic() - started_s,
            factory=plan.factory,
            memory_bytes=plan.memory_bytes,
            own_recall=None if outcome is None else outcome.own_recall,
            reached=outcome is None or outcome.reached,
            measured=() if outcome is None else outcome.measured,
        )

    def _open(self, entry: SegmentEntry) -> Source:
        """Open a segment, its hash proven."""
        path = self._store.segments / entry.info.name
        segment = open_segment(path, sha256=entry.info.sha256)
        return Source(SegmentBlock(segment), segment.ids, ~np.isin(segment.ids, self._dead))

    def _publish(
        self, space: Space, plan: Plan, sources: Sequence[Source], *, n_live: int
    ) -> tuple[DerivedEntry, Outcome | None]:
        """Build and publish what the plan asks for; an exact plan has no file."""
        entry = DerivedEntry(
            space_id=space.id,
            generation=0,
            name="",
            sha256="",
            kind=plan.kind,
            n_vectors=n_live,
            recall=1.0,
            recall_queries="exact search",
            plan=plan.reason,
        )
        if plan.kind in ("exact", "torch_exact"):
            return entry, None
        if self._wishes.remote is not None:
            return self._publish_remote(entry, plan, space, sources, remote=self._wishes.remote)
        name = f"{space.id.replace('/', '-')}-{os.urandom(8).hex()}.faiss"
        path, tmp = self._store.derived / name, self._store.tmp
        lists_at = tmp / f"{name}.lists"
        try:
            built = build_index(plan, dim=space.dim, sources=sources, lists_at=lists_at)
            outcome = None
            if isinstance(built, FaissIndex):
                outcome = self._tune(built, sources, queries=self._queries(space, sources))
            sha256 = save_index(built, path, tmp=tmp, fingerprint=space.fingerprint)
        finally:
            lists_at.unlink(missing_ok=True)
        entry = replace(entry, name=name, sha256=sha256)
        return (entry if outcome is None else self._told(entry, plan, outcome)), outcome

    def _publish_remote(
        self,
        entry: DerivedEntry,
        plan: Plan,
        space: Space,
        sources: Sequence[Source],
        *,
        remote: Remote,
    ) -> tuple[DerivedEntry, Outcome | None]:
        """Fill a collection of Milvus, tune it like any index, and publish where it is."""
        before = {d.space_id: d for d in self._snapshot.derived}.get(space.id)
        made = build_remote(
            plan, space, sources, remote=remote, store=self._store, ids=self._ids_by_modality(),
            scalars=self._scalars, before=None if self._anew else before,
        )  # fmt: skip
        outcome = None
        if made.ix.efforts:
            queries = self._queries(space, sources)
            outcome = self._tune(made.ix, sources, queries=queries)
            made.ix.pushes = filters_hold(
                made.ix, sources=sources, queries=queries, target=self._wishes.target
            )
        name, sha256 = publish_remote(made, space, remote=remote, store=self._store)
        entry = replace(entry, name=name, sha256=sha256)
        return (entry if outcome is None else self._told(entry, plan, outcome)), outcome

    def _told(self, entry: DerivedEntry, plan: Plan, outcome: Outcome) -> DerivedEntry:
        words = f"{plan.reason}; {outcome.words}"
        if not outcome.reached:
            shortfall = (
                f"recall {self._wishes.target:g} could not be proven: {outcome.recall:.3f} measured"
            )
            words = f"{words}; {shortfall}"
            _log.warning("index below its recall target: %s", shortfall)
        return replace(
            entry,
            recall=outcome.recall,
            recall_queries=outcome.queries,
            plan=words,
            measured=to_json(outcome.measured),
        )

    def _ids_by_modality(self) -> dict[str, Ids]:
        with self._catalog.reading() as reader:
            all_ids = {m: reader.part_ids(part_modalities=(m,)) for m in MODALITIES}
        return {str(m): some for m, some in all_ids.items() if len(some)}

    def _scalars(self, part_ids: Sequence[int]) -> dict[int, PartScalars]:
        with self._catalog.reading() as reader:
            return reader.part_scalars(part_ids)

    def _tune(
        self,
        built: FaissIndex | MilvusIndex,
        sources: Sequence[Source],
        *,
        queries: Sequence[Queries],
    ) -> Outcome:
        return tune_index(
            built,
            sources=sources,
            queries=queries,
            own=sample_rows(sources, N_OWN_QUERIES, dim=built.dim, seed=1),
            items=self._ids_by_modality(),
            target=self._wishes.target,
        )

    def _queries(self, space: Space, sources: Sequence[Source]) -> list[Queries]:
        """Gather what an index is tuned with: stored vectors, past searches, everyday ones."""
        queries = [
            Queries(modality, f"stored {_PLURAL[modality]}", *_stored(sources, some, space.dim))
            for modality, some in self._ids_by_modality().items()
            if len(some) >= LEAST_QUERIES
        ]
        asked = Asked(self._store.derived).read(space)[-N_QUERIES:]
        queries.append(Queries("text", "past searches", asked, np.full(len(asked), -1)))
        queries = [entry for entry in queries if len(entry.vectors) >= LEAST_QUERIES]
        if self._bank is not None and all(entry.modality != "text" for entry in queries):
            texts = self._bank(space)
            queries.append(Queries("text", "everyday searches", texts, np.full(len(texts), -1)))
        return queries


_PLURAL = {"text": "texts", "image": "pictures", "audio": "sounds", "video": "videos"}


def _stored(sources: Sequence[Source], ids: Ids, dim: int) -> tuple[Vectors, Ids]:
    """Read some of the vectors of these ids, spread over them."""
    picked = ids[np.unique(np.linspace(0, len(ids) - 1, min(N_QUERIES, len(ids))).astype(int))]
    found, rows = [np.zeros(0, np.int64)], [np.zeros((0, dim), np.float32)]
    for source in sources:
        at = np.flatnonzero(np.isin(source.ids, picked) & source.live)
        found.append(source.ids[at])
        rows.append(read_rows(source.block.take(at)))
    return np.concatenate(rows), np.concatenate(found)


def _write_merged(space: Space, sources: Sequence[Source], *, store: Store) -> list[SegmentInfo]:
    """Copy the live rows of segments, bit for bit, into few new ones, by ascending id."""
    ids = np.concatenate([np.zeros(0, np.int64), *(s.ids[s.live] for s in sources)])
    order = np.argsort(ids, kind="stable")
    halves = all(source.block.slice(0, 0).dtype == np.float16 for source in sources)
    dtype = np.dtype(np.float16 if halves else np.float32)
    written = []
    for start in range(0, len(ids), _SEGMENT_ROWS):
        mine = ids[order[start : start + _SEGMENT_ROWS]]
        rows = np.empty((len(mine), space.dim), dtype)
        for source in sources:
            at = np.flatnonzero(np.isin(source.ids, mine) & source.live)
            stored = source.block.take(at)
            rows[np.searchsorted(mine, source.ids[at])] = stored if halves else read_rows(stored)
        written.append(
            write_segment(
                store.segments, rows, ids=mine, fingerprint=space.fingerprint, tmp=store.tmp,
                dtype=dtype.name,
            )
        )  # fmt: skip
    return written
