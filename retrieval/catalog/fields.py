"""What is known of items beyond their own row: details of the file, tags, columns of the user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

import sqlalchemy as sa

from retrieval.catalog import fulltext
from retrieval.catalog.conditions import Kind, Value
from retrieval.catalog.records import ItemRecord
from retrieval.catalog.schema import (
    ColumnRow,
    ColumnValueRow,
    DetailRow,
    ItemRow,
    StreamRow,
    TagRow,
)
from retrieval.catalog.seal import sealed
from retrieval.types import NOTHING, Details

OF_FILE, OF_TABLE = "file", "table"
"""Where a tag comes from: the item's own file, or a table of the user."""

_CHUNK = 500
_STREAM = ("sample_rate_hz", "n_channels", "fps", "codec", "title", "artist", "album")


def put_details(connection: sa.Connection, items: Iterable[ItemRecord]) -> None:
    """Write what the files of new items say of themselves."""
    said = [item for item in items if item.details != NOTHING]
    rows = [
        {
            "item_id": item.id,
            "taken_ns": item.details.taken_ns,
            "lat": _float(item.details.lat),
            "lon": _float(item.details.lon),
            "camera": item.details.camera,
        }
        for item in said
    ]
    heard = [
        {
            "item_id": item.id,
            **{name: getattr(item.details, name) for name in _STREAM},
            "fps": _float(item.details.fps),
        }
        for item in said
        if any(getattr(item.details, name) is not None for name in _STREAM)
    ]
    tags = [(item.id, tag, OF_FILE) for item in said for tag in item.details.tags]
    for start in range(0, len(rows), _CHUNK):
        chunk = [sealed(DetailRow, row) for row in rows[start : start + _CHUNK]]
        connection.execute(sa.insert(DetailRow), chunk)
    for start in range(0, len(heard), _CHUNK):
        chunk = [sealed(StreamRow, row) for row in heard[start : start + _CHUNK]]
        connection.execute(sa.insert(StreamRow), chunk)
    _insert_tags(connection, tags)


def drop_details(connection: sa.Connection, item_ids: Sequence[int]) -> None:
    """Forget what the files of items said (a chunk of them); what the user said stays."""
    for table in (DetailRow, StreamRow):
        connection.execute(sa.delete(table).where(table.item_id.in_(item_ids)))
    own = TagRow.item_id.in_(item_ids)
    connection.execute(sa.delete(TagRow).where(own, TagRow.source == OF_FILE))


def drop_all(connection: sa.Connection, item_ids: Sequence[int]) -> None:
    """Forget everything about items that go (a chunk of them)."""
    drop_details(connection, item_ids)
    connection.execute(sa.delete(TagRow).where(TagRow.item_id.in_(item_ids)))
    connection.execute(sa.delete(ColumnValueRow).where(ColumnValueRow.item_id.in_(item_ids)))


def columns(connection: sa.Connection) -> dict[str, Kind]:
    """List the user's own columns and their kinds."""
    rows = connection.execute(sa.select(ColumnRow.name, ColumnRow.kind).order_by(ColumnRow.name))
    return {str(name): cast(Kind, kind) for name, kind in rows}


def values(connection: sa.Connection, item_ids: Sequence[int]) -> dict[int, dict[str, Value]]:
    """List what items have in the user's columns; those with nothing are left out."""
    kinds = columns(connection)
    found: dict[int, dict[str, Value]] = {}
    for start in range(0, len(item_ids) if kinds else 0, _CHUNK):
        rows = connection.execute(
            sa.select(ColumnValueRow)
            .where(ColumnValueRow.item_id.in_(item_ids[start : start + _CHUNK]))
            .order_by(ColumnValueRow.item_id, ColumnValueRow.name)
        )
        for row in rows:
            kind = kinds[row.name]
            value = row.text if kind == "text" else _number(row.number, kind)
            found.setdefault(row.item_id, {})[row.name] = value
    return found


def tags(
    connection: sa.Connection, item_ids: Sequence[int], *, source: str | None = None
) -> dict[int, tuple[str, ...]]:
    """List the tags of items (a chunk of them), sorted; those without are left out."""
    statement = _tags_of_items()
    if source is not None:
        statement = statement.where(TagRow.source == source)
    found: dict[int, set[str]] = {}
    for id_, tag in connection.execute(statement, {"ids": list(item_ids)}):
        found.setdefault(int(id_), set()).add(str(tag))
    return {id_: tuple(sorted(own)) for id_, own in found.items()}


