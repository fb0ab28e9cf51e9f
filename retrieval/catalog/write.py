"""Writing the catalog: one `Writer` is one transaction, and its end is the moment of truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from index.types import SegmentInfo
from retrieval.catalog import fields, fulltext
from retrieval.catalog.chunks import chunks
from retrieval.catalog.conditions import Kind, Value
from retrieval.catalog.records import (
    Batch,
    DerivedEntry,
    FileRecord,
    ItemRecord,
    path_key,
    printable,
)
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
from retrieval.catalog.seal import Row, amend, sealed
from retrieval.catalog.spaces import SpaceWriter, tombstone_rows
from retrieval.catalog.turns import oldest_read


class Writer(SpaceWriter):
    """Everything a Reader can, and changes; all of them count only once the transaction commits."""

    def apply(self, batch: Batch) -> int:
        """Make a batch true.

        Args:
            batch: files, items and segments that belong together.

        Returns:
            How many items went because no path holds their content any more.
        """
        generation = self._advance(batch)
        orphaned = self._forget(batch.vanished)
        self._put_items(batch.items, generation)
        orphaned |= self._put_files(batch.files)
        for space_id, info in batch.segments:
            self.add_segment(space_id, info, generation)
        return self.remove_orphans(orphaned, generation)

    def put_columns(
        self, kinds: Mapping[str, Kind], rows: Sequence[tuple[int, Mapping[str, Value | None]]]
    ) -> None:
        """Write values of the user's own columns; see `fields.put_columns`."""
        fields.put_columns(self._connection, kinds, rows)

    def put_tags(self, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
        """Write the tags that the user gives to items; see `fields.put_tags`."""
        fields.put_tags(self._connection, rows)

    def add_segment(self, space_id: str, info: SegmentInfo, generation: int) -> None:
        """Name a published segment as part of the truth."""
        self._connection.execute(
            sa.insert(SegmentRow), [_segment_row(info, self._space_pk(space_id), generation)]
        )

    def retire_segments(self, names: Iterable[str], generation: int) -> None:
        """Take segments out of the truth; their files stay until no reader can need them."""
        for chunk in chunks(names):
            named = SegmentRow.name.in_(chunk)
            amend(self._connection, SegmentRow, named, retired_generation=generation)

    def forget_segments(self, *, retired_before: int) -> None:
        """Drop the rows of segments retired before a generation, but those that are read."""
        oldest = oldest_read(self._connection)
        if oldest is not None:
            retired_before = min(retired_before, oldest + 1)
        self._connection.execute(
            sa.delete(SegmentRow).where(SegmentRow.retired_generation < retired_before)
        )

    def clear_tombstones(self, part_ids: Iterable[int]) -> None:
        """Forget tombstones whose vectors lie in no segment any more."""
        for chunk in chunks(part_ids):
            self._connection.execute(sa.delete(TombstoneRow).where(TombstoneRow.part_id.in_(chunk)))

    def record_derived(self, entry: DerivedEntry) -> None:
        """Name the newest index of a space; all but the two newest go, and those that are read."""
        space_pk = self._space_pk(entry.space_id)
        self._connection.execute(sa.insert(DerivedRow), [_derived_row(entry, space_pk)])
        newest = sa.select(DerivedRow.pk).where(DerivedRow.space_pk == space_pk)
        newest = newest.order_by(DerivedRow.pk.desc())
        kept = self._connection.execute(newest.limit(2)).scalars().all()
        gone = sa.delete(DerivedRow).where(
            DerivedRow.space_pk == space_pk, DerivedRow.pk.not_in(kept)
        )
        oldest = oldest_read(self._connection)
        if oldest is not None:
            read = newest.where(DerivedRow.generation <= oldest).limit(1)
            gone = gone.where(DerivedRow.pk < sa.func.coalesce(read.scalar_subquery(), 0))
        self._connection.execute(gone)

    def forget_derived(self, name: str) -> None:
        """Forget the index of a space whose file of that name is damaged, and those before it.

        One before would bring back what a merge of segments has left out for ever.
        """
        of_space = sa.select(DerivedRow.space_pk).where(DerivedRow.name == name)
        pks = self._connection.execute(of_space).scalars().all()
        self._connection.execute(sa.delete(DerivedRow).where(DerivedRow.space_pk.in_(pks)))

    def touch(self) -> int:
        """Begin a new generation and return its number."""
        return self._advance(Batch())

    def mark_stale(self, part_ids: Iterable[int]) -> int:
        """Have the files of these parts encoded again by the next add; return how many.

        Their content hash gets a prefix that no content has: it looks unknown, and the items
        keep their ids, paths and other parts until then.
        """
        hashes: set[str] = set()
        for chunk in chunks(part_ids):
            found = self._connection.execute(
                sa.select(ItemRow.content_hash)
                .join(PartRow, PartRow.item_id == ItemRow.id)
                .where(PartRow.id.in_(chunk))
                .where(ItemRow.content_hash.not_like("stale:%"))
            )
            hashes.update(str(h) for h in found.scalars())
        n_files = 0
        for content_hash in sorted(hashes):
            stale = f"stale:{content_hash}"
            own = FileRow.content_hash == content_hash
            n_files += amend(self._connection, FileRow, own, content_hash=stale, mtime_ns=-1)
            own = ItemRow.content_hash == content_hash
            amend(self._connection, ItemRow, own, content_hash=stale)
        return n_files

    def remove_paths(self, paths: Sequence[str]) -> int:
        """Forget paths, and the items that have no other; return how many items went."""
        generation = self._advance(Batch())
        return self.remove_orphans(self._forget(paths), generation)

    def remove_orphans(self, hashes: Iterable[str], generation: int) -> int:
        """Remove the items of contents that no file holds any more."""
        candidates = set(hashes)
        orphans = candidates - set(self.paths_by_hash(candidates))
        ids: list[int] = []
        for hashes_chunk in chunks(orphans):
            ids += self._connection.execute(
                sa.select(ItemRow.id).where(ItemRow.content_hash.in_(hashes_chunk))
            ).scalars()
        self._delete_items(ids, generation)
        for chunk in chunks(ids):
            fields.drop_all(self._connection, chunk)
        return len(ids)

    def _advance(self, batch: Batch) -> int:
        generation = self.generation() + 1
        values: Row = {"generation": generation}
        if batch.next_item_id is not None:
            values["next_item_id"] = batch.next_item_id
        if batch.next_part_id is not None:
            values["next_part_id"] = batch.next_part_id
        amend(self._connection, StoreRow, sa.true(), **values)
        return generation

    def _space_pk(self, space_id: str) -> int:
        return int(
            self._connection.execute(
                sa.select(SpaceRow.pk).where(SpaceRow.id == space_id)
            ).scalar_one()
        )

    def _forget(self, paths: Sequence[str]) -> set[str]:
        """Delete the rows of paths; return the contents they held."""
        held = {f.content_hash for f in self.known_files(paths).values() if f.content_hash}
        for chunk in chunks(paths):
            self._delete_files(chunk)
        return held

    def _put_files(self, files: Sequence[FileRecord]) -> set[str]:
        """Insert or replace files by path; return the contents that were replaced."""
        known = self.known_files([file.path for file in files])
        replaced = {
            known[f.path].content_hash
            for f in files
            if f.path in known and known[f.path].content_hash != f.content_hash
        }
        for chunk in chunks(known):
            self._delete_files(chunk)
        newest = {f.path: f for f in files}
        rows = [_file_row(_counted(f, known.get(f.path))) for f in newest.values()]
        for rows_chunk in chunks(rows):
            self._connection.execute(sa.insert(FileRow), rows_chunk)
        fulltext.put_names(self._connection, (p for p, f in newest.items() if f.content_hash))
        return {content for content in replaced if content}

    def _put_items(self, items: Sequence[ItemRecord], generation: int) -> None:
        if not items:
            return
        self._delete_items([item.id for item in items], generation)
        for items_chunk in chunks(items):
            self._connection.execute(sa.insert(ItemRow), [_item_row(item) for item in items_chunk])
        for parts_chunk in chunks(part for item in items for part in _part_rows(item)):
            self._connection.execute(sa.insert(PartRow), parts_chunk)
        fields.put_details(self._connection, items)
        fulltext.put_items(self._connection, items)
        told = fields.all_tags(self._connection, [item.id for item in items])
        fulltext.put_tags(self._connection, told)

    def _delete_files(self, paths: Sequence[str]) -> None:
        """Delete the rows of a chunk of paths."""
        keys = [path_key(path) for path in paths]
        fulltext.drop_names(self._connection, keys)
        self._connection.execute(sa.delete(FileRow).where(FileRow.path_key.in_(keys)))

    def _delete_items(self, item_ids: Sequence[int], generation: int) -> None:
        """Delete items with all that their files say; what the user said of them stays."""
        self._bury_parts(item_ids, generation)
        for chunk in chunks(item_ids):
            fulltext.drop_items(self._connection, chunk)
            fields.drop_details(self._connection, chunk)
            self._connection.execute(sa.delete(ItemRow).where(ItemRow.id.in_(chunk)))

    def _bury_parts(self, item_ids: Sequence[int], generation: int) -> None:
        """Delete the parts of items and leave tombstones for their vectors."""
        for chunk in chunks(item_ids):
            condition = PartRow.item_id.in_(chunk)
            ids = self._connection.execute(sa.select(PartRow.id).where(condition)).scalars().all()
            self._connection.execute(sa.delete(PartRow).where(condition))
            if ids:
                self._connection.execute(sa.insert(TombstoneRow), tombstone_rows(ids, generation))


def _counted(file: FileRecord, before: FileRecord | None) -> FileRecord:
    """Count the attempts at a file that stays bad."""
    if before is None or not (file.code and before.code):
        return file
    return replace(file, attempts=before.attempts + 1)


def _file_row(file: FileRecord) -> Row:
    row: Row = {
        "path_key": path_key(file.path),
        "path": printable(file.path),
        "size_bytes": file.size_bytes,
        "mtime_ns": file.mtime_ns,
        "caption_stamp": file.caption_stamp,
        "content_hash": file.content_hash,
        "code": file.code,
        "reason": printable(file.reason),
        "attempts": file.attempts,
        "loader_version": file.loader_version,
    }
    return sealed(FileRow, row)


def _item_row(item: ItemRecord) -> Row:
    row: Row = {
        "id": item.id,
        "content_hash": item.content_hash,
        "record": item.record,
        "modality": item.modality,
        "format": item.format,
        "size_bytes": item.size_bytes,
        "width_px": item.width_px,
        "height_px": item.height_px,
        "duration_s": item.duration_s,
        "caption": item.caption,
        "flags": ",".join(item.flags),
    }
    return sealed(ItemRow, row)


def _part_rows(item: ItemRecord) -> list[Row]:
    rows = []
    for part in item.parts:
        row: Row = {
            "id": part.id,
            "item_id": item.id,
            "modality": part.modality,
            "start_s": part.start_s,
            "end_s": part.end_s,
            "text": part.text,
        }
        rows.append(sealed(PartRow, row))
    return rows


def _segment_row(info: SegmentInfo, space_pk: int, generation: int) -> Row:
    row: Row = {
        "name": info.name,
        "space_pk": space_pk,
        "n_vectors": info.n_vectors,
        "dim": info.dim,
        "dtype": info.dtype,
        "sha256": info.sha256,
        "size_bytes": info.size_bytes,
        "generation": generation,
        "retired_generation": None,
    }
    return sealed(SegmentRow, row)


def _derived_row(entry: DerivedEntry, space_pk: int) -> Row:
    row: Row = {
        "space_pk": space_pk,
        "generation": entry.generation,
        "name": entry.name,
        "sha256": entry.sha256,
        "kind": entry.kind,
        "n_vectors": entry.n_vectors,
        "recall": None if entry.recall is None else float(entry.recall),
        "recall_queries": entry.recall_queries,
        "plan": entry.plan,
        "measured": entry.measured,
    }
    return sealed(DerivedRow, row)
