"""Reading the catalog: one `Reader` sees one generation."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from index.types import SegmentInfo
from retrieval.catalog.conditions import Condition
from retrieval.catalog.fields import all_tags, first_items, values
from retrieval.catalog.filters import to_sql
from retrieval.catalog.ids import fetch_ids
from retrieval.catalog.read_fields import FieldReader
from retrieval.catalog.records import DerivedEntry, FileRecord, SegmentEntry, Snapshot, path_key
from retrieval.catalog.schema import (
    DerivedRow,
    FileRow,
    ItemRow,
    PartRow,
    SegmentRow,
    SpaceRow,
    StoreRow,
    TombstoneRow,
)
from retrieval.errors import NotFoundError
from retrieval.types import Failure, Item, Modality, Part, Space

T = TypeVar("T")
SpaceState = Literal["pending", "active", "kept"]
"""Being filled, serving, or left from before the last migration."""
Ids = npt.NDArray[np.int64]

# Well under SQLite's limit of bound values in one statement.
_CHUNK = 1000


def chunks(values: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """Cut values into lists of at most `size`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


class Reader(FieldReader):
    """Queries over one open read (or write) transaction."""

    def generation(self) -> int:
        """Read the number of the last commit."""
        return int(self._connection.execute(sa.select(StoreRow.generation)).scalar_one())

    def next_ids(self) -> tuple[int, int]:
        """Read the first item id and part id that were never used."""
        row = self._connection.execute(
            sa.select(StoreRow.next_item_id, StoreRow.next_part_id)
        ).one()
        return int(row[0]), int(row[1])

    def spaces(self, *, state: SpaceState = "active") -> tuple[Space, ...]:
        """List the spaces of the store that serve, or those of another state."""
        rows = self._connection.execute(
            sa.select(SpaceRow).where(SpaceRow.state == state).order_by(SpaceRow.pk)
        )
        return tuple(
            Space(
                id=row.id,
                model=row.model,
                fingerprint=row.fingerprint,
                dim=row.dim,
                modalities=cast(tuple[Modality, ...], tuple(row.modalities.split(","))),
                licence=row.licence,
            )
            for row in rows
        )

    def snapshot(self) -> Snapshot:
        """Read what a search of this generation needs."""
        names = self._space_names("active")
        newest: dict[str, DerivedEntry] = {}
        serving = sa.select(DerivedRow).where(DerivedRow.space_pk.in_(names))
        for row in self._connection.execute(serving.order_by(DerivedRow.pk)):
            newest[names[row.space_pk]] = DerivedEntry(
                space_id=names[row.space_pk],
                generation=row.generation,
                name=row.name,
                sha256=row.sha256,
                kind=row.kind,
                n_vectors=row.n_vectors,
                recall=row.recall,
                recall_queries=row.recall_queries,
                plan=row.plan,
                measured=row.measured,
            )
        return Snapshot(
            generation=self.generation(),
            spaces=self.spaces(),
            segments=self.segments(),
            derived=tuple(newest.values()),
            tombstones={
                int(part_id): int(generation)
                for part_id, generation in self._connection.execute(
                    sa.select(TombstoneRow.part_id, TombstoneRow.generation)
                )
            },
        )

    def segments(self, *, state: SpaceState = "active") -> tuple[SegmentEntry, ...]:
        """List the segments that count, of spaces of a state, oldest first."""
        names = self._space_names(state)
        rows = self._connection.execute(
            sa.select(SegmentRow)
            .where(SegmentRow.retired_generation.is_(None))
            .where(SegmentRow.space_pk.in_(names))
            .order_by(SegmentRow.pk)
        )
        return tuple(
            SegmentEntry(
                space_id=names[row.space_pk],
                info=SegmentInfo(
                    name=row.name,
                    n_vectors=row.n_vectors,
                    dim=row.dim,
                    dtype=row.dtype,
                    sha256=row.sha256,
                    size_bytes=row.size_bytes,
                ),
                generation=row.generation,
            )
            for row in rows
        )

    def file_names(self) -> set[str]:
        """List the segment and index files that any kept generation names."""
        segments = self._connection.execute(sa.select(SegmentRow.name)).scalars()
        derived = self._connection.execute(sa.select(DerivedRow.name)).scalars()
        return {str(name) for name in (*segments, *derived) if name}

    def _space_names(self, state: SpaceState) -> dict[int, str]:
        rows = self._connection.execute(
            sa.select(SpaceRow.pk, SpaceRow.id).where(SpaceRow.state == state)
        )
        return {int(pk): str(name) for pk, name in rows}

    def known_files(self, paths: Sequence[str]) -> dict[str, FileRecord]:
        """Look up paths; those never seen are left out."""
        found: dict[str, FileRecord] = {}
        for chunk in chunks(paths):
            keys = [path_key(path) for path in chunk]
            for row in self._connection.execute(
                sa.select(FileRow).where(FileRow.path_key.in_(keys))
            ):
                record = _file_record(row)
                found[record.path] = record
        return found

    def files(self, *, after: bytes = b"", limit: int = _CHUNK) -> list[FileRecord]:
        """List files in order of their path's bytes, a page at a time."""
        rows = self._connection.execute(
            sa.select(FileRow)
            .where(FileRow.path_key > after)
            .order_by(FileRow.path_key)
            .limit(limit)
        )
        return [_file_record(row) for row in rows]

    def files_below(self, folder: str) -> list[str]:
        """List the paths under a folder, in order of their bytes."""
        low = path_key(folder).rstrip(b"/") + b"/"
        rows = self._connection.execute(
            sa.select(FileRow.path_key)
            .where(FileRow.path_key > low)
            .where(FileRow.path_key < low[:-1] + b"0")  # "0" follows "/"
            .order_by(FileRow.path_key)
        )
        return [os.fsdecode(key) for key in rows.scalars()]

    def paths_by_hash(self, hashes: Iterable[str]) -> dict[str, list[str]]:
        """List the paths that hold given contents, in order of their bytes."""
        found: dict[str, list[str]] = defaultdict(list)
        for chunk in chunks(hashes):
            rows = self._connection.execute(
                sa.select(FileRow.content_hash, FileRow.path_key)
                .where(FileRow.content_hash.in_(chunk))
                .order_by(FileRow.path_key)
            )
            for content_hash, key in rows:
                found[str(content_hash)].append(os.fsdecode(key))
        return dict(found)

    def known_sizes(self, sizes: Iterable[int]) -> set[int]:
        """Tell which of these sizes some item has: only then a content can be known."""
        found: set[int] = set()
        for chunk in chunks(set(sizes)):
            rows = self._connection.execute(
                sa.select(ItemRow.size_bytes).where(ItemRow.size_bytes.in_(chunk)).distinct()
            )
            found.update(int(size) for size in rows.scalars())
        return found

    def items_by_hash(self, content_hash: str) -> dict[int, tuple[int, str | None]]:
        """Map record number to (item id, caption) for one content."""
        rows = self._connection.execute(
            sa.select(ItemRow.record, ItemRow.id, ItemRow.caption).where(
                ItemRow.content_hash == content_hash
            )
        )
        return {int(record): (int(id_), caption) for record, id_, caption in rows}

    def parts(self, ids: Iterable[int]) -> dict[int, Part]:
        """Look up parts by id."""
        found: dict[int, Part] = {}
        for chunk in chunks(ids):
            for row in self._connection.execute(sa.select(PartRow).where(PartRow.id.in_(chunk))):
                found[row.id] = Part(
                    id=row.id,
                    item_id=row.item_id,
                    modality=cast(Modality, row.modality),
                    start_s=row.start_s,
                    end_s=row.end_s,
                    text=row.text,
                )
        return found

    def items(self, ids: Iterable[int]) -> dict[int, Item]:
        """Look up items by id, each with its paths."""
        rows: list[ItemRow] = []
        for chunk in chunks(ids):
            found_rows = self._connection.execute(sa.select(ItemRow).where(ItemRow.id.in_(chunk)))
            rows += cast(list[ItemRow], found_rows.all())
        paths = self.paths_by_hash({row.content_hash for row in rows})
        named = all_tags(self._connection, [row.id for row in rows])
        own = values(self._connection, [row.id for row in rows])
        found: dict[int, Item] = {}
        for row in rows:
            suffix = f"#{row.record}" if row.record else ""
            first, *others = paths.get(row.content_hash, [f"(no file of item {row.id})"])
            found[row.id] = Item(
                id=row.id,
                path=first + suffix,
                modality=cast(Modality, row.modality),
                format=row.format,
                size_bytes=row.size_bytes,
                record=row.record,
                width_px=row.width_px,
                height_px=row.height_px,
                duration_s=row.duration_s,
                caption=row.caption,
                flags=tuple(filter(None, row.flags.split(","))),
                copies=tuple(path + suffix for path in others),
                tags=named.get(row.id, ()),
                columns=own.get(row.id, {}),
            )
        return found

    def item_files(self, item_id: int) -> list[str]:
        """List the files of an item, without a record's row number."""
        content = sa.select(ItemRow.content_hash).where(ItemRow.id == item_id)
        rows = self._connection.execute(
            sa.select(FileRow.path_key).where(FileRow.content_hash.in_(content))
        )
        return [os.fsdecode(key) for key in rows.scalars()]

    def item_at(self, path: str) -> int:
        """Find the item of a path (or of `path#ROW`).

        Raises:
            NotFoundError: the path is not in the store (`not_in_store`).
        """
        for candidate, record in ((path, 0), row_of(path)):
            file = self.known_files([candidate]).get(candidate)
            if file and file.content_hash:
                items = self.items_by_hash(file.content_hash)
                if record in items:
                    return items[record][0]
        raise NotFoundError(
            f"{path} is not in the store; add it with: crossfind index add", code="not_in_store"
        )

    def part_ids(
        self,
        *,
        item_id: int | None = None,
        modality: Modality | None = None,
        part_modalities: Sequence[Modality] | None = None,
    ) -> Ids:
        """List part ids, ascending: of one item, of items of one modality, of parts of some."""
        statement = sa.select(PartRow.id).order_by(PartRow.id)
        if item_id is not None:
            statement = statement.where(PartRow.item_id == item_id)
        if part_modalities is not None:
            statement = statement.where(PartRow.modality.in_(part_modalities))
        if modality is not None:
            statement = statement.join(ItemRow, ItemRow.id == PartRow.item_id).where(
                ItemRow.modality == modality
            )
        return fetch_ids(self._connection, statement)

    def part_ids_where(self, condition: Condition) -> Ids:
        """List the part ids of the items that fit a condition, ascending."""
        statement = (
            sa.select(PartRow.id)
            .join(ItemRow, ItemRow.id == PartRow.item_id)
            .where(to_sql(condition))
            .order_by(PartRow.id)
        )
        return fetch_ids(self._connection, statement)

    def parts_of(self, item_ids: Iterable[int]) -> list[Part]:
        """List the parts of items, in order of their ids."""
        found: list[int] = []
        for chunk in chunks(item_ids):
            statement = sa.select(PartRow.id).where(PartRow.item_id.in_(chunk))
            found += self._connection.execute(statement).scalars()
        parts = self.parts(found)
        return [parts[id_] for id_ in sorted(parts)]

    def items_at(self, paths: Sequence[str]) -> dict[str, int]:
        """Find the items of many paths (or of `path#ROW`); those not in the store are left out."""
        rows = {path: row_of(path) for path in paths}
        files = self.known_files([*rows, *(base for base, _ in rows.values())])
        hashes = {f.content_hash for f in files.values() if f.content_hash}
        items: dict[tuple[str, int], int] = {}
        for chunk in chunks(sorted(hashes)):
            items |= first_items(self._connection, chunk)
        found: dict[str, int] = {}
        for path, (base, record) in rows.items():
            for name, number in ((path, 0), (base, record)):
                content = files[name].content_hash if name in files else None
                if content and (content, number) in items:
                    found.setdefault(path, items[content, number])
        return found

    def counts(self) -> dict[str, int]:
        """Count items by modality, files, bad files and parts."""
        by_modality = self._connection.execute(
            sa.select(ItemRow.modality, sa.func.count()).group_by(ItemRow.modality)
        )
        totals = {str(name): int(n) for name, n in by_modality}
        n_files = sa.select(sa.func.count()).select_from(FileRow)
        totals["files"] = int(self._connection.execute(n_files).scalar_one())
        totals["bad"] = int(
            self._connection.execute(n_files.where(FileRow.code != "")).scalar_one()
        )
        n_parts = sa.select(sa.func.count()).select_from(PartRow)
        totals["parts"] = int(self._connection.execute(n_parts).scalar_one())
        return totals

    def facets(self, condition: Condition | None) -> dict[str, dict[str, int]]:
        """Count the items that fit a condition (all, without one) by modality and by format."""
        clause = sa.true() if condition is None else to_sql(condition)
        found: dict[str, dict[str, int]] = {}
        for name, column in (("modality", ItemRow.modality), ("format", ItemRow.format)):
            counted = sa.select(column, sa.func.count()).where(clause).group_by(column)
            rows = self._connection.execute(counted.order_by(column))
            found[name] = {str(value): int(n) for value, n in rows}
        return found

    def failures(self) -> list[Failure]:
        """List the bad files, in order of their paths."""
        rows = self._connection.execute(
            sa.select(FileRow.path_key, FileRow.code, FileRow.reason)
            .where(FileRow.code != "")
            .order_by(FileRow.path_key)
        )
        return [
            Failure(path=os.fsdecode(key), code=code, reason=reason) for key, code, reason in rows
        ]


def row_of(path: str) -> tuple[str, int]:
    """Split `path#ROW`; a path without a row is its own row 0.

    Example:
        >>> row_of("/a.csv#3"), row_of("/a.csv")
        (('/a.csv', 3), ('/a.csv', 0))
    """
    base, _, row = path.rpartition("#")
    return (base, int(row)) if base and row.isascii() and row.isdecimal() else (path, 0)


def _file_record(row: object) -> FileRecord:
    found = cast(FileRow, row)  # a Row has the columns as attributes
    return FileRecord(
        path=os.fsdecode(found.path_key),
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        caption_stamp=found.caption_stamp,
        content_hash=found.content_hash,
        code=found.code,
        reason=found.reason,
        attempts=found.attempts,
        loader_version=found.loader_version,
    )
