"""Goal 7 compares like with like: its pictures, its torch trunk, its ratios."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.goals import goal_07
from benchmarks.measure import Options


def test_its_pictures_come_from_the_seed_in_four_sizes_upright_and_wide(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / name).mkdir()
        goal_07.make_pictures(tmp_path / name, n=8, seed=seed)
    a, b, c = (
        [path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "abc"
    )
    assert a == b
    assert len({*a, *c}) == 16
    sizes = [Image.open(path).size for path in sorted((tmp_path / "a").iterdir())]
    assert set(sizes) == {*goal_07.SIZES_PX, *((high, wide) for wide, high in goal_07.SIZES_PX)}


def test_the_torch_trunk_is_the_one_that_ships():
    pytest.importorskip("onnx")
    rng = np.random.default_rng(1)
    side = goal_07.open_encoder("starter", threads=1).media.image_size_px
    soft = rng.integers(0, 255, (2, 6, 6, 3), dtype=np.uint8)
    pictures = [np.asarray(Image.fromarray(few).resize((side, side))) for few in soft]
    speed, cosine = goal_07.trunk_rows(
        pictures, batch=2, threads=1, options=Options(n=2, dim=384, rounds=1, min_s=0.001)
    )
    assert cosine.value == pytest.approx(1, abs=0.02)
    assert speed.value is not None
    assert speed.value > 1


def test_an_add_is_held_against_forwards_and_against_both_parts_one_after_the_other(monkeypatch):
    monkeypatch.setattr(goal_07, "decode", lambda *_: (1.0, []))
    monkeypatch.setattr(goal_07, "encode", lambda *_: 4.0)
    monkeypatch.setattr(goal_07, "add", lambda *_: 8.0)
    rows = goal_07._add_rows([], None, Options(n=1, dim=384, rounds=2))  # type: ignore[arg-type]
    assert [row.value for row in rows] == [4 / 8, 4 / 5, 5 / 8]
    assert [row.met for row in rows] == [False, None, None]


def test_a_whole_run_stores_every_picture(tmp_path):
    rows = goal_07.run(Options(n=6, dim=384, rounds=1, rest={"parts": "add"}))
    assert rows[0].details["files"] == 6
    assert all(row.value is not None and row.value > 0 for row in rows)
