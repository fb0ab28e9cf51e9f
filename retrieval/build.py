"""Segments to an index: gather what lives, choose the kind, build, publish, name it in the catalog.

An exact plan needs no file: the segments themselves are searched. Small segments, and segments
with many dead vectors, are merged on the way, so that opening a store stays quick.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from index.base import Index
from index.choose import choose, make_index
from index.derived import save_index
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.segments import open_segment, write_segment
from index.tune import Tuned, tune
from index.types import Ids, Plan, SegmentInfo, Vectors
from retrieval.catalog.records import DerivedEntry, SegmentEntry, Snapshot
from retrieval.catalog.store import Catalog
from retrieval.garbage import collect_garbage
from retrieval.store import Store
from retrieval.types import Space

_log = logging.getLogger(__name__)

# More segments than this, or more dead vectors than this share, and they are merged.
_MANY_SEGMENTS = 16
_MANY_DEAD = 0.25
# Rows of a merged segment: 200 MB of 384 float16 values, read and checked within a second.
_SEGMENT_ROWS = 262_144
_RECALL_QUERIES = 256
_RECALL_K = 10
_RECALL_TARGET = 0.95


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
    """

    space: str
    kind: str
    n_vectors: int
    recall: float
    recall_queries: str
    reason: str
    seconds: float


def build(*, catalog: Catalog, store: Store, force: bool = False) -> list[BuildReport]:
    """Build the index of every space of a store whose writer lock is held.

    Args:
        catalog, store: of the store.
        force: build also where the newest index already holds everything.

    Returns:
        One report per space; a space whose index is current is built only if `force`.

    Raises:
        DamagedError: a segment is not what was written; `index verify --repair` mends it.
        StorageError: the disk is full; the index before still serves.
    """
    with catalog.reading() as reader:
        snapshot = reader.snapshot()
    merges = _should_merge(snapshot)
    reports = [
        _build_space(space, snapshot, merges=merges, catalog=catalog, store=store)
        for space in snapshot.spaces
        if force or merges or not _is_current(space, snapshot)
    ]
    if merges:
        with catalog.writing() as writer:
            writer.clear_tombstones(snapshot.tombstones)
    collect_garbage(catalog, store=store)
    return reports


