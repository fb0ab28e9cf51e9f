"""Many writers and readers on PostgreSQL; `python -m tests.faults.throng` takes its time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from postgres import postgres

from tests.faults.throng import _position, throng

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize(
    ("seconds", "n_writers", "n_readers"),
    [(4.0, 2, 3), pytest.param(60.0, 4, 8, marks=pytest.mark.slow)],
)
def test_every_read_is_a_state_that_was_committed(
    tmp_path: Path, seconds: float, n_writers: int, n_readers: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="pg") as folder, postgres(Path(folder)) as url:
        found = throng(
            tmp_path, catalog=url, seconds=seconds, n_writers=n_writers, n_readers=n_readers
        )
    assert found.failed == ()
    assert found.torn == ()
    assert min(found.n_changes, found.n_reads) > n_writers
    assert found.n_states > 1


def test_a_read_that_missed_a_commit_or_saw_half_of_one_is_noticed() -> None:
    notes: list[dict[str, object]] = [
        {"state": ["1"], "began": 10, "ended": 20},
        {"state": ["1", "2"], "began": 30, "ended": 40},
    ]

    def at(seen: list[str], began: int, ended: int) -> int:
        return _position({"seen": {"w": seen}, "began": began, "ended": ended}, "w", notes)

    assert [at([], 5, 15), at(["1"], 15, 16), at(["1"], 35, 36), at(["1", "2"], 35, 36)] == [
        0, 1, 1, 2,
    ]  # fmt: skip
    assert at([], 25, 26) == -1  # the first had ended
    assert at(["1", "2"], 25, 26) == -1  # the second had not begun
    assert at(["1 of 2"], 35, 36) == -1
    assert at(["2"], 35, 50) == -1
