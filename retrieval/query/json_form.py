"""The JSON form of a query: what programs and HTTP send, with the same meaning as the text.

{"query": "\\"2:beach\\" + ./dog.ogg"}                      the grammar, if it clearly is one
{"query": {"text": "beach"}}   {"file": "/a.jpg", "crop": [0, 0, 0.5, 1]}   {"item": 123}
{"query": {"sum": [[2, {"text": "beach"}], [-1, {"item": 7}]]}}
{"query": {"and": [..]}}   {"query": {"or": [..]}}
further fields: k, for, where, min_confidence, more_like, less_like (lists of ids)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from retrieval.errors import UsageError
from retrieval.query.expression import MAX_TERMS, check_size
from retrieval.types import Either, Every, Expression, Sum, Term

_MAX_DEPTH = 32
_MAX_TEXT = 100_000


def read_expression(value: object) -> Expression:
    """Read the JSON form of a composed query.

    Args:
        value: what a JSON parser gave.

    Raises:
        UsageError: it is no query (`bad_query`); the message names the field.

    Example:
        >>> read_expression({"sum": [[2, {"text": "sea"}], [-1, {"item": 7}]]}).parts[1][0]
        -1.0
    """
    expression = _read(value, "query", 0)
    check_size(expression)
    return expression


def expression_to_json(expression: Expression) -> dict[str, object]:
    """Write a composed query; `read_expression` reads the same one again.

    Example:
        >>> expression_to_json(Every((Term("sea"), Term("7", kind="item"))))
        {'and': [{'text': 'sea'}, {'item': 7}]}
    """
    if isinstance(expression, Sum):
        return {"sum": [[weight, expression_to_json(part)] for weight, part in expression.parts]}
    if isinstance(expression, Every | Either):
        name = "and" if isinstance(expression, Every) else "or"
        return {name: [expression_to_json(part) for part in expression.parts]}
    written: dict[str, object] = {
        expression.kind: int(expression.value) if expression.kind == "item" else expression.value
    }
    if expression.crop is not None:
        written["crop"] = list(expression.crop)
    if expression.slice_s is not None:
        written["slice_s"] = list(expression.slice_s)
    return written


def _read(value: object, field: str, depth: int) -> Expression:
    if depth > _MAX_DEPTH:
        raise _bad(field, f"is nested more than {_MAX_DEPTH} deep")
    if not isinstance(value, Mapping):
        raise _bad(field, f"is a {type(value).__name__}; it must be an object")
    kinds = [name for name in ("text", "file", "item", "sum", "and", "or") if name in value]
    if len(kinds) != 1:
        raise _bad(field, "must have exactly one of text, file, item, sum, and, or")
    kind = kinds[0]
    allowed = {"file": {"file", "crop", "slice_s"}}.get(kind, {kind})
    unknown = sorted(str(name) for name in value if name not in allowed)
    if unknown:
        raise _bad(f"{field}.{unknown[0]}"[:80], f"is not a field of {kind}")
    inner = value[kind]
    where = f"{field}.{kind}"
    if kind == "sum":
        return Sum(tuple(_addend(p, f"{where}[{n}]", depth) for n, p in _listed(inner, where)))
    if kind in ("and", "or"):
        parts = tuple(_read(p, f"{where}[{n}]", depth + 1) for n, p in _listed(inner, where))
        return Every(parts) if kind == "and" else Either(parts)
    return _term(kind, value, where)


def _term(kind: str, value: Mapping[object, object], field: str) -> Term:
    inner = value[kind]
    if kind == "item":
        if isinstance(inner, bool) or not isinstance(inner, int) or not 0 <= inner < 10**18:
            raise _bad(field, "must be the id of an item, a whole number")
        return Term(str(inner), kind="item")
    if not isinstance(inner, str) or not inner.strip() or len(inner) > _MAX_TEXT:
        raise _bad(field, f"must be a text of 1 to {_MAX_TEXT} characters")
    if kind == "text":
        return Term(inner)
    crop, slice_s = value.get("crop"), value.get("slice_s")
    if crop is not None and slice_s is not None:
        raise _bad(field, "has a crop and a slice_s; a file has one of them")
    if crop is not None:
        left, top, right, bottom = _numbers(crop, 4, f"{field}.crop")
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise _bad(f"{field}.crop", "must be left, top, right, bottom, shares from 0 to 1")
        return Term(inner, kind="file", crop=(left, top, right, bottom))
    if slice_s is not None:
        start, end = _numbers(slice_s, 2, f"{field}.slice_s")
        if not 0 <= start < end:
            raise _bad(f"{field}.slice_s", "must be start and end in seconds")
        return Term(inner, kind="file", slice_s=(start, end))
    return Term(inner, kind="file")


def _addend(value: object, field: str, depth: int) -> tuple[float, Term | Sum]:
    if not _is_list(value) or len(value) != 2:
        raise _bad(field, "must be [weight, query]")
    (weight,) = _numbers([value[0]], 1, f"{field}[0]")
    if weight == 0 or abs(weight) > 1e6:
        raise _bad(f"{field}[0]", "must be a weight other than 0, at most 1000000")
    part = _read(value[1], f"{field}[1]", depth + 1)
    if isinstance(part, Every | Either):
        raise _bad(f"{field}[1]", "is an and/or group, which has no vector to add")
    return weight, part


def _listed(value: object, field: str) -> list[tuple[int, object]]:
    if not _is_list(value) or not 1 <= len(value) <= MAX_TERMS:
        raise _bad(field, f"must be a list of 1 to {MAX_TERMS}")
    return list(enumerate(value))


def _numbers(value: object, n: int, field: str) -> list[float]:
    good = _is_list(value) and len(value) == n
    if not good or not _is_list(value) or not all(_is_number(x) for x in value):
        raise _bad(field, f"must be {n} finite number{'s' if n > 1 else ''}")
    return [float(x) for x in value if isinstance(x, int | float)]


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _bad(field: str, what: str) -> UsageError:
    return UsageError(f"{field} {what}", code="bad_query")
