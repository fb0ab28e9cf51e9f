"""Row checksums: what is watched, what stays intact through every change, older catalogs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate_to

from index.types import SegmentInfo
from retrieval.catalog.connect import connect, reading, sqlite_url, writing
from retrieval.catalog.migrate import current_revision
from retrieval.catalog.records import Batch, DerivedEntry, FileRecord, ItemRecord
from retrieval.catalog.schema import Base, FileRow, StreamRow, TextRow
from retrieval.catalog.seal import PROTECTED
from retrieval.catalog.store import Catalog
from retrieval.errors import CatalogDamagedError
from retrieval.types import Details, Part, Space

SPACE = Space("s", "fake", "abc", 4, ("image", "text"))
ALL = [(table, column) for table, columns in PROTECTED.items() for column in columns]


def fill(catalog: Catalog) -> None:
    """Write a row of every kind, and change some of them in every way there is."""
    details = Details(
        5, 1, 2.5, "c", ("sea",), 8000, 2, fps=25, codec="h264", title="t", artist="a", album="b"
    )
    parts = (Part(1, 1, "text", text="two whales"), Part(2, 1, "image"))
    record = ItemRecord(
        1, "h", 0, "text", "txt", 5, 3, 2, 1.5, "a rose", ("silent",), parts, details
    )
    other = ItemRecord(2, "i", 0, "image", "png", 5, 3, 2, None, None, (), (Part(3, 2, "image"),))
    segment = SegmentInfo("one", 2, 4, "float16", "0" * 64, 99)
    entry = DerivedEntry("s", 1, "x.faiss", "0" * 64, "hnsw", 2, 1, "text", "why", "{}")
    with catalog.writing() as writer:
        writer.ensure_space(SPACE)
        files = (FileRecord("/\udcff/b.txt", 5, 7, "", "h"), FileRecord("/a", 1, 1, "", "i"))
        bad = FileRecord("/c", 1, 1, "", None, code="truncated", reason="cut")
        writer.apply(Batch((*files, bad), (record, other), (("s", segment),), next_item_id=3))
        writer.put_columns({"stars": "number", "mood": "text"}, [(1, {"stars": 4, "mood": "glad"})])
        writer.put_tags([(1, ("mine",))])
        writer.record_derived(entry)
        writer.retire_segments(["one"], writer.touch())
        writer.remove_paths(["/a"])
        writer.ensure_pending(Space("s", "new", "def", 4, ("image",)))
        writer.switch_spaces([Space("s", "new", "def", 4, ("image",))])
        writer.mark_stale([1])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checksums") / "catalog.sqlite"
    catalog = Catalog.open(path, uuid="u", create=True)
    fill(catalog)
    catalog.close()
    return path


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    catalog = Catalog.open(path, uuid="u")
    yield catalog
    catalog.close()


def test_every_row_is_intact_after_every_kind_of_change(catalog: Catalog) -> None:
    n_rows, damaged = catalog.check_rows()
    assert damaged == []
    with reading(catalog._engine) as connection:
        counts = {
            table: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
            for table in PROTECTED
        }
    assert all(counts.values())
    assert n_rows == sum(counts.values())
    assert catalog.check_structure() == []


def test_a_disk_that_takes_no_writes_is_no_damage(catalog: Catalog) -> None:
    def refuse(_: object, cursor: sqlite3.Cursor, statement: str, *__: object) -> None:
        if "integrity-check" in statement:  # a read-only mount lets the transaction begin
            cursor.execute("PRAGMA query_only = 1")

    sa.event.listen(catalog._engine, "before_cursor_execute", refuse)
    assert catalog.check_structure() == []


def is_postgresql(catalog: Catalog) -> bool:
    return catalog._engine.dialect.name == "postgresql"


def damaged_by(catalog: Catalog, statement: str) -> list[str]:
    """Change a row behind the catalog's back, and name what is found; nothing stays changed."""
    from retrieval.catalog.check import check_rows

    free = "PRAGMA defer_foreign_keys=ON"  # of what rows of other tables say
    if is_postgresql(catalog):
        free = "SET LOCAL session_replication_role = replica"
    with catalog._engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql(free)
        connection.exec_driver_sql(statement)
        found = [name for name, intact in check_rows(connection) if not intact]
        transaction.rollback()
    return found


