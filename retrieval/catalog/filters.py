"""Conditions as SQL expressions; every value is a bound parameter, never SQL text."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from retrieval.catalog.conditions import (
    FIELDS,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Like,
    Member,
    Missing,
    Not,
    Value,
    Within,
)
from retrieval.catalog.schema import (
    ColumnValueRow,
    DetailRow,
    FileRow,
    ItemRow,
    StreamRow,
    TagRow,
)

Clause = sa.ColumnElement[bool]

_DETAILS: dict[str, Any] = {  # Any: columns of several types
    "taken_at": DetailRow.taken_ns,
    "lat": DetailRow.lat,
    "lon": DetailRow.lon,
    "camera": DetailRow.camera,
    "sample_rate_hz": StreamRow.sample_rate_hz,
    "channels": StreamRow.n_channels,
    "fps": StreamRow.fps,
    "codec": StreamRow.codec,
    "title": StreamRow.title,
    "artist": StreamRow.artist,
    "album": StreamRow.album,
}

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {  # Any: columns overload the operators
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def to_sql(condition: Condition) -> Clause:
    """Write a condition as an expression over `items`; it is true or false, never NULL."""
    if isinstance(condition, Not):
        return sa.not_(to_sql(condition.part))
    if isinstance(condition, AllOf):
        return sa.and_(sa.true(), *map(to_sql, condition.parts))
    if isinstance(condition, AnyOf):
        return sa.or_(sa.false(), *map(to_sql, condition.parts))
    if isinstance(condition, Missing):
        return _missing(condition.field)
    return _within(condition) if isinstance(condition, Within) else _field(condition)


def _field(condition: Comparison | Member | Like) -> Clause:
    field = condition.field
    several = {"path": _path, "flags": _flags, "tag": _tag}.get(field)
    if several is not None:
        assert not isinstance(condition, Comparison)  # read as Member
        return several(condition)
    if field in _DETAILS:
        return _has_detail(_atom(condition, _DETAILS[field]), of=_DETAILS[field].class_)
    if field in FIELDS:
        return sa.func.coalesce(_atom(condition, getattr(ItemRow, field)), sa.false())
    number = isinstance(_some_value(condition), int | float)
    column = ColumnValueRow.number if number else ColumnValueRow.text
    return _has_column(field, _atom(condition, column))


def _atom(condition: Comparison | Member | Like, column: Any) -> Clause:  # Any: by its type
    if isinstance(condition, Comparison):
        found: Clause = _COMPARE[condition.operator](column, _plain(condition.value))
        return found
    if isinstance(condition, Member):
        clause: Clause = column.in_([_plain(value) for value in condition.values])
        return clause
    like: Clause = column.ilike(condition.pattern, escape="\\")
    return like


def _some_value(condition: Comparison | Member | Like) -> Value:
    if isinstance(condition, Like):
        return condition.pattern
    return condition.value if isinstance(condition, Comparison) else condition.values[0]


def _plain(value: Value) -> Any:  # Any: a text, or a number with the type that holds it
    if isinstance(value, str):
        return value
    # As wide as can be, for PostgreSQL refuses a number that the column could not hold.
    return sa.literal(value + 0, sa.Double() if isinstance(value, float) else sa.BigInteger())


def _within(condition: Within) -> Clause:
    if condition.field == "modified":
        return _some_file(_between(FileRow.mtime_ns, condition))
    taken = _has_detail(_between(DetailRow.taken_ns, condition))
    if condition.field == "taken_at":
        return taken
    undated = sa.not_(_has_detail(DetailRow.taken_ns.is_not(None)))
    return sa.or_(taken, sa.and_(undated, _some_file(_between(FileRow.mtime_ns, condition))))


def _between(column: Any, condition: Within) -> Clause:  # Any: a mapped column
    limits: list[Clause] = [column.is_not(None)]
    if condition.low_ns is not None:
        limits.append(column >= condition.low_ns)
    if condition.high_ns is not None:
        limits.append(column < condition.high_ns)
    return sa.and_(*limits)


def _missing(field: str) -> Clause:
    if field == "flags":
        return ItemRow.flags == ""
    if field == "tag":
        return sa.not_(_has_tag(sa.true()))
    if field in ("path", "modified", "year"):
        return sa.not_(_some_file(sa.true()))
    if field in _DETAILS:
        column = _DETAILS[field]
        return sa.not_(_has_detail(column.is_not(None), of=column.class_))
    if field in FIELDS:
        return sa.ColumnElement.is_(getattr(ItemRow, field), None)
    return sa.not_(_has_column(field, sa.true()))


def _path(condition: Member | Like) -> Clause:
    """Match any of an item's paths; one that is not absolute matches at the end of a folder."""
    if isinstance(condition, Like):
        pattern = condition.pattern
        whole = pattern if pattern[:1] == "%" or _is_whole(pattern) else f"%/{pattern}"
        return _some_file(FileRow.path.ilike(whole, escape="\\"))
    return _some_file(sa.or_(sa.false(), *map(_ends_with, map(str, condition.values))))


def _ends_with(value: str) -> Clause:
    """Compare exactly, which LIKE does not: in SQLite it ignores case."""
    if _is_whole(value):
        return FileRow.path == value
    length = len(value) + 1
    start = sa.func.length(FileRow.path) - length + 1
    clause: Clause = sa.func.substr(FileRow.path, start, length) == f"/{value}"
    return sa.and_(start > 0, clause)


def _is_whole(path: str) -> bool:
    """Tell whether it begins where a path or URL begins."""
    return path.startswith("/") or "://" in path


def _flags(condition: Member | Like) -> Clause:
    """Match one of an item's flags, which stand in one text between commas."""
    if isinstance(condition, Like):
        return ItemRow.flags.ilike(condition.pattern, escape="\\")
    text = sa.literal(",") + ItemRow.flags + ","
    named = [value for value in condition.values if value != ""]
    matches = [sa.func.replace(text, f",{value},", "") != text for value in named]
    return sa.or_(sa.false(), *matches)


def _tag(condition: Member | Like) -> Clause:
    return _has_tag(_atom(condition, TagRow.tag))


def _some_file(clause: Clause) -> Clause:
    return (
        sa.select(FileRow.pk)
        .where(FileRow.content_hash == ItemRow.content_hash)
        .where(clause)
        .exists()
    )


def _has_detail(clause: Clause, *, of: type[DetailRow | StreamRow] = DetailRow) -> Clause:
    return sa.select(of.item_id).where(of.item_id == ItemRow.id).where(clause).exists()


def _has_tag(clause: Clause) -> Clause:
    return sa.select(TagRow.item_id).where(TagRow.item_id == ItemRow.id).where(clause).exists()


def _has_column(name: str, clause: Clause) -> Clause:
    own = sa.select(ColumnValueRow.item_id).where(ColumnValueRow.item_id == ItemRow.id)
    return own.where(ColumnValueRow.name == name).where(clause).exists()
