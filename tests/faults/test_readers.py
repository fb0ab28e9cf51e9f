"""One writer, many readers; and a second writer, who has to wait."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cli import crossfind

from retrieval.engine import Engine
from tests.faults.crowd import Seen, crowd


def test_readers_see_whole_generations_while_a_writer_works(tmp_path: Path) -> None:
    check(crowd(tmp_path / "store", n_readers=2, n_pairs=8), n_generations=3)


@pytest.mark.slow
def test_eight_readers_see_whole_generations_through_a_hundred_commits(tmp_path: Path) -> None:
    check(crowd(tmp_path / "store", n_readers=8, n_pairs=60), n_generations=40)


def check(seen: list[Seen], *, n_generations: int) -> None:
    for one in seen:
        assert one.n_torn == 0, one
        assert one.n_backward == 0, one
    assert max(one.n_generations for one in seen) >= n_generations, seen


def test_a_second_writer_is_refused_within_a_second_and_told_by_whom(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("red")
    with Engine.open(tmp_path / ".crossfind", create=True, model="fake") as engine:
        engine.add(tmp_path / "a.txt")
        with engine.store.lock():
            started_s = time.monotonic()
            done = crossfind("index", "add", "a.txt", cwd=tmp_path)
            assert time.monotonic() - started_s < 1
    assert done.code == 5
    assert "is being written by pid " in done.err
    assert "on host " in done.err
