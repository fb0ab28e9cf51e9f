"""What a user typed, as a Query."""

from __future__ import annotations

import re
from pathlib import Path

from retrieval.errors import UsageError
from retrieval.types import MODALITIES, Modality, Query

MAX_K = 1000
_STORED = re.compile(r"#(\d{1,18})")


def make_query(value: str | Path | int, *, k: int, modality: str | None) -> Query:
    """Make a Query from what Python code gives.

    Args:
        value: a text (str), a media file (Path) or a stored item's id (int).
        k: how many hits, 1 to 1000.
        modality: of the items wanted; None or `any` for all.

    Raises:
        UsageError: `empty_query`, `bad_k` or `bad_modality`.

    Example:
        >>> make_query("a red parrot", k=5, modality="image").kind
        'text'
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise UsageError(f"k is {k!r}; it must be a whole number from 1 to {MAX_K}", code="bad_k")
    wanted = _modality(modality)
    if isinstance(value, Path):
        return Query(value=str(value.expanduser().absolute()), kind="file", k=k, modality=wanted)
    if isinstance(value, int):
        return Query(value=str(value), kind="item", k=k, modality=wanted)
    if not isinstance(value, str):
        raise UsageError(
            f"the query is a {type(value).__name__}; give a str, a pathlib.Path or an item's id",
            code="bad_query",
        )
    if not value.strip():
        raise UsageError("the query is empty; say what to look for", code="empty_query")
    return Query(value=value, kind="text", k=k, modality=wanted)


def read_query(typed: str) -> str | Path | int:
    """Read one command line argument: `./bark.ogg` is a file, `#12` a stored item, the rest text.

    Example:
        >>> read_query("#12"), read_query("a dog")
        (12, 'a dog')
        >>> read_query("./bark.ogg").name
        'bark.ogg'
    """
    stored = _STORED.fullmatch(typed)
    if stored:
        return int(stored.group(1))
    if typed.startswith(("./", "../", "/", "~/")):
        return Path(typed)
    return typed


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
