"""The peak of an explanation lies on what was planted."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import NotFoundError, UsageError
from retrieval.explain.draw import draw
from retrieval.explain.explain import explain
from retrieval.explain.occlusion import picture_map, shares, sound_profile, word_drops
from retrieval.media import Loader

FAKE = FakeEncoder()
SPACE = FAKE.spaces[0]
RED = FAKE.encode(["red"], modality="text")[0]


def planted(seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Paint a red square of 10 on a blue-green ground of 32; its upper left corner."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 1:] = rng.integers(60, 200, (32, 32, 2))
    row, column = (int(v) for v in rng.integers(0, 23, 2))
    pixels[row : row + 10, column : column + 10] = (255, 0, 0)
    return pixels, (row, column)


def test_the_peak_lies_on_the_planted_object() -> None:
    inside = 0
    for seed in range(50):
        pixels, (row, column) = planted(seed)
        x, y = picture_map(pixels, query=RED, encoder=FAKE, space=SPACE).peak
        inside += row <= 32 * y <= row + 10 and column <= 32 * x <= column + 10
    assert inside >= 40


def test_the_score_is_the_plain_cosine_and_a_plain_picture_has_no_peak() -> None:
    pixels, _ = planted(3)
    found = picture_map(pixels, query=RED, encoder=FAKE, space=SPACE)
    assert found.score == pytest.approx(float(FAKE.encode([pixels], modality="image")[0] @ RED))
    flat = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    assert np.abs(picture_map(flat, query=RED, encoder=FAKE, space=SPACE).heat).max() < 1e-6


def composite(seed: int) -> tuple[np.ndarray, float]:
    """Mix faint high notes of 6 s with one second of loud low hum; when it begins."""
    rng = np.random.default_rng(seed)
    t = np.arange(6 * 16_000) / 16_000
    start_s = float(rng.uniform(0, 5))
    high = 0.05 * np.sin(2 * np.pi * rng.uniform(4000, 6000) * t)
    hum = 0.8 * np.sin(2 * np.pi * 100 * t) * ((t >= start_s) & (t < start_s + 1))
    return (high + hum).astype(np.float32), start_s


def test_the_peak_lies_on_the_sounding_second() -> None:
    inside = 0
    for seed in range(50):
        samples, start_s = composite(seed)
        pieces = sound_profile(samples, sample_rate_hz=16_000, query=RED, encoder=FAKE, space=SPACE)
        best = max(pieces, key=lambda piece: piece.drop)
        middle = (best.start_s + best.end_s) / 2
        inside += start_s <= middle <= start_s + 1
    assert inside >= 40


def test_pieces_cover_a_sound_without_gaps_and_shares_sum_to_one() -> None:
    samples, _ = composite(1)
    pieces = sound_profile(
        samples[:17_000], sample_rate_hz=16_000, start_s=3.0, query=RED, encoder=FAKE, space=SPACE
    )
    assert pieces[0].start_s == 3.0
    assert pieces[-1].end_s == pytest.approx(3 + 17_000 / 16_000)
    for one, following in pairwise(pieces):
        assert one.end_s == following.start_s
    assert sum(p.share for p in pieces) in (0.0, pytest.approx(1, abs=1e-4))


def test_word_drops_equal_leaving_each_word_out_by_hand() -> None:
    pieces = word_drops("one red blue thing", other=RED, encoder=FAKE, space=SPACE)
    texts = ["red blue thing", "one blue thing", "one red thing", "one red blue"]
    whole = float(FAKE.encode(["one red blue thing"], modality="text")[0] @ RED)
    slow = [whole - float(v @ RED) for v in FAKE.encode(texts, modality="text")]
    assert [p.label for p in pieces] == ["one", "red", "blue", "thing"]
    assert [p.drop for p in pieces] == pytest.approx(slow, abs=1e-6)
    assert max(pieces, key=lambda p: p.share).label == "red"
    assert shares([-1.0, -2.0]) == [0.0, 0.0]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    folder.mkdir()
    pixels, _ = planted(5)
    Image.fromarray(pixels).save(folder / "square.png")
    media_files.wav(folder / "hum.wav", samples=composite(2)[0][:, None], rate_hz=16_000)
    (folder / "rows.csv").write_text("text\nthe deep blue sea\na red day here\n")
    return folder


def test_every_kind_of_hit_is_explained(engine: Engine, world: Path) -> None:
    engine.add(world)
    with Loader(spec=FAKE.media) as loader:
        picture = explain(engine, query="red square", hit=world / "square.png", loader=loader)
        assert picture.picture is not None
        assert [p.label for p in picture.words] == ["red", "square"]
        hit = engine.search("red square", k=9, modality="image")[0]
        assert picture.score == pytest.approx(hit.score, abs=2e-3)
        assert Image.open(io.BytesIO(draw(picture))).size == (448, 448)
        sound = explain(engine, query="red", hit=world / "hum.wav", loader=loader)
        assert Image.open(io.BytesIO(draw(sound))).size == (800, 240)
        text = explain(engine, query=world / "square.png", hit=f"{world}/rows.csv#2", loader=loader)
        assert (text.words, text.part.payload) == ((), "a red day here")
        assert max(text.text, key=lambda p: p.drop).label == "red"
        with pytest.raises(UsageError, match="no picture"):
            draw(text)
        by_id = explain(engine, query=picture.item.id, hit=sound.item.id, loader=loader)
        assert by_id.query == f"#{picture.item.id}"
        with pytest.raises(NotFoundError):
            explain(engine, query="red", hit=world / "nothing.png", loader=loader)
        with pytest.raises(UsageError):
            explain(engine, query=" ", hit=world / "square.png", loader=loader)


def test_the_command_draws_and_prints(world: Path, tmp_path: Path) -> None:
    crossfind("index", "add", world, "--model", "fake", cwd=tmp_path)
    done = crossfind(
        "explain", "red square", "world/square.png", "--out", "why.png", "--json", cwd=tmp_path
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert np.array(found["heat"]).shape == (24, 24)
    assert Image.open(tmp_path / "why.png").format == "PNG"
    done = crossfind("explain", "red", "world/hum.wav", cwd=tmp_path)
    assert "query word" in done.out
    assert "time" in done.out
    assert crossfind("explain", "red", "nowhere.png", cwd=tmp_path).code == 2
