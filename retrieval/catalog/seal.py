"""Checksums of rows: SQLite does not notice a flipped bit in a value; these do.

Every row whose loss or change would change an answer carries one, over the columns named here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from retrieval.catalog.records import checksum
from retrieval.catalog.schema import (
    Base,
    ColumnRow,
    ColumnValueRow,
    DerivedRow,
    DetailRow,
    FileRow,
    ItemRow,
    PartRow,
    SegmentRow,
    SpaceRow,
    StoreRow,
    StreamRow,
    TagRow,
    TextRow,
    TombstoneRow,
)

Row = dict[str, Any]  # Any: a row's values are what the column's type says

# The order is part of the checksum: append nothing without a migration.
PROTECTED: dict[type[Base], tuple[str, ...]] = {
    FileRow: (
        "path_key", "size_bytes", "mtime_ns", "caption_stamp", "content_hash", "code", "reason",
    ),
    ItemRow: (
        "id", "content_hash", "record", "modality", "format", "size_bytes", "width_px",
        "height_px", "duration_s", "caption", "flags",
    ),
    PartRow: ("id", "item_id", "modality", "start_s", "end_s", "text"),
    StoreRow: ("uuid", "generation", "next_item_id", "next_part_id"),
    SpaceRow: ("id", "model", "fingerprint", "dim", "modalities", "state", "licence"),
    SegmentRow: (
        "name", "space_pk", "n_vectors", "dim", "dtype", "sha256", "size_bytes", "generation",
        "retired_generation",
    ),
    TombstoneRow: ("part_id", "generation"),
    DerivedRow: (
        "space_pk", "generation", "name", "sha256", "kind", "n_vectors", "recall",
        "recall_queries", "plan", "measured",
    ),
    TextRow: ("pk", "item_id", "part_id", "path_key", "name", "stem"),
    DetailRow: ("item_id", "taken_ns", "lat", "lon", "camera"),
    StreamRow: (
        "item_id", "sample_rate_hz", "n_channels", "fps", "codec", "title", "artist", "album",
    ),
    TagRow: ("item_id", "tag", "source"),
    ColumnRow: ("name", "kind"),
    ColumnValueRow: ("item_id", "name", "text", "number"),
}  # fmt: skip


def digest(table: type[Base], row: Row, *, words: Iterable[str] = ()) -> int:
    """Digest the protected columns of a row.

    Args:
        table: whose row.
        row: its values; numbers of a column of floats are floats.
        words: of a text, in any order; they stand beside the row, in the full-text index.

    Example:
        >>> row = {"item_id": 1, "tag": "sea", "source": "file"}
        >>> digest(TagRow, row) == digest(TagRow, {**row, "tag": "see"})
        False
    """
    values = [row[name] for name in PROTECTED[table]]
    plain = (bytes(value) if isinstance(value, memoryview) else value for value in values)
    return checksum(*plain, *((" ".join(sorted(set(words))),) if table is TextRow else ()))


def sealed(table: type[Base], row: Row, *, words: Iterable[str] = ()) -> Row:
    """Give a new row with its checksum; see `digest`."""
    return {**row, "checksum": digest(table, row, words=words)}


def amend(
    connection: sa.Connection, table: type[Base], condition: sa.ColumnElement[bool], **changes: Any
) -> int:  # Any: the values of the columns
    """Change rows in place, and their checksums; one that was damaged before stays so.

    Args:
        connection: of a write transaction.
        table: whose rows; not the texts, whose words are not read here.
        condition: which rows.
        **changes: the columns' new values.

    Returns:
        How many rows there were.
    """
    keys = list(sa.inspect(table).primary_key)
    rows = [dict(row) for row in connection.execute(sa.select(table).where(condition)).mappings()]
    for row in rows:
        new = dict(changes)
        if digest(table, row) == row["checksum"]:
            new["checksum"] = digest(table, {**row, **changes})
        own = sa.and_(*(key == row[key.name] for key in keys))
        connection.execute(sa.update(table).where(own).values(**new))
    return len(rows)