@pytest.mark.parametrize(("table", "column"), [*ALL, (FileRow, "path"), (TextRow, "checksum")])
def test_a_change_of_a_protected_value_names_its_row(
    catalog: Catalog, table: type[Base], column: str
) -> None:
    name = table.__tablename__
    kind = sa.inspect(table).columns[column].type.python_type
    place, blob = ("ctid", "bytea") if is_postgresql(catalog) else ("rowid", "BLOB")
    new = {str: f"coalesce({column}, '') || '!'", bytes: f"CAST('/z' AS {blob})"}.get(
        kind, f"coalesce({column}, 0) + 1000"
    )
    one = f"{place} = (SELECT max({place}) FROM {name})"
    found = damaged_by(catalog, f'UPDATE "{name}" SET {column} = {new} WHERE {one}')
    assert len(found) == 1
    assert found[0].startswith(f"{name} row ")


def test_a_changed_word_of_the_full_text_names_its_text(catalog: Catalog) -> None:
    statement = "UPDATE texts_words SET words = 'two wales' WHERE words MATCH 'whale'"
    if is_postgresql(catalog):
        statement = (
            "UPDATE texts SET words = array_to_tsvector(ARRAY['two', 'wales']) "
            "WHERE words @@ CAST('whale' AS tsquery)"
        )
    assert len(damaged_by(catalog, statement)) == 1


@pytest.mark.parametrize("value", ["x'010203'", "7", "NULL"])
def test_words_that_are_no_text_any_more_name_their_text(catalog: Catalog, value: str) -> None:
    statement = f"UPDATE texts_words_content SET c0 = {value} WHERE c0 LIKE '%whale%'"
    assert len(damaged_by(catalog, statement)) == 1


def test_a_row_that_was_damaged_stays_so_when_it_is_changed_in_place(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "catalog.sqlite", uuid="u", create=True)
    fill(catalog)
    with writing(catalog._engine) as connection:
        connection.exec_driver_sql("UPDATE store SET next_part_id = 1000")
    with catalog.writing() as writer:
        writer.touch()
    assert catalog.check_rows()[1] == ["store row 1"]
    catalog.close()


def test_a_name_in_the_schema_that_is_no_text_is_damage(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE details")
    (tmp_path / "catalog.sqlite").write_bytes(data[: at + 13] + b"\xc5" + data[at + 14 :])
    with pytest.raises(CatalogDamagedError):
        Catalog.open(tmp_path / "catalog.sqlite", uuid="u")


def test_what_sqlite_itself_finds_wrong_is_told(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "catalog.sqlite", uuid="u", create=True)
    fill(catalog)
    with writing(catalog._engine) as connection:
        connection.exec_driver_sql("UPDATE texts_words_content SET c0 = 'other'")
    assert "index of words" in catalog.check_structure()[0]
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as raw, raw:
        raw.execute("UPDATE items SET id = 77")
    assert any("belongs to no row of items" in line for line in catalog.check_structure())
    catalog.close()


def test_rows_of_the_format_before_get_their_checksums(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "catalog.sqlite"
    engine = connect(sqlite_url(old))
    migrate_to(engine, "0004")
    with engine.connect() as connection:
        assert current_revision(connection) == "0004"
    engine.dispose()
    with closing(sqlite3.connect(old)) as raw, raw:
        raw.execute("ATTACH ? AS newer", (str(path),))
        for table in (t.__tablename__ for t in PROTECTED if t is not StreamRow):  # came later
            described = raw.execute(f'PRAGMA main.table_info("{table}")')
            columns = ", ".join(f'"{row[1]}"' for row in described)
            raw.execute(
                f'INSERT INTO main."{table}" ({columns}) SELECT {columns} FROM newer."{table}"'
            )
        raw.execute(
            "INSERT INTO texts_words (rowid, words) SELECT rowid, words FROM newer.texts_words"
        )
    catalog = Catalog.open(old, uuid="u")
    new = Catalog.open(path, uuid="u")
    assert catalog.check_rows() == (new.check_rows()[0] - 1, [])
    assert catalog.check_structure() == []
    with reading(catalog._engine) as ours, reading(new._engine) as theirs:
        for table in PROTECTED.keys() - {StreamRow}:
            rows = [set(c.execute(sa.select(table)).all()) for c in (ours, theirs)]
            assert rows[0] == rows[1], table.__tablename__
    catalog.close()
    new.close()
