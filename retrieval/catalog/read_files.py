"""Reading which files were seen, what they hold, and which of them are bad."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast

import sqlalchemy as sa

from retrieval.catalog.chunks import CHUNK, chunks
from retrieval.catalog.records import FileRecord, path_key
from retrieval.catalog.schema import FileRow
from retrieval.types import Failure, row_of


class FileReader:
    """What a Reader can tell of files."""

    _connection: sa.Connection

    def known_files(self, paths: Sequence[str]) -> dict[str, FileRecord]:
        """Look up paths; those never seen are left out."""
        found: dict[str, FileRecord] = {}
        for chunk in chunks(paths):
            keys = [path_key(path) for path in chunk]
            for row in self._connection.execute(
                sa.select(FileRow).where(FileRow.path_key.in_(keys))
            ):
                record = _file_record(row)
                found[record.path] = record
        return found

    def files(self, *, after: bytes = b"", limit: int = CHUNK) -> list[FileRecord]:
        """List files in order of their path's bytes, a page at a time."""
        rows = self._connection.execute(
            sa.select(FileRow)
            .where(FileRow.path_key > after)
            .order_by(FileRow.path_key)
            .limit(limit)
        )
        return [_file_record(row) for row in rows]

    def files_below(self, folder: str) -> list[str]:
        """List the paths under a folder, in order of their bytes."""
        low = path_key(folder).rstrip(b"/") + b"/"
        rows = self._connection.execute(
            sa.select(FileRow.path_key)
            .where(FileRow.path_key > low)
            .where(FileRow.path_key < low[:-1] + b"0")  # "0" follows "/"
            .order_by(FileRow.path_key)
        )
        return [os.fsdecode(key) for key in rows.scalars()]

    def rows_of(self, table: str) -> list[str]:
        """List the rows of a table that names media, as TABLE#ROW, in order of their bytes."""
        low = path_key(f"{table}#")
        rows = self._connection.execute(
            sa.select(FileRow.path_key)
            .where(FileRow.path_key > low)
            .where(FileRow.path_key < low[:-1] + b"$")  # "$" follows "#"
            .order_by(FileRow.path_key)
        )
        found = (os.fsdecode(key) for key in rows.scalars())
        return [path for path in found if row_of(path)[0] == table]

    def paths_by_hash(self, hashes: Iterable[str]) -> dict[str, list[str]]:
        """List the paths that hold given contents, in order of their bytes."""
        found: dict[str, list[str]] = defaultdict(list)
        for chunk in chunks(hashes):
            rows = self._connection.execute(_paths_by_hash(), {"hashes": chunk})
            for content_hash, key in rows:
                found[str(content_hash)].append(os.fsdecode(key))
        return dict(found)

    def failures(self) -> list[Failure]:
        """List the bad files, in order of their paths."""
        rows = self._connection.execute(
            sa.select(FileRow.path_key, FileRow.code, FileRow.reason)
            .where(FileRow.code != "")
            .order_by(FileRow.path_key)
        )
        return [
            Failure(path=os.fsdecode(key), code=code, reason=reason) for key, code, reason in rows
        ]


@cache
def _paths_by_hash() -> sa.Select[*tuple[Any, ...]]:
    """Build the statement once: every search asks it."""
    return (
        sa.select(FileRow.content_hash, FileRow.path_key)
        .where(FileRow.content_hash.in_(sa.bindparam("hashes", expanding=True)))
        .order_by(FileRow.path_key)
    )


def _file_record(row: object) -> FileRecord:
    found = cast(FileRow, row)  # a Row has the columns as attributes
    return FileRecord(
        path=os.fsdecode(found.path_key),
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        caption_stamp=found.caption_stamp,
        content_hash=found.content_hash,
        code=found.code,
        reason=found.reason,
        attempts=found.attempts,
        loader_version=found.loader_version,
    )
