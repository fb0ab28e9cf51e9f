"""The user's own columns: a table of paths and values beside the media, for filters and programs.

A csv or tsv file names its columns in the first row, a jsonl file has one object a line, a parquet
file is a table already. One column says whose the values are: `path`, `file`, `filename` or
`file_name`, absolute or from the table's folder on; `texts.csv#3` is the third row of a text table.
A column `tags` or `tag` gives tags, between commas or semicolons, or as a list. Values are numbers,
true and false, or texts; an empty one takes away what was there.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.catalog.conditions import FIELDS, Kind, Value
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.errors import InputError, UsageError
from retrieval.media.details import clean_tags
from retrieval.media.table import Cells, read_table
from retrieval.query.where import KEYWORDS

_PATH_NAMES = ("path", "file", "filename", "file_name")
_TAG_NAMES = ("tags", "tag")
_MAX_COLUMNS, _MAX_TEXT_CHARS, _MAX_NAME_CHARS = 100, 10_000, 60
_NAME = re.compile(r"[^\W\d]\w*")
_WORDS = {"true": True, "false": False, "yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class ColumnsReport:
    """What a table of columns brought.

    Attributes:
        columns: the columns and their kinds.
        n_rows: of the table.
        n_items: items that got values or tags.
        n_unknown: rows whose path is not in the store.
        unknown: the first ten of these paths.
    """

    columns: Mapping[str, Kind]
    n_rows: int
    n_items: int
    n_unknown: int
    unknown: tuple[str, ...] = field(default=())


def add_columns(table: Path, *, catalog: Catalog) -> ColumnsReport:
    """Write a table's values to the items of a store whose writer lock is held.

    Args:
        table: a csv, tsv, jsonl or parquet file.
        catalog: of the store.

    Returns:
        What was written; nothing is where anything is raised.

    Raises:
        InputError: the table cannot be read (`bad_table`).
        UsageError: a column has no name of its own or the wrong kind of values (`bad_columns`).
        BackendMissingError: a parquet file, and pyarrow is not installed.
    """
    rows = [
        (_absolute(path, table.parent), cells) for path, cells in _paths(read_table(table), table)
    ]
    names = list(dict.fromkeys(name for _, cells in rows for name in cells))
    tag_name = next((name for name in _TAG_NAMES if name in names), None)
    wanted = {name: _column_name(name) for name in names if name != tag_name}

    def put(writer: Writer) -> tuple[dict[str, Kind], dict[str, int], int]:
        known = writer.columns()
        if len(wanted) + len(known) > _MAX_COLUMNS:
            raise _bad(f"there would be more than {_MAX_COLUMNS} columns; leave some out")
        kinds = {own: _kind(own, (c.get(n) for _, c in rows), known) for n, own in wanted.items()}
        items = writer.items_at([path for path, _ in rows])
        told = {
            items[path]: {own: _value(cells.get(n), kinds[own]) for n, own in wanted.items()}
            for path, cells in rows
            if path in items
        }
        writer.touch()  # hits show columns, and readers keep items as long as a generation lasts
        writer.put_columns(kinds, list(told.items()))
        if tag_name is not None:
            tagged = {items[p]: _tags(c.get(tag_name)) for p, c in rows if p in items}
            writer.put_tags(list(tagged.items()))
        return kinds, items, len(told)

    kinds, items, n_told = catalog.write(put)
    unknown = [path for path, _ in rows if path not in items]
    return ColumnsReport(kinds, len(rows), n_told, len(unknown), tuple(unknown[:10]))


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(os.path.join(os.path.abspath(folder), os.path.expanduser(path)))


def _paths(rows: Iterable[Cells], table: Path) -> Iterator[tuple[str, Cells]]:
    """Take each row's path out of it."""
    for number, row in enumerate(rows, start=1):
        lowered = {name.strip().lower(): name for name in row}
        key = next((lowered[name] for name in _PATH_NAMES if name in lowered), None)
        path = row.get(key) if key is not None else None
        if not isinstance(path, str) or not path.strip():
            raise InputError(
                f"{table}: row {number} has no path; name the column of paths 'path'",
                code="bad_table",
            )
        yield path, {name: value for name, value in row.items() if name != key}


def _column_name(name: str) -> str:
    """Make a name that a filter can spell: what is no letter or digit becomes `_`."""
    own = re.sub(r"\W+", "_", name.strip()).strip("_")
    if not _NAME.fullmatch(own) or len(own) > _MAX_NAME_CHARS or own.lower() in KEYWORDS:
        raise _bad(f"{name!r:.80} cannot be the name of a column; begin it with a letter")
    if own in FIELDS:
        raise _bad(f"{own} is a field of every item already; give the column another name")
    return own


def _kind(name: str, values: Iterable[object], known: Mapping[str, Kind]) -> Kind:
    """Tell what the values of a column are; one that the store has keeps its kind."""
    found = {_kind_of(value) for value in values if not _is_empty(value)}
    before = known.get(name)
    if before is None:
        return found.pop() if len(found) == 1 else "text"
    if before != "text" and found - {before}:
        raise _bad(
            f"column {name} is of kind {before} in the store, and some values here are of kind "
            f"{min(found - {before})}; change them, or name the column otherwise"
        )
    return before


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in _WORDS):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "number" if isinstance(value, str) and _number(value) is not None else "text"


def _is_empty(value: object) -> bool:
    if isinstance(value, float) and math.isnan(value):
        return True
    return value is None or (isinstance(value, str) and not value.strip())


def _value(value: object, kind: Kind) -> Value | None:
    if _is_empty(value):
        return None
    if kind == "bool":
        return value if isinstance(value, bool) else _WORDS[str(value).strip().lower()]
    if kind == "number":
        return float(str(value))
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    cleaned = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    if len(cleaned) > _MAX_TEXT_CHARS:
        raise _bad(f"a text has {len(cleaned):,} characters; the limit is {_MAX_TEXT_CHARS:,}")
    return cleaned


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _tags(value: object) -> Sequence[str]:
    if isinstance(value, list):
        return clean_tags([str(tag) for tag in value])
    return clean_tags(re.split("[,;]", "" if _is_empty(value) else str(value)))


def _bad(what: str) -> UsageError:
    return UsageError(what, code="bad_columns")
