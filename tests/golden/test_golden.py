"""What earlier versions wrote is read for ever, and answers as it did."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from pathlib import Path

import pytest

from retrieval.catalog.migrate import REVISIONS
from retrieval.engine import Engine
from retrieval.errors import TooNewError
from tests.golden.make import answers

HERE = Path(__file__).parent
GOLDEN = sorted(path.stem for path in HERE.glob("*.zip"))
OLD_INDEX_FILES = ("0001", "0002", "0003")
"""Their index files have heads that are not read any more: exact search serves until a build."""

needs_golden = pytest.mark.parametrize("revision", GOLDEN)


def unpack(revision: str, folder: Path) -> Path:
    with zipfile.ZipFile(HERE / f"{revision}.zip") as archive:
        for name in archive.namelist():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(archive.read(name))
    (folder / "tmp").mkdir()
    return folder


def told(revision: str) -> dict:  # type: ignore[type-arg]
    return json.loads((HERE / f"{revision}.json").read_text(encoding="utf-8"))


def test_every_schema_before_todays_has_a_golden_store_of_a_small_size() -> None:
    assert set(REVISIONS[:-1]) <= set(GOLDEN)
    assert all((HERE / f"{revision}.zip").stat().st_size < 200_000 for revision in GOLDEN)


@needs_golden
def test_a_store_of_an_earlier_version_answers_as_that_version_did(
    revision: str, tmp_path: Path
) -> None:
    store, expected = unpack(revision, tmp_path / "store"), told(revision)
    before = (store / "catalog.sqlite").read_bytes()
    with Engine.open(store) as engine:
        assert answers(engine) == expected["answers"]
        assert engine.status().n_items == expected["n_items"]
        assert [f"{f.code} {f.path}" for f in engine.failures()] == expected["failures"]
        assert engine.verify().findings == ()
        assert len(engine.warnings) == (revision in OLD_INDEX_FILES), engine.warnings
        assert all("searching exactly" in warning for warning in engine.warnings)
        engine.build(force=True)
        assert answers(engine) == expected["answers"]
        assert engine.warnings == ()
    copy = store / "catalog.sqlite.before-migration"
    assert copy.exists() == (revision != REVISIONS[-1])
    if copy.exists():
        assert schema_of(copy) == revision
        (store / "before").write_bytes(before)
        assert dump(copy) == dump(store / "before")
    assert schema_of(store / "catalog.sqlite") == REVISIONS[-1]


@pytest.mark.parametrize("revision", [GOLDEN[0], GOLDEN[-1]])
def test_a_store_of_an_earlier_version_can_be_added_to(revision: str, tmp_path: Path) -> None:
    store = unpack(revision, tmp_path / "store")
    (tmp_path / "new.txt").write_text("violet cyan novelty")
    with Engine.open(store) as engine:
        n_before = sum(engine.status().n_items.values())
        assert engine.add(tmp_path / "new.txt").n_added == 1
        assert engine.search("violet cyan novelty", k=1)[0].path == str(tmp_path / "new.txt")
        assert engine.search("novelty", k=1)[0].by == "both"
        assert sum(engine.status().n_items.values()) == n_before + 1
        assert engine.verify().findings == ()


@needs_golden
def test_a_store_of_a_later_version_is_refused_and_stays_as_it_is(
    revision: str, tmp_path: Path
) -> None:
    store = unpack(revision, tmp_path / "store")
    with sqlite3.connect(store / "catalog.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(TooNewError, match="9999"):
        Engine.open(store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def schema_of(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    connection.close()
    return str(found)


def dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines
