"""Checking a store against what was written: segments, index files, rows, their agreement."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import numpy as np

from index import check_segment, open_segment
from index.storage import hash_file, storing
from index.types import Ids
from retrieval.catalog.records import SegmentEntry, Snapshot
from retrieval.catalog.store import Catalog
from retrieval.errors import DamagedError, StorageError
from retrieval.store import Store
from retrieval.types import Space


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written.

    Attributes:
        code: `segment_damaged`, `segment_missing`, `index_damaged`, `row_damaged`,
            `catalog_damaged`, `vector_missing`, `vector_unknown` or `vector_misplaced`.
        where: file, row or database.
        detail: one line for people, with what to do.
        repaired: True when it has been mended.
    """

    code: str
    where: str
    detail: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification looked at and found.

    Attributes:
        n_segments, n_index_files, n_rows: compared with their checksums.
        findings: what is not as it was written.
        n_encoded: vectors compared with ones encoded again.
        n_unknown: vectors that were to be, and whose source is gone, changed or cut otherwise.
        unencoded: why no vector was encoded again; empty where some were, or none was to be.
    """

    n_segments: int
    n_index_files: int
    n_rows: int
    findings: tuple[Finding, ...]
    n_encoded: int = 0
    n_unknown: int = 0
    unencoded: str = ""


def verify(*, catalog: Catalog, store: Store, repair: bool = False) -> VerifyReport:
    """Check every file and row of a store.

    Args:
        catalog, store: of the store; with `repair`, the writer lock is held.
        repair: retire damaged segments, so that the next add encodes their files again, and
            drop damaged index files, so that the next build makes them again.

    Returns:
        What was looked at and what was found.
    """
    n_rows, damaged_rows = catalog.check_rows()
    with catalog.reading() as reader:
        snapshot = reader.snapshot()
        parts = {s.id: reader.part_ids(part_modalities=s.modalities) for s in snapshot.spaces}
    broken = {e: f for e in snapshot.segments if (f := _check_segment(e, store)) is not None}
    indexes = list(_damaged_indexes(snapshot, store))
    stored = {s.id: _stored_ids(s, snapshot, broken, store) for s in snapshot.spaces}
    vectors = list(_disagreements(snapshot, parts, stored, incomplete=bool(broken)))
    if repair:
        for entry, finding in list(broken.items()):
            lost = np.setdiff1d(parts[entry.space_id], stored[entry.space_id])
            broken[entry] = _retire(entry, finding, lost, catalog=catalog)
        indexes = [_drop(finding, store, catalog=catalog) for finding in indexes]
    rows = [Finding("row_damaged", where, _ROW_ADVICE) for where in damaged_rows]
    rows += [
        Finding("catalog_damaged", "catalog", f"{what}; {_CATALOG_ADVICE}")
        for what in catalog.check_structure()
    ]
    return VerifyReport(
        n_segments=len(snapshot.segments),
        n_index_files=sum(bool(d.name) for d in snapshot.derived),
        n_rows=n_rows,
        findings=(*broken.values(), *indexes, *rows, *vectors),
    )


_MOST_TOLD = 10
_CATALOG_ADVICE = "restore the catalog, or build a new store"
_ROW_ADVICE = f"the row is not what was written; {_CATALOG_ADVICE}"


def _check_segment(entry: SegmentEntry, store: Store) -> Finding | None:
    path = store.segments / entry.info.name
    if not path.exists():
        advice = (
            "the file is gone; its files are encoded again by 'crossfind index verify --repair'"
        )
        return Finding("segment_missing", entry.info.name, advice)
    try:
        open_segment(path, sha256=entry.info.sha256)
    except DamagedError as error:
        try:
            blocks = ", ".join(str(b) for b in check_segment(path, sha256=entry.info.sha256))
        except DamagedError:
            blocks = "its header"
        return Finding(
            "segment_damaged",
            entry.info.name,
            f"{error} (damaged blocks: {blocks or 'none'}); "
            "its files are encoded again by 'crossfind index verify --repair'",
        )
    return None


def _damaged_indexes(snapshot: Snapshot, store: Store) -> Iterator[Finding]:
    for entry in snapshot.derived:
        if not entry.name:
            continue
        try:
            intact = hash_file(store.derived / entry.name) == entry.sha256
        except StorageError:
            intact = False
        if not intact:
            detail = "exact search serves meanwhile; run: crossfind index rebuild"
            yield Finding("index_damaged", entry.name, detail)


def _stored_ids(
    space: Space, snapshot: Snapshot, broken: Container[SegmentEntry], store: Store
) -> Ids:
    """List the ids in a space's intact segments, ascending."""
    found = [np.zeros(0, np.int64)]
    for entry in snapshot.segments:
        if entry.space_id == space.id and entry not in broken:
            found.append(open_segment(store.segments / entry.info.name, verify=False).ids)
    return np.unique(np.concatenate(found))


def _disagreements(
    snapshot: Snapshot, parts: dict[str, Ids], stored: dict[str, Ids], *, incomplete: bool
) -> Iterator[Finding]:
    """Compare the ids in the segments with the catalog's parts, ten of each kind at most."""
    dead = np.fromiter(snapshot.tombstones, dtype=np.int64)
    for space in snapshot.spaces:
        unknown = np.setdiff1d(np.setdiff1d(stored[space.id], parts[space.id]), dead)
        for id_ in unknown[:_MOST_TOLD].tolist():
            yield Finding(
                "vector_unknown", f"part {id_}", f"in space {space.id}, not in the catalog"
            )
        if not incomplete:
            for id_ in np.setdiff1d(parts[space.id], stored[space.id])[:_MOST_TOLD].tolist():
                detail = f"the catalog names it and no segment of {space.id} holds it"
                yield Finding("vector_missing", f"part {id_}", detail)


def _retire(entry: SegmentEntry, finding: Finding, lost: Ids, *, catalog: Catalog) -> Finding:
    """Take a damaged segment out, and have the files of its parts encoded again."""
    with catalog.writing() as writer:
        generation = writer.touch()
        n_files = writer.mark_stale(lost.tolist())
        writer.retire_segments([entry.info.name], generation)
    return replace(
        finding,
        detail=f"retired; {n_files} files are encoded again by the next 'crossfind index build'",
        repaired=True,
    )


def _drop(finding: Finding, store: Store, *, catalog: Catalog) -> Finding:
    """Take a damaged index out; nothing is lost with it."""
    with catalog.writing() as writer:
        writer.touch()
        writer.forget_derived(finding.where)
    with storing(f"delete {finding.where}"):
        (store.derived / finding.where).unlink(missing_ok=True)
    detail = "deleted; exact search serves until the next 'crossfind index build'"
    return replace(finding, detail=detail, repaired=True)