def details(connection: sa.Connection, item_ids: Sequence[int]) -> dict[int, Details]:
    """List what the files of items say of themselves; those that say nothing are left out."""
    said: dict[int, Details] = {}
    for start in range(0, len(item_ids), _CHUNK):
        ids = item_ids[start : start + _CHUNK]
        for id_, words in tags(connection, ids, source=OF_FILE).items():
            said[id_] = Details(tags=words)
        rows = connection.execute(sa.select(DetailRow).where(DetailRow.item_id.in_(ids)))
        for row in rows:
            words = said[row.item_id].tags if row.item_id in said else ()
            said[row.item_id] = Details(row.taken_ns, row.lat, row.lon, row.camera, words)
        streams = connection.execute(sa.select(StreamRow).where(StreamRow.item_id.in_(ids)))
        for heard in streams:
            own = {name: getattr(heard, name) for name in _STREAM}
            said[heard.item_id] = replace(said.get(heard.item_id, NOTHING), **own)
    return said


@cache
def _tags_of_items() -> sa.Select[*tuple[Any, ...]]:
    """Build the statement once: every search asks it."""
    wanted = TagRow.item_id.in_(sa.bindparam("ids", expanding=True))
    return sa.select(TagRow.item_id, TagRow.tag).where(wanted).distinct()


def all_tags(
    connection: sa.Connection, item_ids: Sequence[int], *, source: str | None = None
) -> dict[int, tuple[str, ...]]:
    """List the tags of any number of items; see `tags`."""
    found: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(item_ids), _CHUNK):
        found |= tags(connection, item_ids[start : start + _CHUNK], source=source)
    return found


def put_columns(
    connection: sa.Connection,
    kinds: Mapping[str, Kind],
    rows: Sequence[tuple[int, Mapping[str, Value | None]]],
) -> None:
    """Write values of the user's columns over those that items had in them.

    Args:
        connection: of a write transaction.
        kinds: of every column that the rows name; of known columns the known ones.
        rows: item ids, each once, and their values; None takes a value away.
    """
    new = [{"name": n, "kind": kind} for n, kind in kinds.items() if n not in columns(connection)]
    if new:
        connection.execute(sa.insert(ColumnRow), [sealed(ColumnRow, row) for row in new])
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        ids = [id_ for id_, _ in chunk]
        connection.execute(
            sa.delete(ColumnValueRow)
            .where(ColumnValueRow.item_id.in_(ids))
            .where(ColumnValueRow.name.in_(kinds))
        )
        told = [
            _value_row(id_, name, value, kinds[name])
            for id_, own in chunk
            for name, value in own.items()
            if value is not None
        ]
        if told:
            values = [sealed(ColumnValueRow, row) for row in told]
            connection.execute(sa.insert(ColumnValueRow), values)


def put_tags(connection: sa.Connection, rows: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Write the user's tags of items over those that the user gave them before."""
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        ids = [id_ for id_, _ in chunk]
        own = TagRow.item_id.in_(ids)
        connection.execute(sa.delete(TagRow).where(own, TagRow.source == OF_TABLE))
        _insert_tags(connection, [(id_, tag, OF_TABLE) for id_, named in chunk for tag in named])
        now = tags(connection, ids)
        fulltext.put_tags(connection, {id_: now.get(id_, ()) for id_ in ids})


def first_items(connection: sa.Connection, hashes: Sequence[str]) -> dict[tuple[str, int], int]:
    """Map (content hash, record) to the item, for contents (a chunk of them)."""
    rows = connection.execute(
        sa.select(ItemRow.content_hash, ItemRow.record, ItemRow.id).where(
            ItemRow.content_hash.in_(hashes)
        )
    )
    return {(str(content), int(record)): int(id_) for content, record, id_ in rows}


def _insert_tags(connection: sa.Connection, tagged: Sequence[tuple[int, str, str]]) -> None:
    rows = [{"item_id": id_, "tag": tag, "source": source} for id_, tag, source in tagged]
    for start in range(0, len(rows), _CHUNK):
        chunk = [sealed(TagRow, row) for row in rows[start : start + _CHUNK]]
        connection.execute(sa.insert(TagRow), chunk)


def _value_row(item_id: int, name: str, value: Value, kind: Kind) -> dict[str, Any]:
    # Any: the values of a row
    text = str(value) if kind == "text" else None
    number = None if kind == "text" else float(value)
    return {"item_id": item_id, "name": name, "text": text, "number": number}


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _number(value: float, kind: str) -> Value:
    if kind == "bool":
        return bool(value)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
