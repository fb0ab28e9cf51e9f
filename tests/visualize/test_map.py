"""The map: points that the definition gives, and a page that asks nobody and trusts no name."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.errors import InputError
from retrieval.media import Loader
from retrieval.visualize.map import (
    THUMBNAIL_SPEC,
    Dot,
    StoreMap,
    draw_map,
    make_map,
    make_thumbnails,
)
from retrieval.visualize.project import principal_plane

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e&'\".png"


def data_of(page: str) -> dict:
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.S).group(1))


def test_the_plane_is_that_of_the_singular_vectors() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, 9)) * np.arange(9, 0, -1)).astype(np.float32)
    points, kept = principal_plane(vectors)
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    assert np.allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-3)
    assert kept == pytest.approx(float((s[:2] ** 2).sum() / (s**2).sum()))
    again, _ = principal_plane(vectors.copy())
    assert np.array_equal(points, again)


def test_one_vector_and_equal_vectors_have_a_place() -> None:
    for rows in (np.ones((1, 3), np.float32), np.ones((4, 3), np.float32)):
        points, kept = principal_plane(rows)
        assert np.allclose(points, 0)
        assert kept == 1.0
    with pytest.raises(InputError):
        principal_plane(np.zeros((0, 3), np.float32))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    folder.mkdir()
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("green", (0, 255, 0))):
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    media_files.wav(folder / "low.wav")
    (folder / "note.txt").write_text("a red </script> note")
    return folder


def test_every_item_has_a_dot_and_pictures_have_thumbnails(engine: Engine, world: Path) -> None:
    engine.add(world)
    found = make_map(read_contents(engine))
    assert {Path(d.path).name: d.modality for d in found.dots} == {
        "red.png": "image", "blue.png": "image", "green.png": "image", "low.wav": "audio",
        "note.txt": "text",
    }  # fmt: skip
    assert max(max(abs(d.x), abs(d.y)) for d in found.dots) == 1.0
    (world / "green.png").unlink()
    with Loader(spec=THUMBNAIL_SPEC) as loader:
        small, failures = make_thumbnails(found.dots, loader=loader)
    assert [Path(f.path).name for f in failures] == ["green.png"]
    dots = data_of(draw_map(found, thumbnails=small))["dots"]
    (red,) = [d for d in dots if d["n"] == "red.png"]
    picture = Image.open(io.BytesIO(base64.b64decode(red["s"].split(",")[1])))
    assert picture.size == (64, 64)
    assert picture.getpixel((32, 32))[0] > 240
    assert [d["t"] for d in dots if d["n"] == "note.txt"] == ["a red </script> note"]
    assert sum("s" in d for d in dots) == 2


def test_with_the_gap_the_modalities_stand_apart(engine: Engine, world: Path) -> None:
    engine.add(world)
    contents = read_contents(engine)
    apart, together = make_map(contents, with_gap=True), make_map(contents)
    vectors = contents.item_vectors()[1]
    points, _ = principal_plane(vectors)
    wanted = points / np.abs(points).max()
    assert np.allclose([(d.x, d.y) for d in apart.dots], wanted, atol=1e-3)
    assert [(d.x, d.y) for d in apart.dots] != [(d.x, d.y) for d in together.dots]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_hostile_names_stay_text_and_nothing_is_requested() -> None:
    dot = Dot(id=1, path=f"/a/{HOSTILE}", modality="image", x=0.0, y=0.0, text=HOSTILE)
    plain = Dot(id=1, path="/a/b.png", modality="image", x=0.0, y=0.0)
    page = draw_map(StoreMap((dot,), 0.5, HOSTILE, False), thumbnails={}, title=HOSTILE)
    tags, plain_tags = _Tags(), _Tags()
    tags.feed(page)
    plain_tags.feed(draw_map(StoreMap((plain,), 0.5, "m", False), thumbnails={}))
    assert tags.tags == plain_tags.tags  # no element was smuggled in
    assert tags.links == []
    assert "://" not in page
    assert "default-src 'none'" in page
    assert data_of(page)["dots"][0]["t"] == HOSTILE
    assert "\\u202e" in data_of(page)["dots"][0]["n"]  # a direction mark is written out


def test_the_command_draws_a_page(world: Path, tmp_path: Path) -> None:
    crossfind("index", "add", world, "--model", "fake", cwd=tmp_path)
    done = crossfind("map", "--out", "m.html", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["dots"]) == 5
    assert len(data_of((tmp_path / "m.html").read_text())["dots"]) == 5
