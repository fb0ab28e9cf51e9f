"""Reading the catalog: one `Reader` sees one generation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from retrieval.catalog.chunks import chunks
from retrieval.catalog.conditions import Condition
from retrieval.catalog.fields import all_tags, first_items, values
from retrieval.catalog.filters import to_sql
from retrieval.catalog.ids import fetch_ids
from retrieval.catalog.read_fields import FieldReader
from retrieval.catalog.read_files import FileReader
from retrieval.catalog.read_store import StoreReader
from retrieval.catalog.schema import FileRow, ItemRow, PartRow
from retrieval.errors import NotFoundError
from retrieval.types import ROW_FLAG, Item, Modality, Part, row_of

Ids = npt.NDArray[np.int64]


class Reader(StoreReader, FileReader, FieldReader):
    """Queries over one open read (or write) transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

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
        return self.items_by_hashes([content_hash]).get(content_hash, {})

    def items_by_hashes(
        self, hashes: Iterable[str]
    ) -> dict[str, dict[int, tuple[int, str | None]]]:
        """Map contents to what `items_by_hash` gives; those without items are left out."""
        found: dict[str, dict[int, tuple[int, str | None]]] = {}
        for chunk in chunks(hashes):
            rows = self._connection.execute(_items_by_hash(), {"hashes": chunk})
            for content_hash, record, id_, caption in rows:
                found.setdefault(str(content_hash), {})[int(record)] = (int(id_), caption)
        return found

    def parts(self, ids: Iterable[int]) -> dict[int, Part]:
        """Look up parts by id."""
        found: dict[int, Part] = {}
        for chunk in chunks(ids):
            for row in self._connection.execute(_parts_by_id(), {"ids": chunk}):
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
            found_rows = self._connection.execute(_items_by_id(), {"ids": chunk})
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
        """List part ids, ascending: of one item, of items of one modality, of parts of some.

        A row of a table that names media is of the modality of each of its parts.
        """
        statement = sa.select(PartRow.id).order_by(PartRow.id)
        if item_id is not None:
            statement = statement.where(PartRow.item_id == item_id)
        if part_modalities is not None:
            statement = statement.where(PartRow.modality.in_(part_modalities))
        if modality is not None:
            flags = sa.literal(",") + ItemRow.flags + ","
            of_row = sa.and_(PartRow.modality == modality, flags.contains(f",{ROW_FLAG},"))
            statement = statement.join(ItemRow, ItemRow.id == PartRow.item_id).where(
                sa.or_(ItemRow.modality == modality, of_row)
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


# Every search looks rows up: these are built and compiled once.


@cache
def _parts_by_id() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(PartRow).where(PartRow.id.in_(sa.bindparam("ids", expanding=True)))


@cache
def _items_by_id() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(ItemRow).where(ItemRow.id.in_(sa.bindparam("ids", expanding=True)))


@cache
def _items_by_hash() -> sa.Select[*tuple[Any, ...]]:
    """Build the statement once: every file that is added asks it."""
    columns = (ItemRow.content_hash, ItemRow.record, ItemRow.id, ItemRow.caption)
    return sa.select(*columns).where(
        ItemRow.content_hash.in_(sa.bindparam("hashes", expanding=True))
    )
