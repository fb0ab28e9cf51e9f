"""Opening, building, removing, verifying, repairing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hit_names import names
from PIL import Image

import retrieval.build_wishes
from index.types import Plan
from retrieval.engine import Engine
from retrieval.errors import (
    CatalogDamagedError,
    DamagedError,
    ModelError,
    NotFoundError,
    TooNewError,
    UsageError,
)


def flip_byte(path: Path, position: int = -200) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    path.write_bytes(data)


@pytest.fixture
def hnsw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small stores build an index file, as large ones do."""
    plan = Plan(kind="hnsw", factory="HNSW16", parameters={"m": 16}, reason="for the test")
    monkeypatch.setattr(retrieval.build_wishes, "choose", lambda *_, **__: plan)


def test_a_store_is_found_from_a_folder_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    Engine.open(create=True, model="fake", settings=settings).close()
    monkeypatch.chdir(tmp_path / "a" / "b")
    with Engine.open(settings=settings) as engine:
        assert engine.store.root == tmp_path / ".crossfind"


def test_no_store_says_how_to_make_one(tmp_path: Path, monkeypatch, settings) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="index build") as caught:
        Engine.open(settings=settings)
    assert caught.value.code == "no_store"


def test_a_folder_with_other_things_is_not_made_a_store(world: Path, settings) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as caught:
        Engine.open(world, create=True, settings=settings)
    assert caught.value.code == "not_a_store"


def test_a_store_keeps_its_model(engine: Engine, world: Path, settings) -> None:  # type: ignore[no-untyped-def]
    engine.add(world)
    with pytest.raises(ModelError, match="fake") as caught:
        Engine.open(engine.store.root, model="starter", settings=settings)
    assert caught.value.code == "space_mismatch"
    assert caught.value.exit_code == 7


def test_vectors_of_an_altered_model_are_not_mixed(engine: Engine, world: Path, settings) -> None:  # type: ignore[no-untyped-def]
    engine.add(world)
    with engine._catalog.writing() as writer:
        import sqlalchemy as sa

        writer._connection.execute(sa.text("UPDATE spaces SET fingerprint = 'other'"))
    with (
        Engine.open(engine.store.root, settings=settings) as other,
        pytest.raises(ModelError) as caught,
    ):
        other.search("red")
    assert caught.value.code == "space_mismatch"


def test_a_newer_store_is_refused_with_both_numbers(engine: Engine, settings) -> None:  # type: ignore[no-untyped-def]
    path = engine.store.root / "FORMAT"
    path.write_text(json.dumps({"uuid": engine.store.uuid, "version": 99}))
    with pytest.raises(TooNewError, match=r"99.* 1"):
        Engine.open(engine.store.root, settings=settings)


def test_a_newer_catalog_is_refused(engine: Engine, settings) -> None:  # type: ignore[no-untyped-def]
    with engine._catalog.writing() as writer:
        writer._connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(TooNewError, match="9999"):
        Engine.open(engine.store.root, settings=settings)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_lost_catalog_is_never_recreated_over(
    engine: Engine, world: Path, settings, content: bytes | None
) -> None:  # type: ignore[no-untyped-def]
    engine.add(world)
    engine.close()
    path = engine.store.catalog_path
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CatalogDamagedError):
        Engine.open(engine.store.root, create=True, settings=settings)
    assert (path.read_bytes() if content is not None else None) == content


def test_remove_by_path_folder_and_id(engine: Engine, world: Path) -> None:
    engine.add(world)
    green = engine.item(world / "green.png")
    assert green is not None
    assert engine.remove(world / "red.png", green.id) == 2
    assert {"red.png", "green.png"}.isdisjoint(names(engine.search("red", k=100)))
    assert (world / "red.png").exists()
    engine.build()
    assert {"red.png", "green.png"}.isdisjoint(names(engine.search("red", k=100)))
    assert engine.remove(world) == 7
    assert engine.search("red") == []
    with pytest.raises(NotFoundError, match=r"red\.png"):
        engine.remove(world / "red.png")


def test_removing_one_row_of_a_table_is_refused(engine: Engine, world: Path) -> None:
    engine.add(world)
    row = next(h for h in engine.search("sea", k=100) if h.path.endswith("rows.csv#1"))
    with pytest.raises(UsageError) as caught:
        engine.remove(row.id)
    assert caught.value.code == "item_is_row"


