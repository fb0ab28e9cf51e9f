"""The harness itself: it finds nothing in the code as it is, and every bug that is planted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.hunt import HUNTS, hunt
from tests.faults.plants import PLANTS
from tests.faults.tracing import has_strace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_strace(), reason="strace is not here or may not trace"),
]


def test_there_are_at_least_twelve_bugs_to_plant() -> None:
    assert len(PLANTS) >= 12
    assert set(HUNTS) == set(PLANTS)


@pytest.mark.parametrize("plant", PLANTS)
def test_the_harness_finds_what_was_planted(plant: str, tmp_path: Path) -> None:
    assert hunt(plant, folder=tmp_path) != []


@pytest.mark.parametrize("way", sorted({*HUNTS.values()}))
def test_the_harness_finds_nothing_where_nothing_was_planted(way: str, tmp_path: Path) -> None:
    assert hunt("", folder=tmp_path, way=way) == []


def test_the_whole_harness_has_a_command() -> None:
    command = [sys.executable, "-m", "tests.faults", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--full" in done.stdout
