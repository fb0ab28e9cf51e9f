"""The catalog: batches, copies, tombstones, checksums, migrations that agree with the models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate_to

from retrieval.catalog.connect import connect, sqlite_url
from retrieval.catalog.migrate import REVISIONS, migrate
from retrieval.catalog.records import (
    Batch,
    FileRecord,
    ItemRecord,
    PartScalars,
    path_key,
    printable,
)
from retrieval.catalog.schema import Base
from retrieval.catalog.store import Catalog
from retrieval.errors import CatalogDamagedError, ModelError, UsageError
from retrieval.types import NOTHING, Details, Part, Space

SPACE = Space("s", "fake", "abc", 4, ("image", "text"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open(tmp_path / "catalog.sqlite", uuid="u", create=True)


def file(path: str, content: str | None = "h1", **changes: object) -> FileRecord:
    values = {"size_bytes": 5, "mtime_ns": 7, "caption_stamp": "", **changes}
    return FileRecord(path=path, content_hash=content, **values)  # type: ignore[arg-type]


def item(id_: int, content: str = "h1", part_ids: tuple[int, ...] = (1,)) -> ItemRecord:
    parts = tuple(Part(id=p, item_id=id_, modality="image") for p in part_ids)
    return ItemRecord(id_, content, 0, "image", "png", 5, 3, 2, None, None, ("silent",), parts)


def test_a_batch_is_read_back_as_it_was_written(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.ensure_space(SPACE)
        writer.apply(
            Batch(files=(file("/a"), file("/b")), items=(item(1, part_ids=(1, 2)),), next_item_id=2)
        )
    with catalog.reading() as reader:
        assert reader.generation() == 1
        assert reader.next_ids() == (2, 1)
        assert reader.spaces() == (SPACE,)
        assert reader.known_files(["/a", "/c"]) == {"/a": file("/a")}
        found = reader.items([1])[1]
        assert (found.path, found.copies, found.flags) == ("/a", ("/b",), ("silent",))
        assert reader.part_ids(item_id=1).tolist() == [1, 2]
        assert reader.part_ids(modality="audio").tolist() == []
        assert reader.item_at("/b") == 1


def test_an_item_goes_with_its_last_path_and_leaves_tombstones(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.apply(Batch(files=(file("/a"), file("/b")), items=(item(1, part_ids=(1, 2)),)))
    with catalog.writing() as writer:
        assert writer.apply(Batch(vanished=("/a",))) == 0
    with catalog.writing() as writer:
        assert writer.apply(Batch(vanished=("/b",))) == 1
    with catalog.reading() as reader:
        assert reader.items([1]) == {}
        assert reader.snapshot().tombstones == {1: 3, 2: 3}


def test_a_failed_transaction_changes_nothing(catalog: Catalog) -> None:
    def fail() -> None:
        with catalog.writing() as writer:
            writer.apply(Batch(files=(file("/a"),), items=(item(1),)))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    with catalog.reading() as reader:
        assert (reader.generation(), reader.known_files(["/a"])) == (0, {})


def test_a_replaced_content_loses_its_item_unless_another_path_holds_it(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.apply(Batch(files=(file("/a"), file("/b")), items=(item(1),)))
        writer.apply(Batch(files=(file("/a", "h2"),), items=(item(2, "h2", (2,)),)))
        assert set(writer.items([1, 2])) == {1, 2}
        writer.apply(Batch(files=(file("/b", None, code="truncated", reason="cut"),)))
        assert set(writer.items([1, 2])) == {2}
        assert [(f.path, f.code) for f in writer.failures()] == [("/b", "truncated")]


def test_the_same_space_of_other_weights_is_refused(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.ensure_space(SPACE)
        writer.ensure_space(SPACE)
        with pytest.raises(ModelError, match="cannot be mixed") as caught:
            writer.ensure_space(Space("s", "fake", "other", 4, ("image",)))
        assert caught.value.code == "space_mismatch"


def test_paths_of_any_bytes_are_keys(catalog: Catalog) -> None:
    odd = "/x/\udcff\n'\"%"
    with catalog.writing() as writer:
        writer.apply(Batch(files=(file(odd),), items=(item(1),)))
        assert set(writer.known_files([odd])) == {odd}
        assert writer.items([1])[1].path == odd
        assert writer.files_below("/x") == [odd]
        assert writer.files_below("/") == [odd]
    assert path_key(odd) == b"/x/\xff\n'\"%"
    assert printable(odd) == "/x/\\xff\n'\"%"


def test_a_folder_is_not_its_longer_named_neighbour(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        paths = ("/x/a", "/x/b/c", "/xy/a", "/x.a", "/x0")
        writer.apply(Batch(files=tuple(file(path) for path in paths), items=(item(1),)))
        assert writer.files_below("/x") == ["/x/a", "/x/b/c"]
        assert writer.files_below("/x/") == ["/x/a", "/x/b/c"]


def test_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "c.sqlite"))
    migrate_to(engine, "head")
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def is_ours(thing: object, name: str | None, *_: object) -> bool:
        return not (name or "").startswith("texts_words")  # FTS5's own tables

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert compare_metadata(context, Base.metadata) == []
        version = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        assert version == REVISIONS[-1]


def test_a_new_catalog_is_what_the_migrations_make(tmp_path: Path) -> None:
    new, migrated = (connect(sqlite_url(tmp_path / name)) for name in ("new", "migrated"))
    migrate(new, backup=None)
    migrate_to(migrated, "head")
    assert structure(new) == structure(migrated)


def structure(engine: sa.Engine) -> dict[str, object]:
    """Tell every object, and of tables the columns, indexes and references as SQLite knows them."""
    with engine.connect() as connection:
        objects = connection.exec_driver_sql("SELECT name, type, tbl_name FROM sqlite_master")
        found: dict[str, object] = {name: rest for name, *rest in objects}
        for name in list(found):
            for what in ("table_info", "index_list", "index_info", "foreign_key_list"):
                rows = connection.exec_driver_sql(f'PRAGMA {what}("{name}")').all()
                found[f"{name} {what}"] = sorted(row[1:] for row in rows)
    return found


def test_sqlite_is_told_to_survive_power_loss(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "c.sqlite"))
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
        }
    assert pragmas == {
        "journal_mode": "truncate", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0
    }  # fmt: skip


def test_tables_without_a_revision_are_not_touched(tmp_path: Path) -> None:
    engine = connect(sqlite_url(tmp_path / "c.sqlite"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE items (x INTEGER)"))
    with pytest.raises(CatalogDamagedError):
        Catalog.open(tmp_path / "c.sqlite", uuid="u", create=True)


@pytest.mark.parametrize("url", ["mysql://x/y", "not a url", "oracle://a"])
def test_other_databases_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Catalog.open(tmp_path / "c", uuid="u", url=url, create=True)
    assert caught.value.code == "bad_catalog_url"


def test_what_files_say_of_themselves_comes_back_as_it_was_said(catalog: Catalog) -> None:
    said = {
        1: Details(taken_ns=-5, lat=-1.5, lon=2.25, camera="Ca M", tags=("dusk", "sea")),
        2: Details(tags=("bird",)),
        3: Details(sample_rate_hz=44_100, n_channels=2, codec="flac", title="Größe", artist="a"),
        4: Details(taken_ns=7, fps=25.0, codec="h264", album="b", tags=("sea",)),
        5: NOTHING,
    }
    rows = [replace(item(n, f"h{n}", (n,)), details=own) for n, own in said.items()]
    files = tuple(file(f"/{n}.png", f"h{n}") for n in said)
    with catalog.writing() as writer:
        writer.apply(Batch(files=files, items=tuple(rows)))
        writer.put_tags([(1, ("mine", "sea")), (5, ("mine",))])
    with catalog.reading() as reader:
        assert reader.details([*said, 99]) == {n: own for n, own in said.items() if own != NOTHING}
        assert reader.given_tags([1, 2, 5]) == {1: ("mine", "sea"), 5: ("mine",)}
        assert {n: i.tags for n, i in reader.items(said).items()} == {
            1: ("dusk", "mine", "sea"), 2: ("bird",), 3: (), 4: ("sea",), 5: ("mine",),
        }  # fmt: skip
        assert reader.part_scalars([1, 4, 99]) == {
            n: PartScalars("image", "image", False, "png", n, 5, 3, 2, None, said[n].taken_ns)
            for n in (1, 4)
        }
