"""One fault at a time: kill, full disk, failing disk, at any system call."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.sweep import JOURNALS, judge, sweep
from tests.faults.tracing import Place, has_strace, run_subject

needs_strace = pytest.mark.skipif(not has_strace(), reason="strace is not here or may not trace")


@needs_strace
def test_a_fault_at_a_few_system_calls_costs_nothing_acknowledged() -> None:
    check("--share", "0.004", at_least=8)


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("mode", JOURNALS)
def test_a_fault_at_one_in_seven_system_calls_costs_nothing_acknowledged(mode: str) -> None:
    check("--share", "0.15", "--seed", "9", "--journal", mode, at_least=300)


def check(*options: str, at_least: int) -> None:
    rows = list(sweep(*options))
    assert len(rows) >= at_least
    assert sum(row["exit"] != 0 for row in rows) > 0.7 * len(rows), "the faults were not met"
    assert [row for row in rows if row["wrong"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("limit_kib", [1, 60, 100])
def test_files_that_may_not_grow_end_in_exit_6_and_lose_nothing(
    tmp_path: Path, limit_kib: int
) -> None:
    place = Place(tmp_path / "run").start()
    done = run_subject(place, limit_kib=limit_kib)
    assert judge(place, exit_code=done.returncode, killed=False, said=done.stderr) == []
