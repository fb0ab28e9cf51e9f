"""Stores, catalogs and roots as they should not be (rows X, D and C that have no other test)."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import sqlalchemy as sa
from cli import crossfind
from colour_media import make_media
from vectors_by_path import vectors_by_path

import retrieval.store
from retrieval.catalog import connect, migrate
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import CatalogDamagedError, StorageError, UsageError


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of media with a store beside it."""
    root = tmp_path_factory.mktemp("store")
    make_media(root / "media", n_files=12)
    with Engine.open(root / "store", create=True, model="fake") as engine:
        engine.add(root / "media")
    return root


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original / "store", tmp_path / "store")
    return tmp_path / "store"


# X6
def test_a_vector_without_numbers_costs_its_own_item_only(original: Path, tmp_path: Path) -> None:
    encode, n_seen = FakeEncoder._encode_batch, 0

    def spoilt(self, inputs, *, modality, space):  # type: ignore[no-untyped-def]
        nonlocal n_seen
        out = encode(self, inputs, modality=modality, space=space)
        if modality == "image":
            out[[2, 5, 7]] = np.array([[np.nan], [np.inf], [0.0]])
            n_seen += 1
        return out

    with (
        mock.patch.object(FakeEncoder, "_encode_batch", spoilt),
        Engine.open(tmp_path / "store", create=True, model="fake") as engine,
    ):
        report = engine.add(original / "media")
        failures = engine.failures()
    assert (report.n_bad, n_seen) == (3, 1)
    assert {failure.code for failure in failures} == {"non_finite_vector"}
    assert all("use another model" in failure.reason for failure in failures)
    clean, found = vectors_by_path(original / "store"), vectors_by_path(tmp_path / "store")
    lost = {failure.path for failure in failures}
    assert {Path(path).name for path in lost} == {"0002.png", "0005.png", "0007.png"}
    assert found == {path: vector for path, vector in clean.items() if path not in lost}


# X7
def test_vectors_and_parts_that_do_not_agree_are_named(store: Path) -> None:
    with closing(sqlite3.connect(store / "catalog.sqlite")) as connection, connection:
        connection.execute("DELETE FROM parts WHERE id = 3")
    with Engine.open(store) as engine:
        findings = engine.verify(n_sample=0).findings
        assert ("vector_unknown", "part 3") in {(f.code, f.where) for f in findings}
        (segment,) = engine.store.segments.iterdir()
    with closing(sqlite3.connect(store / "catalog.sqlite")) as connection, connection:
        connection.execute("DELETE FROM segments")
    with Engine.open(store) as engine:
        found = {f.code for f in engine.verify(n_sample=0).findings}
    assert "vector_missing" in found
    assert segment.exists()


# D1
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_catalog_is_damaged_and_stays_as_it_is(store: Path, share: float) -> None:
    path = store / "catalog.sqlite"
    data = path.read_bytes()[: round(path.stat().st_size * share)]
    path.write_bytes(data)
    done = crossfind("index", "verify", "--store", store, cwd=store.parent)
    assert done.code == 4, done.err
    assert "restore it from a backup" in done.err + done.out
    with pytest.raises(CatalogDamagedError), Engine.open(store, create=True) as engine:
        engine.add(store.parent)
    assert path.read_bytes() == data


# D3
def test_a_hot_journal_is_played_back_in_silence(store: Path, tmp_path: Path) -> None:
    before = vectors_by_path(store)
    path = store / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=TRUNCATE")
        connection.execute("PRAGMA cache_size=1")  # so that pages go to the disk before the end
        connection.execute("BEGIN")
        connection.execute("DELETE FROM files")
        connection.execute("UPDATE parts SET item_id = item_id, text = hex(randomblob(3000))")
        for name in ("catalog.sqlite", "catalog.sqlite-journal"):
            shutil.copy(store / name, tmp_path / name)
    for name in ("catalog.sqlite", "catalog.sqlite-journal"):
        shutil.copy(tmp_path / name, store / name)
    assert (store / "catalog.sqlite-journal").stat().st_size > 0
    assert vectors_by_path(store) == before
    with Engine.open(store) as engine:
        assert engine.verify(n_sample=0).findings == ()


