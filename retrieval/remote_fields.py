"""What Milvus is told of parts beside their vectors, and filters in its words.

Only what cannot change while a part lives is told: a change of the file makes new parts. A path, a
time of change, tags and the user's own columns can, so filters by them reach Milvus as ids, or are
looked at here. An expression may let through more than its condition, never less; what it lets
through is compared with the catalog's own answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from retrieval.catalog.conditions import (
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
from retrieval.catalog.records import PartScalars

if TYPE_CHECKING:
    from index.remote_server import FieldKind, Values

FIELDS: Mapping[str, FieldKind] = MappingProxyType(
    {
        "part": "text",
        "modality": "text",
        "format": "text",
        "is_row": "whole",
        "item_id": "number",
        "size_bytes": "number",
        "width_px": "number",
        "height_px": "number",
        "duration_s": "number",
        "taken_ns": "whole",
    }
)
_NUMBERS = {
    "id": "item_id", "size_bytes": "size_bytes", "width_px": "width_px", "height_px": "height_px",
    "duration_s": "duration_s",
}  # fmt: skip
_TEXTS = frozenset({"modality", "format"})
_MISSING = -1.0  # none of these numbers is below zero
_UNDATED = -(2**63 - 1)
_MOST_EXACT = 2**53  # larger whole numbers are not all float64
_PLAIN = re.compile(r"[A-Za-z0-9_.+-]*")


NO_SCALARS = PartScalars("", "", False, "", -1, -1, None, None, None, None)
"""Of a row that is no part of the store any more, and is written nowhere."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A condition in Milvus's words; `is_exact`: it lets through no more than the condition."""

    words: str
    is_exact: bool = True


def field_values(parts: Sequence[PartScalars]) -> Values:
    """Put the fields of some parts beside each other, in their order."""
    return {
        "part": [p.part for p in parts],
        "modality": [p.modality for p in parts],
        "format": [p.format for p in parts],
        "is_row": [int(p.is_row) for p in parts],
        "item_id": [float(p.item_id) for p in parts],
        "size_bytes": [float(p.size_bytes) for p in parts],
        "width_px": [_or_missing(p.width_px) for p in parts],
        "height_px": [_or_missing(p.height_px) for p in parts],
        "duration_s": [_or_missing(p.duration_s) for p in parts],
        "taken_ns": [_UNDATED if p.taken_ns is None else p.taken_ns for p in parts],
    }


def to_expression(condition: Condition) -> str:
    """Write what of a condition Milvus can judge; empty where that is nothing.

    Example:
        >>> from retrieval.catalog.conditions import Like
        >>> small = Comparison("width_px", "<", 100)
        >>> to_expression(AllOf((small, Like("path", "%/a/%"))))
        '((width_px >= 0 and width_px < 100.0))'
        >>> to_expression(AnyOf((small, Like("path", "%/a/%"))))
        ''
    """
    said = _say(condition)
    return "" if said is None else said.words


def of_modality(modality: str) -> str:
    """Write that an item is of a modality; a row of a table is of that of each of its parts."""
    return f'(modality == "{modality}" or (part == "{modality}" and is_row == 1))'


def _or_missing(value: float | None) -> float:
    return _MISSING if value is None else float(value)


def _say(condition: Condition) -> _Said | None:
    """Write a condition in Milvus's words; None where it has none for it."""
    if isinstance(condition, Not):
        inner = _say(condition.part)
        return _Said(f"(not {inner.words})") if inner is not None and inner.is_exact else None
    if isinstance(condition, AllOf | AnyOf):
        return _joined(condition)
    if isinstance(condition, Within):
        return _within(condition)
    if isinstance(condition, Missing):
        return _missing(condition.field)
    return None if isinstance(condition, Like) else _field(condition)


def _joined(condition: AllOf | AnyOf) -> _Said | None:
    """Join parts: what Milvus cannot judge is left out of an AND, and makes an OR useless."""
    said = [_say(part) for part in condition.parts]
    kept = [one for one in said if one is not None]
    is_whole = len(kept) == len(said)
    if not kept or (isinstance(condition, AnyOf) and not is_whole):
        return None
    word = " and " if isinstance(condition, AllOf) else " or "
    words = word.join(one.words for one in kept)
    return _Said(f"({words})", is_whole and all(one.is_exact for one in kept))


def _field(condition: Comparison | Member) -> _Said | None:
    field = condition.field
    values = condition.values if isinstance(condition, Member) else (condition.value,)
    written = [_literal(value) for value in values]
    if not written or not all(written):
        return None
    words = f"in [{', '.join(written)}]"
    if isinstance(condition, Comparison):
        operator = "==" if condition.operator == "=" else condition.operator
        words = f"{operator} {written[0]}"
    if field in _TEXTS:
        ordered = isinstance(condition, Comparison) and condition.operator not in ("=", "!=")
        return None if ordered else _Said(f"({field} {words})")
    there = _NUMBERS.get(field)
    return None if there is None else _Said(f"({there} >= 0 and {there} {words})")


def _literal(value: Value) -> str:
    """Write a plain word or an exact number; empty for any other."""
    if isinstance(value, str):
        return f'"{value}"' if _PLAIN.fullmatch(value) else ""
    return repr(float(value)) if abs(value) < _MOST_EXACT else ""


def _within(condition: Within) -> _Said | None:
    """Write when a picture was taken; of `year`, which also looks at files, what that leaves."""
    limits = [v for v in (condition.low_ns, condition.high_ns) if v is not None]
    if condition.field not in ("taken_at", "year") or any(abs(v) >= 2**63 - 1 for v in limits):
        return None
    words = [f"taken_ns != {_UNDATED}"]
    if condition.low_ns is not None:
        words.append(f"taken_ns >= {condition.low_ns}")
    if condition.high_ns is not None:
        words.append(f"taken_ns < {condition.high_ns}")
    taken = f"({' and '.join(words)})"
    if condition.field == "taken_at":
        return _Said(taken)
    return _Said(f"({taken} or taken_ns == {_UNDATED})", is_exact=False)


def _missing(field: str) -> _Said | None:
    if field == "taken_at":
        return _Said(f"(taken_ns == {_UNDATED})")
    return _Said(f"({_NUMBERS[field]} < 0)") if field in _NUMBERS else None
