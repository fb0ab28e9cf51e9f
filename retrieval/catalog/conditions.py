"""Conditions on the fields of items, as values: what a filter means, without any SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = Union[str, int, float]
Kind = Literal["text", "number", "year", "time", "flags", "path"]

FIELDS: dict[str, Kind] = {
    "id": "number",
    "path": "path",
    "modality": "text",
    "format": "text",
    "size_bytes": "number",
    "width_px": "number",
    "height_px": "number",
    "duration_s": "number",
    "caption": "text",
    "flags": "flags",
    "modified": "time",
    "year": "year",
}
"""The fields of an item that a condition can name, and what kind of value each has."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field against a value; false where the item has no such value."""

    field: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Within:
    """A time or year in [low_ns, high_ns), nanoseconds since 1970 UTC; None is no limit."""

    low_ns: int | None
    high_ns: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """A field equal to one of some values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """A field like a pattern: `%` any characters, `_` one, `\\` before either takes it plainly."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Missing:
    """An item without a value in a field."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary; there is no third truth value."""

    part: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds."""

    parts: tuple[Condition, ...]


Condition = Union[Comparison, Within, Member, Like, Missing, Not, AllOf, AnyOf]
