"""What a database says, in our words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from retrieval.catalog import connect as connecting
from retrieval.catalog import turns
from retrieval.catalog.connect import connect, sqlite_url, translated
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.errors import (
    CatalogDamagedError,
    ConnectionLostError,
    CrossfindError,
    LockedError,
    StorageError,
    UsageError,
)


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        ("file is not a database", CatalogDamagedError, "catalog_damaged"),
        ("database disk image is malformed", CatalogDamagedError, "catalog_damaged"),
        ("permission denied for table store", UsageError, "catalog_rights"),
        ("database is locked", LockedError, "catalog_locked"),
        ("database or disk is full", StorageError, "disk_full"),
        ("attempt to write a readonly database", StorageError, "disk_read_only"),
        ("cannot execute INSERT in a read-only transaction", StorageError, "disk_read_only"),
        ("disk I/O error", StorageError, "catalog_error"),
        ("", StorageError, "catalog_error"),
    ],
)
def test_an_error_of_the_database_becomes_ours_with_its_words(
    tmp_path: Path, said: str, kind: type[CrossfindError], code: str
) -> None:
    engine = connect(sqlite_url(tmp_path / "a.sqlite"))
    with pytest.raises(kind) as caught, translated(engine):
        raise exc.OperationalError("SELECT", {}, sqlite3.OperationalError(said))
    assert caught.value.code == code
    assert said in str(caught.value)
    assert "a.sqlite" in str(caught.value)


def test_a_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "a.sqlite"))
    with pytest.raises(CatalogDamagedError, match="decode"), translated(engine):
        b"\xff".decode("utf-8")


def test_a_password_is_never_in_a_message() -> None:
    engine = connect("postgresql://me:secret@nowhere.invalid/db")
    with pytest.raises(CrossfindError) as caught, translated(engine):
        raise exc.OperationalError("SELECT", {}, sqlite3.OperationalError("no route"))
    assert "secret" not in str(caught.value)


def test_a_missing_driver_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(connecting.sa, "create_engine", missing)
    with pytest.raises(UsageError, match=r"crossfind\[postgres\]") as caught:
        connect("postgresql://nowhere.invalid/db")
    assert caught.value.code == "backend_missing"


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        connect("not a url")
    assert caught.value.code == "bad_catalog_url"


def test_a_catalog_of_another_store_is_refused(tmp_path: Path) -> None:
    Catalog.open(tmp_path / "a.sqlite", uuid="one", create=True).close()
    with pytest.raises(CatalogDamagedError, match="belongs to store one, not to two"):
        Catalog.open(tmp_path / "a.sqlite", uuid="two")


def test_a_catalog_torn_by_a_power_cut_is_left_to_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Catalog.open(path, uuid="one", create=True).close()
    whole = path.read_bytes()
    path.write_bytes(bytes(512) + whole[512:])
    with pytest.raises(CatalogDamagedError, match="not a SQLite database"):
        Catalog.open(path, uuid="one")
    path.with_name("a.sqlite-journal").write_bytes(b"a journal that is none")
    with pytest.raises(CatalogDamagedError, match="is damaged"):  # SQLite has looked, and says so
        Catalog.open(path, uuid="one")


def test_the_copy_and_the_comparison_of_a_backup_are_of_sqlite_alone(tmp_path: Path) -> None:
    catalog = Catalog(sa.create_engine("postgresql+psycopg://nowhere.invalid/db"))
    with pytest.raises(UsageError) as caught:
        catalog.copy_to(tmp_path / "copy")
    assert caught.value.code == "backup_needs_sqlite"


def test_what_a_new_catalog_would_not_have_is_named(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "a.sqlite", uuid="one", create=True)
    assert catalog.foreign_objects(tmp=tmp_path) == []
    with catalog.writing() as writer:
        writer._connection.execute(sa.text("CREATE TABLE strange (x)"))
    assert catalog.foreign_objects(tmp=tmp_path) == ["table strange: CREATE TABLE strange (x)"]
    catalog.copy_to(tmp_path / "copy.sqlite")
    copy = Catalog.open(tmp_path / "copy.sqlite", uuid="one")
    assert copy.foreign_objects(tmp=tmp_path) == ["table strange: CREATE TABLE strange (x)"]


class _UnansweredError(Exception):
    """What the driver of PostgreSQL says where nobody answers: without an error's number."""

    sqlstate = None


def test_a_server_that_does_not_answer_is_told_from_a_disk_that_refuses(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "a.sqlite"))
    told = r"cannot be reached \(no route\)"
    with pytest.raises(ConnectionLostError, match=told) as caught, translated(engine):
        raise exc.OperationalError("SELECT", {}, _UnansweredError("no route"))
    assert (caught.value.code, caught.value.exit_code) == ("catalog_unreachable", 6)


def test_a_write_is_tried_again_until_its_server_is_back_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog.open(tmp_path / "a.sqlite", uuid="one", create=True)
    writing, calls = Catalog.writing, []

    @contextmanager
    def away_at_first(self: Catalog) -> Iterator[Writer]:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionLostError("away")
        with writing(self) as writer:
            yield writer

    monkeypatch.setattr(Catalog, "writing", away_at_first)
    assert catalog.write(lambda writer: writer.touch()) == 1
    assert len(calls) == 3
    calls.clear()
    monkeypatch.setattr(turns, "WAIT_S", 0.0)
    with pytest.raises(ConnectionLostError, match="away"):
        catalog.write(lambda writer: writer.touch())
    assert len(calls) == 1
    with catalog.reading() as reader:
        assert reader.generation() == 1
