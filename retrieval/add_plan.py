"""Deciding, path by path, what an add has to do: nothing, remember a copy, or load it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from index.storage import hash_file
from retrieval.catalog.chunks import chunks
from retrieval.catalog.read import Reader
from retrieval.catalog.records import LOADER_VERSION, FileRecord, path_key
from retrieval.catalog.store import Catalog
from retrieval.errors import StorageError
from retrieval.media import Found
from retrieval.media.kinds import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from retrieval.media.rows import is_there
from retrieval.types import Failure, row_of

# Left out by rule and told, but no fault of the file.
_TRANSCRIBED = "+transcribed"

NOTED_CODES = frozenset({"symlink_not_followed"})
_PASSING = frozenset({"unreadable", "vanished"})  # of what lies elsewhere: the network's fault


@dataclass
class Plan:
    """What planning found besides the files to load; filled while the plan is being consumed.

    Attributes:
        copies: files whose content the catalog knows under another path, and their records.
        skipped: paths the scan refused, not known as such before.
        n_unchanged, n_unchanged_bad: paths that need nothing, and those of them that are bad.
        n_noted: symbolic links and the like.
    """

    copies: deque[tuple[Found, FileRecord]] = field(default_factory=deque)
    skipped: deque[Failure] = field(default_factory=deque)
    n_unchanged: int = 0
    n_unchanged_bad: int = 0
    n_noted: int = 0


def caption_stamp(found: Found) -> str:
    """Write what tells, beside size and time, whether a file and its caption are as they were."""
    if found.row:
        return found.row
    if found.caption_path is None:
        return found.stamp
    caption = f"{found.caption_size_bytes}:{found.caption_mtime_ns}"
    return f"{found.stamp}+{caption}" if found.stamp else caption


def file_stamp(found: Found, *, is_transcribed: bool) -> str:
    """Write what is kept of a file beside its size and time."""
    return caption_stamp(found) + (_TRANSCRIBED if is_transcribed else "")


def is_transcribed(file: FileRecord | None) -> bool:
    """Tell whether what is said in a file was written down when it was added."""
    return file is not None and file.caption_stamp.endswith(_TRANSCRIBED)


def plan_loads(
    catalog: Catalog, found: Iterable[Found], *, plan: Plan, listens: bool = False
) -> Iterator[Found]:
    """Yield the files that must be loaded, in the order of the scan; note the rest in `plan`.

    Args:
        catalog: of the store.
        found: what the scan yields.
        plan: where the rest is noted.
        listens: sounds that were added without what is said in them are loaded again.
    """
    for chunk in chunks(found):
        with catalog.reading() as reader:
            known = reader.known_files([f.path for f in chunk])
            differ = {f.path for f in chunk if _differs(f, known)}
            if listens:
                differ |= {f.path for f in chunk if _is_unheard(f, known)}
            sizes = reader.known_sizes(f.size_bytes for f in chunk if f.path in differ)
            loads = [f for f in chunk if not _settled(f, known, differ, sizes, reader, plan)]
        yield from loads


def plan_skips(catalog: Catalog, failures: Sequence[Failure], *, plan: Plan) -> None:
    """Note what the scan refused, leaving out what is already on record."""
    with catalog.reading() as reader:
        known = reader.known_files([failure.path for failure in failures])
    for failure in failures:
        before = known.get(failure.path)
        if failure.code in NOTED_CODES:
            plan.n_noted += 1
        elif before is not None and before.code == failure.code:
            plan.n_unchanged_bad += 1
        else:
            plan.skipped.append(failure)


def vanished_files(catalog: Catalog, roots: Sequence[Path]) -> Iterator[str]:
    """List the catalog's paths under `roots` that are no more."""
    bases = [path_key(str(root)) for root in roots]
    after = b""
    while True:
        with catalog.reading() as reader:
            page = reader.files(after=after)
        if not page:
            return
        after = path_key(page[-1].path)
        for file in page:
            key = path_key(file.path)
            below = any(key == base or key.startswith(base.rstrip(b"/") + b"/") for base in bases)
            if below and not is_there(file.path):
                yield file.path


def lost_elsewhere(
    catalog: Catalog, read: Mapping[str, frozenset[str]], *, prune: bool
) -> Iterator[str]:
    """List what places that were read to their end hold no more, if `prune`.

    A place itself is listed where it could not be read before: it is no bad file any more.

    Args:
        catalog: of the store.
        read: URL of a folder or file, or shard -> what was found there.
        prune: see above.
    """
    for root, paths in read.items():
        with catalog.reading() as reader:
            if root not in paths and reader.known_files([root]):
                yield root
            held = reader.files_below(root) if prune else []
        yield from (path for path in held if path not in paths)


def lost_rows(catalog: Catalog, tables: Mapping[str, frozenset[int]]) -> Iterator[str]:
    """List what tables that were read again hold no more.

    Args:
        catalog: of the store.
        tables: path -> the rows it has; none where it is a plain text.
    """
    for table, rows in tables.items():
        with catalog.reading() as reader:
            if rows and table in reader.known_files([table]):
                yield table  # it was added as a text before
        with catalog.reading() as reader:
            held = reader.rows_of(table)
        yield from (path for path in held if row_of(path)[1] not in rows)


def _differs(found: Found, known: dict[str, FileRecord]) -> bool:
    """Tell whether a path is new, or not as it was when it was last looked at."""
    before = known.get(found.path)
    if before is None:
        return True
    stamp = before.caption_stamp.removesuffix(_TRANSCRIBED)
    same = (before.size_bytes, before.mtime_ns, stamp) == (
        found.size_bytes,
        found.mtime_ns,
        caption_stamp(found),
    )
    if found.stamp and before.code in _PASSING:
        return True
    return not same or (bool(before.code) and before.loader_version != LOADER_VERSION)


def _is_unheard(found: Found, known: dict[str, FileRecord]) -> bool:
    """Tell whether a known sound was added without what is said in it."""
    before = known.get(found.path)
    if before is None or before.code or is_transcribed(before):
        return False
    suffixes = {os.path.splitext(path)[1].lower() for path in (found.path, *found.row_paths)}
    return not suffixes.isdisjoint(AUDIO_SUFFIXES | VIDEO_SUFFIXES)


def _settled(
    found: Found,
    known: dict[str, FileRecord],
    differ: set[str],
    sizes: set[int],
    reader: Reader,
    plan: Plan,
) -> bool:
    """Settle a path without loading it, where that is possible."""
    if found.path not in differ:
        plan.n_unchanged += 1
        plan.n_unchanged_bad += bool(known[found.path].code)
        return True
    before = known.get(found.path)
    had_caption = before is not None and before.caption_stamp.removesuffix(_TRANSCRIBED) != ""
    if before is not None and not _differs(found, known):
        return False  # as it was, and to be listened to
    is_new = bool(found.row or found.stamp) or found.size_bytes not in sizes
    if is_new or found.caption_path is not None or had_caption:
        return False  # unknown content, or a caption to read or to take away
    try:
        content_hash = hash_file(Path(found.path))
    except StorageError:
        return False  # the loader will say what is wrong with it
    if not reader.items_by_hash(content_hash):
        return False
    record = FileRecord(
        path=found.path,
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        caption_stamp="",
        content_hash=content_hash,
    )
    plan.copies.append((found, record))
    return True