def _should_merge(snapshot: Snapshot) -> bool:
    """Tell whether segments are too many or hold too many dead vectors."""
    n_stored = sum(s.info.n_vectors for s in snapshot.segments)
    n_dead = len(snapshot.tombstones) * max(1, len(snapshot.spaces))
    n_segments = len(snapshot.segments)
    n_needed = sum(-(-n_stored // _SEGMENT_ROWS) for _ in snapshot.spaces)
    return n_segments > _MANY_SEGMENTS + n_needed or n_dead > _MANY_DEAD * max(1, n_stored)


def _is_current(space: Space, snapshot: Snapshot) -> bool:
    """Tell whether nothing was added or removed since the newest index."""
    entry = {d.space_id: d for d in snapshot.derived}.get(space.id)
    if entry is None:
        return False
    added = (s.generation for s in snapshot.segments if s.space_id == space.id)
    return all(g <= entry.generation for g in (*added, *snapshot.tombstones.values()))


def _build_space(
    space: Space, snapshot: Snapshot, *, merges: bool, catalog: Catalog, store: Store
) -> BuildReport:
    started_s = time.monotonic()
    segments = [s for s in snapshot.segments if s.space_id == space.id]
    vectors, ids = _gather(space, segments, snapshot, store=store)
    plan = choose(len(ids), dim=space.dim)
    entry = _publish_index(space, plan, vectors, ids, catalog=catalog, store=store)
    merged = _write_merged(space, vectors, ids, store=store) if merges else []
    with catalog.writing() as writer:
        generation = writer.touch()
        if merges:
            for info in merged:
                writer.add_segment(space.id, info, generation)
            writer.retire_segments([s.info.name for s in segments], generation)
        writer.record_derived(replace(entry, generation=generation))
    return BuildReport(
        space=space.id,
        kind=plan.kind,
        n_vectors=len(ids),
        recall=1.0 if entry.recall is None else entry.recall,
        recall_queries=entry.recall_queries,
        reason=plan.reason,
        seconds=time.monotonic() - started_s,
    )


def _gather(
    space: Space, segments: Sequence[SegmentEntry], snapshot: Snapshot, *, store: Store
) -> tuple[Vectors, Ids]:
    """Read the live vectors of a space. float32 [N, D], int64 [N], by ascending id."""
    dead = np.fromiter(sorted(snapshot.tombstones), dtype=np.int64)
    all_ids, all_vectors = [np.zeros(0, np.int64)], [np.zeros((0, space.dim), np.float32)]
    for entry in segments:
        segment = open_segment(store.segments / entry.info.name, sha256=entry.info.sha256)
        alive = ~np.isin(segment.ids, dead)
        all_ids.append(segment.ids[alive])
        all_vectors.append(segment.vectors(0, len(segment.ids))[alive])
    ids = np.concatenate(all_ids)
    order = np.argsort(ids, kind="stable")
    return np.ascontiguousarray(np.concatenate(all_vectors)[order]), ids[order]


def _publish_index(
    space: Space, plan: Plan, vectors: Vectors, ids: Ids, *, catalog: Catalog, store: Store
) -> DerivedEntry:
    """Build and publish what the plan asks for; an exact plan has no file."""
    entry = DerivedEntry(
        space_id=space.id,
        generation=0,
        name="",
        sha256="",
        kind=plan.kind,
        n_vectors=len(ids),
        recall=1.0,
        recall_queries="exact search",
        plan=plan.reason,
    )
    if plan.kind == "exact":
        return entry
    built = make_index(plan, dim=space.dim)
    built.add(vectors, ids=ids)
    tuned, source = _tune(built, vectors, ids, catalog=catalog)
    name = f"{space.id.replace('/', '-')}-{os.urandom(8).hex()}.faiss"
    path = store.derived / name
    sha256 = save_index(built, path, tmp=store.tmp, fingerprint=space.fingerprint)
    return replace(
        entry,
        name=name,
        sha256=sha256,
        recall=tuned.recall,
        recall_queries=source,
        plan=f"{plan.reason}; {_outcome(tuned)}",
    )


def _outcome(tuned: Tuned) -> str:
    """Say what tuning found, above all where the target is out of reach."""
    efforts = {
        name: getattr(tuned.parameters, name) for name in ("ef_search", "n_probes", "k_factor")
    }
    chosen = ", ".join(f"{name} {value}" for name, value in efforts.items() if value is not None)
    words = f"measured {tuned.latency_ms:.2f} ms a query" + (f" with {chosen}" if chosen else "")
    if tuned.reached:
        return words
    return f"{words}; recall {_RECALL_TARGET:g} could not be proven: {tuned.recall:.3f} measured"


def _tune(built: Index, vectors: Vectors, ids: Ids, *, catalog: Catalog) -> tuple[Tuned, str]:
    """Find how hard to search, against exact search, with text vectors where there are some.

    Text vectors do not lie where picture vectors lie; recall measured with the index's own
    pictures would flatter it (PERFORMANCE: 0.99 against 0.66 for the same index).
    """
    with catalog.reading() as reader:
        text_ids = reader.part_ids(part_modalities=("text",))
    is_text = np.isin(ids, text_ids)
    source = "stored texts" if is_text.any() else "stored vectors"
    pool = vectors[is_text] if is_text.any() else vectors
    step = max(1, len(pool) // _RECALL_QUERIES)
    queries = np.ascontiguousarray(pool[::step][:_RECALL_QUERIES])
    reference = ExactIndex(built.dim)
    reference.add(vectors, ids=ids)
    truth = reference.search(queries, k=_RECALL_K)
    tuned = tune(built, queries=queries, truth=truth, target=_RECALL_TARGET, k=_RECALL_K)
    if isinstance(built, FaissIndex):
        built.settle(tuned.parameters)
    if not tuned.reached:
        _log.warning("index below its recall target: %s", _outcome(tuned))
    return tuned, f"{len(queries)} {source}"


def _write_merged(space: Space, vectors: Vectors, ids: Ids, *, store: Store) -> list[SegmentInfo]:
    return [
        write_segment(
            store.segments,
            vectors[start : start + _SEGMENT_ROWS],
            ids=ids[start : start + _SEGMENT_ROWS],
            fingerprint=space.fingerprint,
            tmp=store.tmp,
        )
        for start in range(0, len(ids), _SEGMENT_ROWS)
    ]
