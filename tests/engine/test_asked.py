"""Past searches: a bounded sample of directions, private, optional, and used to tune."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from retrieval import Engine
from retrieval.asked import ROOM, Asked
from retrieval.config import load_settings
from retrieval.types import Space

SPACE = Space("fake", "fake", "ab12", 4, ("image", "text"))


def directions(n: int) -> np.ndarray:
    rows = np.random.default_rng(1).standard_normal((n, SPACE.dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def note_all(folder: Path, rows: np.ndarray) -> Asked:
    asked = Asked(folder)
    for row in rows:
        asked.note(row[None], space=SPACE)
    return asked


def test_what_was_searched_is_read_back_as_unit_vectors(tmp_path: Path):
    rows = directions(5)
    kept = note_all(tmp_path, rows).read(SPACE)
    assert np.allclose(kept, rows, atol=1e-3)
    assert np.allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)


def test_a_fair_sample_of_bounded_size_is_kept(tmp_path: Path):
    rows = directions(4 * ROOM)
    kept = note_all(tmp_path, rows).read(SPACE)
    (file,) = tmp_path.iterdir()
    assert len(kept) == ROOM
    assert file.stat().st_size == 24 + ROOM * 2 * SPACE.dim
    nearest = (kept @ rows.T).argmax(axis=1)
    quarters = np.bincount(nearest // ROOM, minlength=4)
    assert (quarters > ROOM / 4 * 0.7).all(), quarters


def test_only_the_owner_may_read_them_and_no_word_is_there(tmp_path: Path):
    note_all(tmp_path, directions(1))
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) == 24 + 2 * SPACE.dim


def test_torn_records_and_damaged_files_are_left_out(tmp_path: Path):
    asked = note_all(tmp_path, directions(3))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:24] + bytes(2 * SPACE.dim) + whole[24 + 2 * SPACE.dim :])
    assert len(asked.read(SPACE)) == 2
    file.write_bytes(whole[:-1])
    assert len(asked.read(SPACE)) == 2
    file.write_bytes(b"x" + whole[1:])
    assert asked.read(SPACE).shape == (0, SPACE.dim)
    file.write_bytes(whole[:10])
    assert asked.read(SPACE).shape == (0, SPACE.dim)
    asked.note(directions(1), space=SPACE)
    assert len(asked.read(SPACE)) == 1


def test_who_cannot_write_searches_all_the_same(tmp_path: Path):
    asked = Asked(tmp_path / "missing")
    asked.note(directions(1), space=SPACE)
    assert asked.read(SPACE).shape == (0, SPACE.dim)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for name in ("red apple", "green pear", "blue plum"):
        (tmp_path / "notes" / f"{name}.txt").write_text(name)
    return tmp_path


def kept_files(folder: Path) -> list[Path]:
    return sorted((folder / "store" / "derived").glob("asked-*"))


def test_text_searches_are_kept_and_survive_the_next_add(folder: Path):
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(folder / "notes")
        engine.search("a red fruit", k=1)
        engine.similar(folder / "notes" / "red apple.txt", k=1)
        assert len(kept_files(folder)) == 1
        (folder / "notes" / "more.txt").write_text("yellow lemon")
        engine.add(folder / "notes")
    assert len(kept_files(folder)) == 1


def test_the_setting_keeps_nothing_and_deletes_what_was_kept(folder: Path):
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(folder / "notes")
        engine.search("a red fruit", k=1)
    assert kept_files(folder)
    off = load_settings({"keep_queries": 0}, environment={}, file=None)
    with Engine.open(folder / "store", settings=off) as engine:
        assert engine.search("a red fruit", k=1)
    assert not kept_files(folder)
