"""Checking a catalog against what was written: rows by their checksums, the tables by SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import sqlalchemy as sa

from retrieval.catalog import fulltext
from retrieval.catalog.records import printable
from retrieval.catalog.schema import Base, FileRow, TextRow
from retrieval.catalog.seal import PROTECTED, Row, digest

_MOST_TOLD = 10


def check_rows(connection: sa.Connection) -> Iterator[tuple[str, bool]]:
    """Yield each protected row's name and whether it is what was written."""
    for table in PROTECTED:
        keys = [key.name for key in sa.inspect(table).primary_key]
        for row, words in _rows(connection, table):
            name = "-".join(str(row[key]) for key in keys)
            intact = digest(table, row, words=words) == row["checksum"]
            if table is FileRow and intact:  # its printable form is made of its bytes
                intact = row["path"] == printable(os.fsdecode(row["path_key"]))
            yield f"{table.__tablename__} row {name}", intact


def check_structure(connection: sa.Connection) -> list[str]:
    """Name what SQLite itself finds wrong with its tables; PostgreSQL has no such look."""
    if connection.dialect.name != "sqlite":
        return []
    rows = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_TOLD})").scalars()
    found = [str(line) for line in rows if line != "ok"]
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        found.append(f"{table} row {row} belongs to no row of {parent}")
    return found[:_MOST_TOLD]


def _rows(connection: sa.Connection, table: type[Base]) -> Iterator[tuple[Row, list[str]]]:
    if table is TextRow:
        yield from fulltext.rows(connection)
        return
    found = connection.execution_options(yield_per=1000).execute(sa.select(table))
    for row in found.mappings():
        yield dict(row), []
