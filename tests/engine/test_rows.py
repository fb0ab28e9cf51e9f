"""Tables whose rows name a picture, a sound and a caption: one item a row, found by any part."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from retrieval.around.clip import cut_clip
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.errors import BadMediaError
from retrieval.media import find_file, load_file
from retrieval.types import MediaSpec

# Colours, and pitches that the fake model hears as colours, far from each other.
PAIRS = """image,sound,caption,stars
red.png,high.wav,green grass,5
blue.png,,,4
,low.wav,white snow,3
"""


@pytest.fixture
def pairs(world: Path) -> Path:
    table = world / "pairs.csv"
    table.write_text(PAIRS)
    return table


def first(engine: Engine, query: str | Path, modality: str | None = None) -> str:
    return engine.search(query, k=1, hybrid=False, modality=modality)[0].path.rpartition("/")[2]


def test_a_row_is_one_item_with_the_parts_that_it_has(engine: Engine, pairs: Path) -> None:
    report = engine.add(pairs)
    assert (report.n_added, report.n_bad) == (3, 0)
    whole = engine.item(f"{pairs}#1")
    assert whole is not None
    assert (whole.modality, whole.format, whole.caption) == ("image", "png", "green grass")
    assert (whole.width_px, whole.duration_s, whole.flags) == (40, 1.0, ("row",))
    found = read_contents(engine)
    kinds = {
        row: [p.modality for p in found.parts if found.items[p.item_id].path == f"{pairs}#{row}"]
        for row in (1, 2, 3)
    }
    assert kinds == {1: ["image", "audio", "text"], 2: ["image"], 3: ["audio", "text"]}


def test_a_row_is_found_by_each_of_its_parts(engine: Engine, pairs: Path, world: Path) -> None:
    engine.add(pairs)
    alone = Engine.open(world / "alone", create=True, model="fake", settings=engine._settings)
    with alone:
        alone.add(world / "red.png", world / "high.wav")
        for name in ("red.png", "high.wav"):
            expected = alone.search(world / name, k=1)[0].score
            hit = engine.search(world / name, k=1)[0]
            assert (hit.path, hit.score) == (f"{pairs}#1", expected)
    assert first(engine, "green") == "pairs.csv#1"
    assert first(engine, "blue") == "pairs.csv#2"
    assert first(engine, "red", modality="audio") == "pairs.csv#3"  # its sound is low
    assert {hit.path[-1] for hit in engine.search("red", modality="image")} == {"1", "2"}
    assert {hit.path[-1] for hit in engine.search("red", modality="audio")} == {"1", "3"}


def test_a_row_asks_with_all_of_its_parts_brought_to_unit_length(
    engine: Engine, pairs: Path, world: Path
) -> None:
    engine.add(pairs, world / "white.png", world / "green.png", world / "low.wav")
    found = read_contents(engine)
    rows: dict[int, list[np.ndarray]] = {}
    for part, vector in zip(found.parts, found.vectors, strict=True):
        rows.setdefault(part.item_id, []).append(vector)
    for item_id in (1, 2, 3):
        asked = np.mean(rows[item_id], axis=0)
        asked /= np.linalg.norm(asked)
        hits = engine.search(item_id, k=20, hybrid=False)
        assert len(hits) == 5
        for hit in hits:
            best = max(float(vector @ asked) for vector in rows[hit.id])
            assert hit.score == pytest.approx(best, abs=1e-5)


def test_what_is_unchanged_is_not_loaded_again_and_what_changed_keeps_its_id(
    engine: Engine, pairs: Path, world: Path
) -> None:
    engine.add(pairs)
    before = {row: engine.item(f"{pairs}#{row}") for row in (1, 2, 3)}
    again = engine.add(pairs)
    assert (again.n_unchanged, again.n_loaded) == (3, 0)
    pairs.write_text(PAIRS.replace("white snow", "yellow sand"))
    changed = engine.add(pairs)
    assert (changed.n_unchanged, changed.n_changed, changed.n_removed) == (2, 1, 0)
    after = engine.item(f"{pairs}#3")
    assert after is not None
    assert before[3] is not None
    assert (after.id, after.caption) == (before[3].id, "yellow sand")
    shutil.copy(world / "green.png", world / "blue.png")
    assert engine.add(pairs).n_changed == 1
    assert first(engine, world / "green.png") == "pairs.csv#2"


def test_rows_that_left_the_table_leave_the_store(engine: Engine, pairs: Path, world: Path) -> None:
    engine.add(pairs)
    pairs.write_text("\n".join(PAIRS.splitlines()[:2]))
    assert engine.add(pairs).n_removed == 2
    assert engine.item(f"{pairs}#3") is None
    assert engine.add(world / "red.png", prune=True).n_removed == 0
    assert engine.item(f"{pairs}#1") is not None
    assert engine.remove(pairs) == 1
    engine.add(pairs)
    pairs.unlink()
    assert engine.add(world, prune=True).n_removed == 1


def test_a_part_that_is_gone_or_bad_costs_the_row_only_that_part(
    engine: Engine, pairs: Path, world: Path
) -> None:
    (world / "red.png").unlink()
    (world / "high.wav").write_bytes(b"no sound")
    (world / "blue.png").unlink()
    report = engine.add(pairs)
    assert (report.n_added, report.n_bad) == (2, 1)
    item = engine.item(f"{pairs}#1")
    assert item is not None
    assert (item.modality, item.flags) == ("text", ("missing_part", "row"))
    assert [f.code for f in engine.failures()] == ["vanished"]
    assert first(engine, "green") == "pairs.csv#1"


def test_a_row_that_names_a_file_elsewhere_is_refused(
    engine: Engine, world: Path, tmp_path: Path
) -> None:
    inner = world / "inner"
    inner.mkdir()
    shutil.copy(world / "red.png", inner)
    (inner / "link.png").symlink_to(world / "blue.png")
    table = inner / "pairs.jsonl"
    outside = ["../blue.png", str(world / "blue.png"), "link.png"]
    rows = [{"image": "red.png"}, *({"image": path} for path in outside)]
    table.write_text("\n".join(map(json.dumps, rows)))
    report = engine.add(table)
    assert (report.n_added, report.n_bad) == (1, 3)
    assert {(f.path, f.code) for f in engine.failures()} == {
        (f"{table}#{row}", "outside_table") for row in (2, 3, 4)
    }
    again = engine.add(table)
    assert (again.n_added, again.n_removed, again.n_bad) == (0, 0, 3)
    with pytest.raises(BadMediaError, match="not below"):
        find_file(Path(f"{table}#2"))


def test_a_table_in_a_folder_or_without_files_stays_a_text(
    engine: Engine, pairs: Path, world: Path
) -> None:
    urls = world / "urls.csv"
    urls.write_text("image,caption\nhttps://a.example/red.jpg,a red boat\n")
    engine.add(world)
    item = engine.item(f"{pairs}#1")
    assert item is not None
    assert item.modality == "text"
    engine.add(pairs, urls)  # named: now its rows are items, and the text is gone
    rows = [engine.item(f"{table}#1") for table in (pairs, urls)]
    assert [row.modality for row in rows if row] == ["image", "text"]


def test_two_sounds_and_two_pictures_of_a_row_are_all_there(world: Path) -> None:
    table = world / "many.jsonl"
    row = {"images": ["red.png", "blue.png"], "sound": "low.wav", "recording_file": "high.wav"}
    table.write_text(json.dumps(row))
    spec = MediaSpec(image_size_px=8, sample_rate_hz=16_000, window_s=0.5, hop_s=0.5)
    loaded = load_file(find_file(Path(f"{table}#1")), spec=spec)
    single = {name: load_file(find_file(world / name), spec=spec).parts for name in
              ("red.png", "blue.png", "low.wav", "high.wav")}  # fmt: skip
    expected = [part for parts in single.values() for part in parts]
    assert [p.modality for p in loaded.parts] == ["image"] * 2 + ["audio"] * 4
    for part, own in zip(loaded.parts, expected, strict=True):
        np.testing.assert_array_equal(part.payload, own.payload)
        assert (part.start_s, part.end_s) == (own.start_s, own.end_s)


def test_the_sound_of_a_row_can_be_cut_out(pairs: Path, tmp_path: Path) -> None:
    cut_clip(Path(f"{pairs}#3"), start_s=0.25, end_s=0.75, out=tmp_path / "cut.wav")
    with (
        wave.open(str(tmp_path / "cut.wav")) as cut,
        wave.open(str(pairs.parent / "low.wav")) as low,
    ):
        assert cut.getnframes() / cut.getframerate() == pytest.approx(0.5, abs=0.01)
        assert cut.getframerate() == low.getframerate()


def test_the_rows_of_a_parquet_table(engine: Engine, pairs: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pairs.with_suffix(".parquet")
    rows = [
        {"image": "red.png", "caption": "green grass"},
        {"image": None, "caption": "a blue sea"},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    assert engine.add(table).n_added == 2
    assert first(engine, "blue") == "pairs.parquet#2"
