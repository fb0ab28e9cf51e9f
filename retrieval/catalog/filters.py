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
    Within,
)
from retrieval.catalog.schema import FileRow, ItemRow

Clause = sa.ColumnElement[bool]

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
    if isinstance(condition, Within):
        return _within(condition)
    return _missing(condition.field) if isinstance(condition, Missing) else _field(condition)


def _field(condition: Comparison | Member | Like) -> Clause:
    kind = FIELDS[condition.field]
    if kind == "path":
        return _path(condition)
    return _flags(condition) if kind == "flags" else sa.func.coalesce(_atom(condition), sa.false())


def _within(condition: Within) -> Clause:
    limits: list[Clause] = [sa.true()]
    if condition.low_ns is not None:
        limits.append(FileRow.mtime_ns >= condition.low_ns)
    if condition.high_ns is not None:
        limits.append(FileRow.mtime_ns < condition.high_ns)
    return _some_file(sa.and_(*limits))


def _atom(condition: Comparison | Member | Like) -> Clause:
    column: sa.ColumnElement[Any] = getattr(ItemRow, condition.field)  # Any: by its type
    if isinstance(condition, Comparison):
        found: Clause = _COMPARE[condition.operator](column, condition.value)
        return found
    if isinstance(condition, Member):
        return column.in_(condition.values)
    return column.ilike(condition.pattern, escape="\\")


def _missing(field: str) -> Clause:
    if FIELDS[field] == "flags":
        return ItemRow.flags == ""
    if field in ("path", "modified", "year"):
        return sa.not_(_some_file(sa.true()))
    column: sa.ColumnElement[Any] = getattr(ItemRow, field)  # Any: by its type
    return column.is_(None)


def _path(condition: Comparison | Member | Like) -> Clause:
    """Match any of an item's paths; one that is not absolute matches at the end of a folder."""
    if isinstance(condition, Like):
        pattern = condition.pattern
        whole = pattern if pattern.startswith(("/", "%")) else f"%/{pattern}"
        return _some_file(FileRow.path.ilike(whole, escape="\\"))
    values = condition.values if isinstance(condition, Member) else (condition.value,)
    matches = [_ends_with(value) for value in map(str, values)]
    found = _some_file(sa.or_(sa.false(), *matches))
    negated = isinstance(condition, Comparison) and condition.operator == "!="
    return sa.not_(found) if negated else found


def _ends_with(value: str) -> Clause:
    """Compare exactly, which LIKE does not: in SQLite it ignores case."""
    if value.startswith("/"):
        return FileRow.path == value
    length = len(value) + 1
    start = sa.func.length(FileRow.path) - length + 1
    clause: Clause = sa.func.substr(FileRow.path, start, length) == f"/{value}"
    return sa.and_(start > 0, clause)


def _flags(condition: Comparison | Member | Like) -> Clause:
    """Match one of an item's flags, which stand in one text between commas."""
    text = sa.literal(",") + ItemRow.flags + ","
    if isinstance(condition, Like):
        return ItemRow.flags.ilike(condition.pattern, escape="\\")
    values = condition.values if isinstance(condition, Member) else (condition.value,)
    found = sa.or_(
        sa.false(),
        *(sa.func.replace(text, f",{value},", "") != text for value in values if value != ""),
    )
    negated = isinstance(condition, Comparison) and condition.operator == "!="
    return sa.not_(found) if negated else found


def _some_file(clause: Clause) -> Clause:
    return (
        sa.select(FileRow.pk)
        .where(FileRow.content_hash == ItemRow.content_hash)
        .where(clause)
        .exists()
    )
