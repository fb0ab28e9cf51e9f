"""Read where the recipe's sources are installed, from a TOML file such as sources.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from retrieval.errors import UsageError
from retrieval.training.starter.pictures import PictureSources
from retrieval.training.starter.run import Sources
from retrieval.training.starter.sounds_pools import AudioSources
from retrieval.training.starter.text import TextSources

T = TypeVar("T", Sources, TextSources, PictureSources, AudioSources)


def read_sources(path: Path) -> Sources:
    """Read a sources file.

    Args:
        path: TOML; relative paths in it start at its folder.

    Returns:
        The sources, each of which exists.

    Raises:
        UsageError: the file is absent or no TOML, has a wrong field, or names what is not there
            (`bad_sources`).
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", code="bad_sources") from error
    parts: dict[str, Any] = dict(told)  # Any: TOML
    parts["text"] = _make(TextSources, told.get("text", {}), path=path)
    parts["pictures"] = _make(PictureSources, told.get("pictures", {}), path=path)
    if "sounds" in told:
        parts["sounds"] = _make(AudioSources, told["sounds"], path=path)
    return _make(Sources, parts, path=path)


def _make(kind: type[T], told: Mapping[str, Any], *, path: Path) -> T:  # Any: TOML
    wanted = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    wrong = sorted((set(told) - wanted) | (needed - set(told)))
    if wrong:
        raise UsageError(
            f"{path}: {', '.join(wrong)} missing or unknown; {kind.__name__} has "
            f"{', '.join(sorted(wanted))}",
            code="bad_sources",
        )
    return kind(**{name: _path(value, path=path) for name, value in told.items()})


def _path(value: Any, *, path: Path) -> Any:  # Any: TOML in, sources out
    """Make paths of strings, and check that they are there."""
    if isinstance(value, dict):
        return {key: _path(inner, path=path) for key, inner in value.items()}
    if isinstance(value, list):
        return [_path(inner, path=path) for inner in value]
    if not isinstance(value, str):
        return value
    found = path.parent / value
    if not found.exists():
        raise UsageError(
            f"{path} names {value}, and {found} is not there; install it or set the path",
            code="bad_sources",
        )
    return found