# D5
def test_a_store_on_a_network_disk_is_read_but_not_written(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval.store, "is_network_filesystem", lambda _: True)
    monkeypatch.delenv("CROSSFIND_NETWORK_STORE", raising=False)
    with Engine.open(store) as engine:
        assert len(engine.search("red", k=3)) == 3
        with pytest.raises(StorageError, match="CROSSFIND_NETWORK_STORE=1") as caught:
            engine.add(store.parent)
        assert caught.value.code == "network_filesystem"
        monkeypatch.setenv("CROSSFIND_NETWORK_STORE", "1")
        assert engine.remove(1) == 1


# D6
def test_a_migration_that_stops_halfway_is_as_if_it_had_not_begun(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vectors_by_path(store)
    path = store / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE derived DROP COLUMN measured")
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
        # The later migrations find their own columns there: the second one fails.
    data = path.read_bytes()
    with pytest.raises(StorageError):
        Engine.open(store)
    with closing(sqlite3.connect(path)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(derived)")}
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert ("measured" in columns, revision) == (False, ("0003",))
    assert path.with_name("catalog.sqlite.before-migration").exists()
    assert len(data) == path.stat().st_size
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE derived ADD COLUMN measured TEXT NOT NULL DEFAULT ''")
        connection.execute("UPDATE alembic_version SET version_num = ?", (migrate.REVISIONS[-1],))
    assert vectors_by_path(store) == before


# D9
def test_missing_rights_name_the_grant() -> None:
    engine = sa.create_engine("postgresql+psycopg://me@db/x")
    said = sa.exc.ProgrammingError("SELECT", None, Exception("permission denied for schema public"))
    error = connect._ours(engine, said)
    assert (error.exit_code, error.code) == (2, "catalog_rights")
    assert "GRANT ALL ON SCHEMA public" in str(error)


# D10
def test_a_catalog_older_than_its_segments_ignores_the_newer_ones(
    original: Path, store: Path
) -> None:
    old = (store / "catalog.sqlite").read_bytes()
    expected = vectors_by_path(store)
    make_media(store.parent / "more", n_files=5, seed=9)
    with Engine.open(store) as engine:
        engine.add(store.parent / "more")
        segments = {path.name for path in engine.store.segments.iterdir()}
    assert len(vectors_by_path(store)) == len(expected) + 5
    (store / "catalog.sqlite").write_bytes(old)
    assert vectors_by_path(store) == expected
    with Engine.open(store) as engine:
        assert engine.verify(n_sample=0).findings == ()
        assert {path.name for path in engine.store.segments.iterdir()} == segments
        engine.add(store.parent / "more")  # a writer collects what nobody names
        assert engine.verify(n_sample=0).findings == ()
        assert not segments <= {path.name for path in engine.store.segments.iterdir()}
    assert len(vectors_by_path(store)) == len(expected) + 5


# C4
@pytest.mark.parametrize(
    ("root", "code"),
    [("/", "path_too_wide"), ("store", "path_excluded"), ("nowhere", "path_missing")],
)
def test_a_root_that_holds_no_media_is_refused(original: Path, root: str, code: str) -> None:
    done = crossfind("index", "add", root, "--store", "store", cwd=original)
    assert (done.code, code in done.err) == (2, True), done.err


# TX3
def test_a_query_without_words_is_refused(store: Path) -> None:
    with Engine.open(store) as engine:
        for text in ("", "  ", "\n"):
            with pytest.raises(UsageError) as caught:
                engine.search(text)
            assert (caught.value.code, caught.value.http_status) == ("empty_query", 422)
