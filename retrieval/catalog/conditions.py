"""Conditions on the fields of items, as values: what a filter means, without any SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = Union[str, int, float]
Kind = Literal["text", "number", "bool", "year", "time", "flags", "tags", "path"]

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
    "taken_at": "time",
    "year": "year",
    "lat": "number",
    "lon": "number",
    "camera": "text",
    "sample_rate_hz": "number",
    "channels": "number",
    "fps": "number",
    "codec": "text",
    "title": "text",
    "artist": "text",
    "album": "text",
    "tag": "tags",
}
"""The fields of an item that a condition can name, and what kind of value each has. A condition may
also name columns of the user's own, whose kinds are text, number and bool."""

SEVERAL: frozenset[Kind] = frozenset({"path", "flags", "tags"})
"""Kinds of fields of which an item may have several values; = and != are read as IN."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field of one value against a value; false where the item has no such value."""

    field: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Within:
    """A time or year in [low_ns, high_ns), nanoseconds since 1970 UTC; None is no limit."""

    field: str
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