@pytest.mark.usefixtures("hnsw")
def test_an_index_file_answers_as_exact_search_does(engine: Engine, world: Path) -> None:
    engine.add(world)
    exact = {text: engine.search(text, k=9) for text in ("red", "blue", "white")}
    reports = engine.build()
    assert [(r.kind, r.n_vectors) for r in reports] == [("hnsw", 9)]
    assert engine.status().spaces[0].n_tail == 0
    for text, hits in exact.items():
        found = engine.search(text, k=9)
        assert [h.id for h in found] == [h.id for h in hits]
        assert np.allclose([h.score for h in found], [h.score for h in hits], atol=1e-5)


@pytest.mark.usefixtures("hnsw")
def test_removed_and_added_items_count_at_once_beside_an_index_file(
    engine: Engine, world: Path
) -> None:
    engine.add(world)
    engine.build()
    engine.remove(world / "red.png")
    Image.new("RGB", (9, 9), (255, 0, 20)).save(world / "crimson.png")
    engine.add(world / "crimson.png")
    hits = names(engine.search("red", k=100, modality="image"))
    assert hits[0] == "crimson.png"
    assert "red.png" not in hits
    assert engine.status().spaces[0].n_tail == 1


@pytest.mark.usefixtures("hnsw")
def test_a_damaged_index_file_is_noticed_and_exact_search_serves(
    engine: Engine, world: Path, settings
) -> None:  # type: ignore[no-untyped-def]
    engine.add(world)
    expected = engine.search("red", k=9)
    engine.build()
    (file,) = engine.store.derived.glob("*.faiss")
    flip_byte(file)
    with Engine.open(engine.store.root, settings=settings) as other:
        assert [h.id for h in other.search("red", k=9)] == [h.id for h in expected]
        assert "rebuild" in other.warnings[0]
        assert [f.code for f in other.verify().findings] == ["index_damaged"]
        other.build(force=True)
        assert other.verify().findings == ()


def test_a_damaged_segment_is_noticed_named_and_repaired(
    engine: Engine, world: Path, settings
) -> None:  # type: ignore[no-untyped-def]
    engine.add(world)
    expected = engine.search("red", k=9)
    Image.new("RGB", (9, 9), (0, 200, 0)).save(world / "leaf.png")
    engine.add(world)
    segments = sorted(engine.store.segments.iterdir(), key=lambda p: p.stat().st_size)
    flip_byte(segments[-1], 400)
    with Engine.open(engine.store.root, settings=settings) as other:
        assert names(other.search("green", k=9)) == ["leaf.png"]
        assert "verify --repair" in other.warnings[0]
        (finding,) = other.verify().findings
        assert finding.code == "segment_damaged"
        assert "blocks: 0" in finding.detail
        (finding,) = other.verify(repair=True).findings
        assert finding.repaired
        report = other.add(world)
        assert report.n_changed == 9
        assert other.verify().findings == ()
        found = [h for h in other.search("red", k=10) if not h.path.endswith("leaf.png")]
        assert [(h.id, h.path) for h in found] == [(h.id, h.path) for h in expected]


def test_a_flipped_bit_in_a_row_is_found(engine: Engine, world: Path) -> None:
    engine.add(world)
    assert engine.verify().findings == ()
    with engine._catalog.writing() as writer:
        flip = "UPDATE items SET width_px = width_px + 1 WHERE modality = 'image'"
        writer._connection.exec_driver_sql(flip)
    findings = engine.verify().findings
    assert {f.code for f in findings} == {"row_damaged"}
    assert len(findings) == 4


def test_stray_files_are_collected_by_a_writer_only(engine: Engine, world: Path, settings) -> None:  # type: ignore[no-untyped-def]
    engine.add(world)
    stray = engine.store.segments / "stray.seg"
    partial = engine.store.tmp / "x.partial"
    stray.write_bytes(b"junk")
    partial.write_bytes(b"half")
    with Engine.open(engine.store.root, settings=settings) as reader:
        reader.search("red")
        assert stray.exists()
        reader.build()
    assert not stray.exists()
    assert not partial.exists()


def test_many_small_segments_are_merged(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (6, 6), (255, number, 0)).save(folder / f"{number:02}.png")
        engine.add(folder)
    assert engine.status().n_segments == 20
    before = engine.search("red", k=20)
    engine.build()
    assert engine.status().n_segments == 1
    after = engine.search("red", k=20)
    assert [(h.id, h.path) for h in after] == [(h.id, h.path) for h in before]
    assert engine.verify().findings == ()


def test_a_foreign_store_file_is_refused(engine: Engine, settings) -> None:  # type: ignore[no-untyped-def]
    (engine.store.root / "FORMAT").write_text("not json")
    with pytest.raises(DamagedError):
        Engine.open(engine.store.root, settings=settings)
