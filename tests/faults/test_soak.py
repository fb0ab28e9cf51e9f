"""Killed at random moments and gone on with, as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.tracing import quiet_environment


@pytest.mark.slow
def test_random_kills_and_stops_leave_no_trace() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", "--kills", "10", "--stops", "2"],
        cwd=Path(__file__).parents[2],
        env=quiet_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"kill"') == 10
    assert done.stdout.count("Ctrl-C") == 2
