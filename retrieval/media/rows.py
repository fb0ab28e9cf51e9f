"""Tables whose rows name media: a picture, a sound, a caption beside each other are one item.

A column named `image`, `picture`, `photo`, `audio`, `sound`, `recording`, `video`, `clip` or the
like (also `image_path`, `audio_file`, `images`) holds paths from the table's folder on. The columns
that hold a text table's text (`caption`, `title`, ...) hold the row's. A row is found under
`TABLE#ROW`, counted from 1, and a cell that is empty is no part of it. Files outside the table's
folder are refused: a table that somebody else wrote must not bring in what lies elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from retrieval.errors import BadMediaError, InputError
from retrieval.media.kinds import MEDIA_SUFFIXES, TEXT_SUFFIXES
from retrieval.media.scan import Found
from retrieval.media.shards import shard_of
from retrieval.media.table import TABLE_SUFFIXES, Cells, read_table
from retrieval.media.text import MAX_CAPTION_CHARS, TEXT_KEYS, has_words
from retrieval.media.urls import is_url
from retrieval.types import Failure, row_of

_COLUMN = re.compile(
    r"(?:image|img|picture|photo|frame|audio|sound|recording|song|speech|video|movie|clip)s?"
    r"(?:[ _-]?(?:path|file|filename|file[ _-]name))?"
)
_MEDIA = MEDIA_SUFFIXES - TEXT_SUFFIXES
_ROWS_LOOKED_AT = 100

OnTable = Callable[[str, frozenset[int]], None]
"""Is told of each table: its path, and which rows it has; none where it is a plain text."""


def is_there(path: str) -> bool:
    """Tell whether a file, or the table or shard that it is of, is still there.

    What lies at a URL counts as there: only a scan of its folder can tell.
    """
    places = (path, row_of(path)[0], shard_of(path))
    return is_url(path) or any(os.path.lexists(place) for place in places if place)


def with_rows(
    found: Iterable[Found],
    *,
    roots: Sequence[Path],
    on_skip: Callable[[Failure], None],
    on_table: OnTable,
) -> Iterator[Found]:
    """Put the rows of tables that name media in the place of these tables.

    Only tables that are named themselves are looked into; in a folder they are texts.

    Args:
        found: what `scan` yields.
        roots: what was scanned.
        on_skip: is told of rows that cannot be taken (`outside_table`).
        on_table: is told of every named table.

    Yields:
        Everything found, rows of tables in their order.

    Raises:
        BackendMissingError: a parquet file, and pyarrow is not installed.
    """
    named = {os.path.realpath(root) for root in roots}
    for one in found:
        if one.path not in named or not one.path.lower().endswith(TABLE_SUFFIXES):
            yield one
            continue
        refused: list[Failure] = []
        rows = list(_rows_of(one, on_skip=refused.append))
        known = [row.path for row in rows] + [failure.path for failure in refused]
        on_table(one.path, frozenset(row_of(path)[1] for path in known))
        for failure in refused:
            on_skip(failure)
        yield from rows if rows or refused else (one,)


def find_row(path: str) -> Found | None:
    """Find a row of a table that names media; None where the path is none.

    Raises:
        BadMediaError: the row names a file outside the table's folder (`outside_table`).
    """
    base, number = row_of(path)
    if not number or not base.lower().endswith(TABLE_SUFFIXES) or not os.path.isfile(base):
        return None
    skipped: list[Failure] = []
    table = Found(base, 0, 0, 0, 0)
    row = next((r for r in _rows_of(table, on_skip=skipped.append) if r.path == path), None)
    for failure in skipped:
        if failure.path == path:
            raise BadMediaError(failure.reason, code=failure.code)
    return row


def file_of(path: str, *, suffixes: frozenset[str]) -> str:
    """Give a path itself, or, for a row, the first of its files that is there with such a suffix.

    Args:
        path: of a file, or TABLE#ROW.
        suffixes: lower case, with the dot.
    """
    row = None if os.path.lexists(path) else find_row(path)
    own = row.row_paths if row is not None else ()
    fitting = (p for p in own if os.path.splitext(p)[1].lower() in suffixes and os.path.isfile(p))
    return next(fitting, path)


def _rows_of(table: Found, *, on_skip: Callable[[Failure], None]) -> Iterator[Found]:
    """Yield the rows of a table; nothing where it names no media or cannot be read as a table."""
    folder = os.path.dirname(table.path)
    try:
        first = list(islice(read_table(Path(table.path)), _ROWS_LOOKED_AT))
        if not any(os.path.isfile(path) for row in first for path in _paths(row, folder)):
            return
        rows = list(read_table(Path(table.path)))
    except InputError:
        return  # as a text it may still be of use
    for number, cells in enumerate(rows, start=1):
        place = f"{table.path}#{number}"
        paths, text = _paths(cells, folder), _text(cells)
        outside = next((path for path in paths if not _is_below(path, folder)), None)
        if outside is not None:
            reason = (
                f"{place}: it names {outside}, which is not below the table's folder {folder}; "
                "move the table to a folder that holds all its files"
            )
            on_skip(Failure(place, "outside_table", reason))
        elif paths or has_words(text):
            yield _row(place, tuple(paths), text)


def _row(place: str, paths: tuple[str, ...], text: str) -> Found:
    """Stamp a row by what it says and by the stamps of its files."""
    stamps = [_stamp(path) for path in paths]
    said = hashlib.sha256(repr((paths, stamps, text)).encode("utf-8", "backslashreplace"))
    return Found(
        place,
        size_bytes=sum(size for size, _ in stamps),
        mtime_ns=max((mtime for _, mtime in stamps), default=0),
        inode=0,
        device=0,
        row=said.hexdigest(),
        row_paths=paths,
        row_text=text,
    )


def _stamp(path: str) -> tuple[int, int]:
    try:
        seen = os.stat(path, follow_symlinks=False)
    except OSError:
        return 0, 0  # the row has what is there; when the file comes, the row has changed
    return seen.st_size, seen.st_mtime_ns


def _paths(cells: Cells, folder: str) -> list[str]:
    """List the media files that a row names, in the order of its columns, each once."""
    found: dict[str, None] = {}
    for name, value in cells.items():
        if not _COLUMN.fullmatch(name.strip().lower()):
            continue
        for cell in value if isinstance(value, list) else [value]:
            if isinstance(cell, str) and os.path.splitext(cell.strip())[1].lower() in _MEDIA:
                found[os.path.normpath(os.path.join(folder, cell.strip()))] = None
    return list(found)


def _text(cells: Cells) -> str:
    """Give what a row says, best column first, each text once."""
    lowered = {name.strip().lower(): value for name, value in cells.items()}
    said = [lowered[key] for key in TEXT_KEYS if isinstance(lowered.get(key), str)]
    clean = (text.encode("utf-8", "replace").decode().replace("\0", "").strip() for text in said)
    return "\n".join(dict.fromkeys(text for text in clean if text))[:MAX_CAPTION_CHARS]


def _is_below(path: str, folder: str) -> bool:
    """Tell whether a path stays below a folder when links are followed."""
    base = os.path.realpath(folder)
    return os.path.commonpath([base, os.path.realpath(path)]) == base
