"""Row checksums: SQLite does not notice a flipped bit in a value; these do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from retrieval.catalog.records import checksum
from retrieval.catalog.schema import Base, FileRow, ItemRow, PartRow

Row = dict[str, Any]  # Any: a row's values are what the column's type says

_FILE = ("path_key", "size_bytes", "mtime_ns", "caption_stamp", "content_hash", "code", "reason")
_ITEM = (
    "id",
    "content_hash",
    "record",
    "modality",
    "format",
    "size_bytes",
    "width_px",
    "height_px",
    "duration_s",
    "caption",
    "flags",
)
_PART = ("id", "item_id", "modality", "start_s", "end_s", "text")


def file_checksum(row: Row) -> int:
    """Digest a row of `files`."""
    return checksum(*(bytes(row[n]) if n == "path_key" else row[n] for n in _FILE))


def item_checksum(row: Row) -> int:
    """Digest a row of `items`."""
    return checksum(*(row[name] for name in _ITEM))


def part_checksum(row: Row) -> int:
    """Digest a row of `parts`."""
    return checksum(*(row[name] for name in _PART))


_CHECKED: tuple[tuple[type[Base], str, Callable[[Row], int]], ...] = (
    (FileRow, "pk", file_checksum),
    (ItemRow, "id", item_checksum),
    (PartRow, "id", part_checksum),
)


def check_rows(connection: sa.Connection) -> Iterator[tuple[str, bool]]:
    """Yield each protected row's name and whether it is what was written."""
    for table, key, digest in _CHECKED:
        rows = connection.execution_options(yield_per=1000).execute(sa.select(table)).mappings()
        for row in rows:
            yield f"{table.__tablename__} row {row[key]}", digest(dict(row)) == row["checksum"]
