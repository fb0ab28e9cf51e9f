"""What a user typed, as a Query."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from retrieval.config import expand_home
from retrieval.errors import UsageError
from retrieval.query.expression import check_size, refine, write
from retrieval.query.parse import looks_composed, parse
from retrieval.types import MODALITIES, Either, Every, Expression, Modality, Query, Sum, Term

MAX_K = 1000
MAX_DEPTH = 10_000
"""Most of k + offset: how deep a list can be paged."""
_STORED = re.compile(r"#(\d{1,18})")
_PATH_STARTS = ("./", "../", "/", "~/")


def make_query(
    value: str | Path | int | Expression,
    *,
    k: int,
    modality: str | None,
    where: str = "",
    min_confidence: float = 0.0,
    offset: int = 0,
    hybrid: bool = True,
) -> Query:
    """Make a Query from what Python code gives.

    Args:
        value: a text (str), a media file (Path), a stored item's id (int), or a composed query.
        k: how many hits, 1 to 1000.
        modality: of the items wanted; None or `any` for all.
        where: a condition on the items' fields; empty for none.
        min_confidence: hits below are left out, 0 to 1.
        offset: how many of the best are passed over.
        hybrid: texts are also looked up word by word.

    Raises:
        UsageError: `empty_query`, `bad_k`, `bad_offset`, `bad_modality` or `bad_confidence`.

    Example:
        >>> make_query("a red parrot", k=5, modality="image").kind
        'text'
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise UsageError(f"k is {k!r}; it must be a whole number from 1 to {MAX_K}", code="bad_k")
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= MAX_DEPTH - k:
        raise UsageError(
            f"k is {k} and offset {offset!r}; together they must be at most {MAX_DEPTH}",
            code="bad_offset",
        )
    if isinstance(min_confidence, bool) or not (
        isinstance(min_confidence, int | float) and 0 <= min_confidence <= 1
    ):
        raise UsageError(
            f"min_confidence is {min_confidence!r}; it must be a number from 0 to 1",
            code="bad_confidence",
        )
    text, kind = _value(value)
    return Query(
        value=text,
        kind=kind,
        k=k,
        modality=_modality(modality),
        expression=value if isinstance(value, Term | Sum | Every | Either) else None,
        where=where,
        min_confidence=float(min_confidence),
        offset=offset,
        hybrid=hybrid,
    )


def _value(value: object) -> tuple[str, Literal["text", "file", "item", "composed"]]:
    if isinstance(value, Term | Sum | Every | Either):
        check_size(value)
        return write(value), "composed"
    if isinstance(value, Path):
        return str(expand_home(value).absolute()), "file"
    if isinstance(value, int):
        return str(value), "item"
    if not isinstance(value, str):
        raise UsageError(
            f"the query is a {type(value).__name__}; give a str, a pathlib.Path, an item's id, "
            "or what parse() gives",
            code="bad_query",
        )
    if not value.strip():
        raise UsageError("the query is empty; say what to look for", code="empty_query")
    return value, "text"


def read_query(typed: str, *, syntax: str = "auto") -> str | Path | int | Expression:
    """Read what was typed: `./bark.ogg` is a file, `#12` a stored item, the rest text.

    Args:
        typed: the query.
        syntax: `auto` reads as a composed query what clearly is one, see
            `retrieval.query.parse.looks_composed`; `composed` everything; `text` nothing at all.

    Raises:
        UsageError: a composed query is malformed; the message names the column.

    Example:
        >>> read_query("#12"), read_query("a dog")
        (12, 'a dog')
        >>> read_query("./bark.ogg").name
        'bark.ogg'
        >>> [w for w, _ in read_query('"2:beach" - people').parts]
        [2.0, -1.0]
    """
    if syntax == "text":
        return typed
    if syntax == "composed" or looks_composed(typed):
        return parse(typed)
    stored = _STORED.fullmatch(typed)
    if stored:
        return int(stored.group(1))
    if typed.startswith(_PATH_STARTS):
        return Path(typed)
    return typed


def read_typed(typed: str, *, syntax: str = "auto") -> str | Path | int | Expression:
    """Read what was typed on this machine: the path of a file that is there is that file.

    Args:
        typed: the query; `./Artist - Song.mp3` and `./a.jpg[0,0,1,1]` are files where there are
            such, whatever the names hold that would compose a query.
        syntax: see `read_query`.

    Raises:
        UsageError: see `read_query`.

    Example:
        >>> read_typed("/dev/null").name, read_typed("a dog")
        ('null', 'a dog')
    """
    if syntax == "auto" and typed.startswith(_PATH_STARTS):
        path = expand_home(typed)
        if os.path.lexists(path):
            return path
    return read_query(typed, syntax=syntax)


def refined(
    value: str | Path | int | Expression, *, more: Sequence[int], less: Sequence[int]
) -> str | Path | int | Expression:
    """Move what `read_query` gave towards some items and away from others.

    Example:
        >>> refined("sea", more=[], less=[])
        'sea'
    """
    if not more and not less:
        return value
    if isinstance(value, Term | Sum | Every | Either):
        return refine(value, more=more, less=less)
    text, kind = _value(value)
    return refine(Term(text, kind="text" if kind == "composed" else kind), more=more, less=less)


def read_target(typed: str) -> str | int:
    """Read one command line argument that names an item: `#12` is its id, the rest its path.

    Example:
        >>> read_target("#12"), read_target("a.jpg")
        (12, 'a.jpg')
    """
    stored = _STORED.fullmatch(typed)
    return int(stored.group(1)) if stored else typed


def _modality(name: str | None) -> Modality | None:
    if name is None or name == "any":
        return None
    for known in MODALITIES:
        if known == name:
            return known
    raise UsageError(
        f"modality is {name!r}; it must be one of any, {', '.join(MODALITIES)}",
        code="bad_modality",
    )
