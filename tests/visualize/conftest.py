"""A store of colours to be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.config import load_settings
from retrieval.engine import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    settings = load_settings({"workers": 1}, environment={}, file=tmp_path / "none")
    with Engine.open(tmp_path / ".crossfind", create=True, model="fake", settings=settings) as it:
        yield it
