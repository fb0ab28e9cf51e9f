"""A store of colours whose neighbours, groups and strangers are known by arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import media_files
import pytest
from PIL import Image

from retrieval.config import Settings, load_settings
from retrieval.engine import Engine

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values = {"workers": 1, "store": str(tmp_path / "store")}
    return load_settings(values, environment={}, file=tmp_path / "none")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Four pictures, two sounds, a text, a table of two rows, and a captioned picture."""
    folder = tmp_path / "world"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    for name, pitch_hz in (("low", 100.0), ("high", 6400.0)):
        tone = media_files.tone(seconds=1.0, rate_hz=16_000, hz=pitch_hz)
        media_files.wav(folder / f"{name}.wav", samples=tone, rate_hz=16_000)
    (folder / "day.txt").write_text("a red day")
    (folder / "rows.csv").write_text("text\nblue sea\ngreen grass\n")
    Image.new("RGB", (40, 30), (250, 250, 0)).save(folder / "sun.png")
    (folder / "sun.txt").write_text("yellow sun")
    return folder


@pytest.fixture
def engine(tmp_path: Path, settings: Settings) -> Iterator[Engine]:
    with Engine.open(tmp_path / "store", create=True, model="fake", settings=settings) as opened:
        yield opened
