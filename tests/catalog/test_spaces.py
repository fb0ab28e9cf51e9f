"""Spaces that serve, are being filled, or can come back; and stores of the format before them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrate_to

from index.types import SegmentInfo
from retrieval.catalog.connect import connect, sqlite_url
from retrieval.catalog.migrate import current_revision
from retrieval.catalog.records import Batch, FileRecord, ItemRecord
from retrieval.catalog.spaces import resting_name
from retrieval.catalog.store import Catalog
from retrieval.errors import ModelError
from retrieval.types import Part, Space

OLD = Space("s", "old", "a" * 64, 4, ("image", "text"))
NEW = Space("n", "new", "b" * 64, 8, ("image", "text"), licence="mit")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.open(tmp_path / "catalog.sqlite", uuid="u", create=True)


def segment(name: str, dim: int = 4) -> SegmentInfo:
    return SegmentInfo(name, 1, dim, "float16", "0" * 64, 99)


def fill(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.ensure_space(OLD)
        writer.add_segment("s", segment("one"), 1)
    with catalog.writing() as writer:
        writer.ensure_pending(NEW)
        writer.add_segment(resting_name(NEW), segment("two", 8), 1)


def test_a_space_that_is_filled_is_not_seen_until_it_serves(catalog: Catalog) -> None:
    fill(catalog)
    with catalog.reading() as reader:
        assert reader.spaces() == (OLD,)
        assert [s.info.name for s in reader.snapshot().segments] == ["one"]
        assert [s.info.name for s in reader.segments(state="pending")] == ["two"]
        assert reader.file_names() == {"one", "two"}
    with catalog.writing() as writer:
        writer.switch_spaces([NEW])
    with catalog.reading() as reader:
        assert reader.spaces() == (NEW,)
        assert [s.info.name for s in reader.snapshot().segments] == ["two"]
        assert reader.spaces(state="kept") == (replace(OLD, id=resting_name(OLD)),)
    with catalog.writing() as writer:  # and back
        writer.ensure_pending(OLD)
        writer.switch_spaces([OLD])
    with catalog.reading() as reader:
        assert reader.spaces() == (OLD,)
        assert [s.info.name for s in reader.segments(state="kept")] == ["two"]


def test_a_newer_version_of_the_same_model_waits_under_its_own_name(catalog: Catalog) -> None:
    newer = replace(OLD, fingerprint="c" * 64)
    with catalog.writing() as writer:
        writer.ensure_space(OLD)
        with pytest.raises(ModelError, match="migrate --to old") as caught:
            writer.ensure_space(newer)
        assert caught.value.code == "space_mismatch"
        writer.ensure_pending(newer)
        assert {s.id for s in writer.spaces(state="pending")} == {"s@" + "c" * 12}
        writer.switch_spaces([newer])
        assert writer.spaces() == (newer,)
        assert writer.spaces(state="kept")[0].fingerprint == "a" * 64


def test_only_the_spaces_before_the_last_switch_are_kept(catalog: Catalog) -> None:
    fill(catalog)
    third = replace(NEW, id="t", fingerprint="d" * 64)
    with catalog.writing() as writer:
        writer.switch_spaces([NEW])
    with catalog.writing() as writer:
        writer.ensure_pending(third)
        writer.switch_spaces([third])
        assert [s.fingerprint for s in writer.spaces(state="kept")] == [NEW.fingerprint]
        assert writer.file_names() == {"two"}
        assert writer.drop_spaces("kept") == 1
        assert writer.file_names() == set()


def test_a_space_that_both_models_share_goes_on_serving(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.ensure_space(OLD)
        writer.ensure_pending(NEW)
        writer.switch_spaces([replace(OLD, model="both"), NEW])
        assert {s.model for s in writer.spaces()} == {"both", "new"}
        assert writer.spaces(state="kept") == ()


def test_vectors_are_buried_once(catalog: Catalog) -> None:
    with catalog.writing() as writer:
        writer.bury_vectors([3, 4], 7)
        writer.bury_vectors([4, 5], 8)
        assert writer.snapshot().tombstones == {3: 7, 4: 7, 5: 8}


def make_first_format(path: Path) -> None:
    """Write a catalog as the first release did, with an item and a segment."""
    engine = connect(sqlite_url(path))
    migrate_to(engine, "0001")
    text = sa.text
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO store VALUES (1, 'u', 1, 2, 2)"))
        connection.execute(text("INSERT INTO spaces VALUES (1, 's', 'old', :f, 4, 'image,text')"),
                           {"f": "a" * 64})  # fmt: skip
        connection.execute(
            text("INSERT INTO segments VALUES (1, 'one', 1, 1, 4, 'float16', :h, 99, 1, NULL)"),
            {"h": "0" * 64},
        )
        assert current_revision(connection) == "0001"
    engine.dispose()


def test_a_store_of_the_first_format_opens_with_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    make_first_format(path)
    catalog = Catalog.open(path, uuid="u")
    with catalog.reading() as reader:
        assert reader.spaces() == (OLD,)
        assert [(s.space_id, s.info.name) for s in reader.segments()] == [("s", "one")]
    with catalog.writing() as writer:
        item = ItemRecord(1, "h", 0, "image", "png", 5, 1, 1, None, None, (),
                          (Part(id=1, item_id=1, modality="image"),))  # fmt: skip
        writer.apply(Batch(files=(FileRecord("/a", 5, 7, "", "h"),), items=(item,)))
    catalog.close()
    backup = connect(sqlite_url(tmp_path / "catalog.sqlite.before-migration"))
    with backup.connect() as connection:
        assert current_revision(connection) == "0001"
        assert connection.execute(sa.text("SELECT id FROM spaces")).scalar() == "s"
    backup.dispose()
    again = Catalog.open(path, uuid="u")
    with again.reading() as reader:
        assert reader.spaces() == (OLD,)
        assert reader.part_ids().tolist() == [1]
    again.close()
