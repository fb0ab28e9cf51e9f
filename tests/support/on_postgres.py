"""The tests of stores once more, with every catalog in a database of its own on PostgreSQL.

    pytest --catalog postgresql tests/catalog tests/engine

A store of a test opens its catalog by the place of the SQLite file that it would have; here each
such place is a new database. What is told of SQLite's own files is skipped, and named with why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa
from postgres import fresh_database

import retrieval.engine
from retrieval.catalog.store import Catalog
from retrieval.store import Store

ABOUT_SQLITE = {
    "test_catalog.py::test_tables_without_a_revision_are_not_touched": "makes the file itself",
    "test_connect.py::test_a_catalog_torn_by_a_power_cut_is_left_to_its_journal": "its journal",
    "test_connect.py::test_what_a_new_catalog_would_not_have_is_named": "what a backup may hold",
    "test_fulltext.py::test_a_catalog_of_the_format_before_gets_its_texts": "reads an old file",
    "test_checksums.py::test_words_that_are_no_text_any_more_name_their_text": "FTS5's own table",
    "test_checksums.py::test_a_name_in_the_schema_that_is_no_text_is_damage": "bytes of the file",
    "test_checksums.py::test_what_sqlite_itself_finds_wrong_is_told": "its integrity check",
    "test_lifecycle.py::test_a_lost_catalog_is_never_recreated_over": "the file is lost",
    "test_live_changes.py::test_a_search_that_waits_for_a_writer_keeps_no_other_from_going_on": (
        "readers wait for its writers"
    ),
    "test_stops.py::test_a_disk_that_takes_no_more_ends_in_exit_6_and_loses_nothing[160]": (
        "its file alone grows so large"
    ),
    "test_backup.py": "its file goes into the backup; PostgreSQL has pg_dump",
    "test_checksums.py::test_rows_of_the_format_before_get_their_checksums": "reads an old file",
}
"""Test, or file of tests -> what of SQLite's it is about."""


_DATABASES: dict[str, str] = {}
"""Place of an SQLite file that would be -> URL of the database that is there instead."""


def catalog_settings(store: Path) -> dict[str, str]:
    """Give the variables by which a process of its own finds a store's catalog."""
    url = _DATABASES.get(str((store / "catalog.sqlite").absolute()))
    return {} if url is None else {"CROSSFIND_CATALOG": url}


def reason_to_skip(node_id: str) -> str:
    """Tell why a test is left out on PostgreSQL; empty where it is not."""
    whole = node_id.rpartition("/")[2]
    names = (whole, whole.partition("[")[0], whole.partition("::")[0])
    return next((ABOUT_SQLITE[name] for name in names if name in ABOUT_SQLITE), "")


@contextmanager
def catalogs_on(root: str) -> Iterator[None]:
    """Have every catalog that would be an SQLite file be a database of a server.

    Args:
        root: URL of any database of the server.
    """
    empty = fresh_database(root)
    model = Catalog.open(Path("none"), uuid="model", url=empty, create=True)
    with model.writing() as writer:
        writer._connection.execute(sa.text("DELETE FROM store"))
    model.close()
    databases = _DATABASES

    def url_of(path: Path) -> str:
        place = str(path.absolute())
        if place not in databases:
            databases[place] = fresh_database(root, like=empty)
        return databases[place]

    opened = Catalog.open.__func__  # type: ignore[attr-defined]
    open_catalog = retrieval.engine.open_catalog

    def open_there(
        cls: type[Catalog], path: Path, *, uuid: str, url: str = "", create: bool = False
    ) -> Any:
        is_new = create or str(path.absolute()) in databases
        return opened(
            cls, path, uuid=uuid, url=url or url_of(path) if is_new else url, create=create
        )

    def open_store(store: Store, *, url: str) -> Catalog:
        return open_catalog(store, url=url or url_of(store.catalog_path))

    with (
        mock.patch.object(Catalog, "open", classmethod(open_there)),
        mock.patch.object(retrieval.engine, "open_catalog", open_store),
    ):
        yield
