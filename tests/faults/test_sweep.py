"""One fault at a time: kill, full disk, failing disk, at any system call."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.sweep import judge, sweep
from tests.faults.tracing import Place, has_strace, run_subject

needs_strace = pytest.mark.skipif(not has_strace(), reason="strace is not here or may not trace")


@needs_strace
def test_a_fault_at_a_few_system_calls_costs_nothing_acknowledged(tmp_path: Path) -> None:
    met = list(sweep(tmp_path, share=0.0015))
    assert len(met) >= 2
    assert [(str(fault), wrong) for fault, wrong in met if wrong] == []


@needs_strace
@pytest.mark.slow
def test_a_fault_at_one_in_twenty_system_calls_costs_nothing_acknowledged(tmp_path: Path) -> None:
    met = list(sweep(tmp_path, share=0.05, seed=9))
    assert len(met) >= 60
    assert [(str(fault), wrong) for fault, wrong in met if wrong] == []


@pytest.mark.parametrize("limit_kib", [1, 60, 100])
def test_files_that_may_not_grow_end_in_exit_6_and_lose_nothing(
    tmp_path: Path, limit_kib: int
) -> None:
    place = Place(tmp_path / "run").start()
    done = run_subject(place, limit_kib=limit_kib)
    assert judge(place, exit_code=done.returncode, killed=False, said=done.stderr) == []
