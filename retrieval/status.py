"""What a store holds and how it is searched, for people and scripts."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.build_measure import Measured, from_json
from retrieval.catalog.read import Reader
from retrieval.query.generation import Generation
from retrieval.store import Store
from retrieval.types import MODALITIES
from retrieval.verify_record import Verified, last_verified


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """How one space is searched.

    Attributes:
        id, model, dim, fingerprint, licence: of the space.
        kind: of the index; `exact` where none was built.
        n_vectors: live ones.
        n_tail: of these, searched exactly because they came after the index was built.
        recall: measured when the index was built; None when none was.
        recall_queries: with which queries.
        plan: why this kind.
        measured: recall by modality of queries and items, where an index was tuned.
    """

    id: str
    model: str
    dim: int
    kind: str
    n_vectors: int
    n_tail: int
    recall: float | None
    recall_queries: str
    plan: str
    measured: tuple[Measured, ...] = ()
    fingerprint: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a store.

    Attributes:
        store: its directory.
        generation: number of commits that changed it.
        n_items: by modality.
        n_files, n_bad: paths on record, and those that cannot be used.
        n_parts: vectors' owners.
        n_segments, segments_bytes: files of vectors.
        spaces: one entry each.
        verified: the last verification; None where there was none.
    """

    store: str
    generation: int
    n_items: dict[str, int]
    n_files: int
    n_bad: int
    n_parts: int
    n_segments: int
    segments_bytes: int
    spaces: tuple[SpaceStatus, ...]
    verified: Verified | None = None


def read_status(store: Store, *, reader: Reader, generation: Generation) -> Status:
    """Read the state of a store at one generation."""
    counts = reader.counts()
    snapshot = reader.snapshot()
    derived = {entry.space_id: entry for entry in snapshot.derived}
    spaces = []
    for space in snapshot.spaces:
        entry = derived.get(space.id)
        opened = generation.spaces[space.id]
        spaces.append(
            SpaceStatus(
                id=space.id,
                model=space.model,
                dim=space.dim,
                kind=entry.kind if entry else "exact",
                n_vectors=len(opened),
                n_tail=opened.n_tail if entry and entry.name else 0,
                recall=entry.recall if entry else None,
                recall_queries=entry.recall_queries if entry else "",
                plan=entry.plan if entry else "no index was built; every vector is compared",
                measured=from_json(entry.measured) if entry else (),
                fingerprint=space.fingerprint,
                licence=space.licence,
            )
        )
    return Status(
        store=str(store.root),
        generation=snapshot.generation,
        n_items={m: counts.get(m, 0) for m in MODALITIES},
        n_files=counts["files"],
        n_bad=counts["bad"],
        n_parts=counts["parts"],
        n_segments=len(snapshot.segments),
        segments_bytes=sum(s.info.size_bytes for s in snapshot.segments),
        spaces=tuple(spaces),
        verified=last_verified(store),
    )
