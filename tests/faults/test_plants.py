"""The harness itself: it finds nothing in the code as it is, and every bug that is planted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from index import storage
from retrieval.catalog import connect
from retrieval.engine import Engine
from tests.faults.hunt import HUNTS, hunt
from tests.faults.plants import PLANTS, planted
from tests.faults.tracing import has_strace

needs_strace = pytest.mark.skipif(not has_strace(), reason="strace is not here or may not trace")


def test_there_are_at_least_twelve_bugs_to_plant() -> None:
    assert len(PLANTS) >= 12
    assert set(HUNTS) == set(PLANTS)


@pytest.mark.parametrize("plant", PLANTS)
def test_what_a_bug_is_planted_into_is_still_there(plant: str) -> None:
    before = (storage._fsync, Engine.open, connect._PRAGMAS, storage._HashingSink.write)
    with planted(plant):
        pass
    assert (
        storage._fsync,
        Engine.open,
        connect._PRAGMAS,
        storage._HashingSink.write,
    ) == before


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS)
def test_the_harness_finds_what_was_planted(plant: str, tmp_path: Path) -> None:
    assert hunt(plant, folder=tmp_path) != []


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("way", sorted({*HUNTS.values()}))
def test_the_harness_finds_nothing_where_nothing_was_planted(way: str, tmp_path: Path) -> None:
    assert hunt("", folder=tmp_path, way=way) == []


@pytest.mark.slow
def test_the_whole_harness_has_a_command() -> None:
    command = [sys.executable, "-m", "tests.faults", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--full" in done.stdout
