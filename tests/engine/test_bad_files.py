"""One bad file never costs another: 500 files with a tenth of them broken in every way."""

from __future__ import annotations

import json
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from colour_media import make_media

from index.segments import open_segment
from retrieval.engine import Engine

# name of the broken file -> code it must get
BAD = {
    "cut": "truncated",
    "text": "not_an_image",
    "bomb": "too_many_pixels",
    "empty": "empty_file",
    "segfault": "decoder_crashed",
    "hang": "decoder_timeout",
}


def vectors_by_path(store: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with Engine.open(store) as engine, engine._catalog.reading() as reader:
        for entry in reader.segments():
            segment = open_segment(engine.store.segments / entry.info.name)
            vectors = segment.vectors(0, len(segment.ids))
            parts = reader.parts(segment.ids.tolist())
            items = reader.items({part.item_id for part in parts.values()})
            for row, part_id in enumerate(segment.ids.tolist()):
                path = Path(items[parts[part_id].item_id].path).name
                found[path] = found.get(path, b"") + vectors[row].tobytes()
    return found


@pytest.mark.slow
def test_good_files_get_the_same_vectors_and_bad_ones_their_code(tmp_path: Path) -> None:
    media = make_media(tmp_path / "media", n_files=450)
    for folder in ("clean", "dirty"):
        (tmp_path / folder).mkdir()
    assert crossfind("index", "build", media, "--model", "fake", cwd=tmp_path / "clean").code == 0
    clean = vectors_by_path(tmp_path / "clean")
    expected = {}
    for number in range(50):
        kind = list(BAD)[number % len(BAD)] if number < 48 else "text"
        path = media / f"{'hang-' if kind == 'hang' else ''}{number * 9:04}-{kind}.png"
        if kind == "segfault":
            path = media / f"segfault-{number * 9:04}.png"
        write_bad(path, kind, number)
        expected[path.name] = BAD[kind]
    done = crossfind(
        "index", "build", media, "--model", "fake", "--decode-timeout", "2",
        cwd=tmp_path / "dirty", CROSSFIND_TEST_DECODER="1", timeout_s=300,
    )  # fmt: skip
    assert done.code == 3, done.err
    errors = json.loads(crossfind("index", "errors", "--json", cwd=tmp_path / "dirty").out)
    assert {Path(e["path"]).name: e["code"] for e in errors["errors"]} == expected
    assert all(len(e["reason"]) > 20 for e in errors["errors"])
    assert vectors_by_path(tmp_path / "dirty") == clean


def write_bad(path: Path, kind: str, number: int) -> None:
    if kind == "text":
        path.write_text(f"I am no picture {number}")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "bomb":
        media_files.png_claiming(path, width=40_000, height=40_000 + number)
    else:
        rng = np.random.default_rng(number)
        media_files.picture(path, size=(64, 64), seed=int(rng.integers(1 << 30)))
        if kind == "cut":
            media_files.cut(path, share=0.5)


def test_a_run_in_which_every_file_is_bad_exits_1(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for number in range(3):
        (tmp_path / "m" / f"{number}.jpg").write_text("no picture")
    done = crossfind("index", "build", "m", "--model", "fake", cwd=tmp_path)
    assert done.code == 1, done.err
    assert "3 bad files" in done.err
