"""Whatever happened to a store before, it answers as a dict and numpy do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.tracing import quiet_environment


@pytest.mark.parametrize(
    ("n_lives", "n_steps"),
    [pytest.param(4, 12, id="few"), pytest.param(150, 30, id="many", marks=pytest.mark.slow)],
)
def test_any_life_of_a_store_leaves_what_a_dict_holds_and_numpy_finds(
    n_lives: int, n_steps: int
) -> None:
    command = [sys.executable, "-m", "tests.faults.life", "--same"]
    done = subprocess.run(
        [*command, "--examples", str(n_lives), "--steps", str(n_steps)],
        cwd=Path(__file__).parents[2],
        env=quiet_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{n_lives} lives, nothing wrong\n"
