"""Printing for people (aligned, escaped) and for programs (JSON)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path

import click

from retrieval.query.results import SAME, hits_to_json
from retrieval.types import Hit

_SNIPPET = 60
_UNSURE = 0.5  # half of all unrelated queries find something as good


def escape(text: str) -> str:
    """Write text so that no control character, escape code or text direction reaches the terminal.

    Example:
        >>> escape("a" + chr(27) + "[31m" + chr(0x202E))
        'a\\\\x1b[31m\\\\u202e'
    """
    whole = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)


def is_terminal() -> bool:
    """Tell whether results go to somebody's eyes."""
    return sys.stdout.isatty()


def short_path(path: str) -> str:
    """Write a path relative to the working directory where it lies below it, escaped."""
    here = str(Path.cwd()).rstrip("/") + "/"
    home = str(Path.home()).rstrip("/") + "/"
    if path.startswith(here):
        return escape(path[len(here) :])
    return escape("~/" + path[len(home) :] if path.startswith(home) else path)


def clock(seconds: float) -> str:
    """Write a time in a sound or video.

    Example:
        >>> clock(75.5)
        '1:15.5'
    """
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def plural(n: int, noun: str) -> str:
    """Write a count with its noun.

    Example:
        >>> plural(1, "file"), plural(2, "copy")
        ('1 file', '2 copies')
    """
    if n == 1:
        return f"1 {noun}"
    return f"{n} {noun[:-1]}ies" if noun.endswith("y") else f"{n} {noun}s"


def say(line: str) -> None:
    """Print one line for people on stderr."""
    click.echo(line, err=True)


def say_warnings() -> None:
    """Print what the library warns of, each as one line, from now on.

    Called where the library has been imported: a command that asks a server has no use for it.
    """
    import logging

    class Sayer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(f"warning: {escape(record.getMessage())}")

    for name in ("retrieval", "index"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(Sayer(logging.WARNING))


def print_json(value: object) -> None:
    """Print one JSON object; dataclasses become objects."""
    click.echo(json.dumps(value, default=_plain, indent=2))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_hits(
    hits: Sequence[Hit], *, query: str, as_json: bool, as_jsonl: bool, as_files: bool
) -> None:
    """Print hits in the form asked for."""
    if as_json:
        click.echo(json.dumps({"query": query, "hits": hits_to_json(hits)}, indent=2))
    elif as_jsonl:
        for row in hits_to_json(hits):
            click.echo(json.dumps(row))
    elif as_files:
        for hit in hits:
            # Programs get the bytes of the name; people get what drives no terminal.
            click.echo(escape(hit.path) if is_terminal() else os.fsencode(hit.path))
    elif hits:
        for hit in hits:
            click.echo(_line(hit))
    else:
        say(
            "nothing matches: no item fits the filters and limits given, or the store has none; "
            "see: crossfind index status"
        )
    if as_json or as_jsonl or as_files or not hits:
        return
    if hits[0].by == "vector" and hits[0].score < SAME:
        best = max((h.confidence for h in hits if h.confidence is not None), default=1.0)
        if best < _UNSURE:
            say(f"note: nothing clearly matches; the best hit is {best:.0%} sure")


def _line(hit: Hit) -> str:
    sure = "" if hit.confidence is None else f"{hit.confidence:4.0%}  "
    line = f"{hit.rank:>3}  {hit.score:6.3f}  {sure}{hit.modality:<5}  {short_path(hit.path)}"
    if hit.start_s is not None and hit.end_s is not None:
        line += f"  {clock(hit.start_s)}-{clock(hit.end_s)}"
    if hit.text:
        text = " ".join(hit.text.split())
        line += f'  "{escape(text[:_SNIPPET])}{"..." if len(text) > _SNIPPET else ""}"'
    if hit.by != "vector":
        line += f"  [{'words' if hit.by == 'text' else 'words too'}]"
    if hit.copies:
        line += f"  (+{plural(len(hit.copies), 'copy')})"
    return line


def print_table(rows: Mapping[str, object]) -> None:
    """Print names and values, aligned."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        click.echo(f"{name:<{width}}  {value}")
