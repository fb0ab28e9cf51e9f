"""One writer, many readers; and a second writer, who has to wait: on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import crossfind, environment
from postgres import postgres

from retrieval.catalog import turns
from retrieval.engine import Engine
from tests.faults.crowd import Seen, crowd

_HOLD = (
    "import sys, time; from retrieval.engine import Engine\n"
    "with Engine.open(sys.argv[1]) as engine, engine.turn():\n"
    "    with engine._catalog.writing() as writer:\n"
    "        writer.touch()\n"
    "        print('writing', flush=True)\n"
    "        time.sleep(60)\n"
)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def catalog(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the URL of an empty catalog, and have every store of the test use it."""
    if request.param == "sqlite":
        yield ""
        return
    monkeypatch.setattr(turns, "WAIT_S", 0.2)  # there a second writer waits before it is refused
    with tempfile.TemporaryDirectory(prefix="pg") as folder, postgres(Path(folder)) as url:
        monkeypatch.setenv("CROSSFIND_CATALOG", url)
        yield url


def test_readers_see_whole_generations_while_a_writer_works(catalog: str, tmp_path: Path) -> None:
    check(crowd(tmp_path / "store", n_readers=2, n_pairs=5), n_generations=2)


@pytest.mark.slow
def test_eight_readers_see_whole_generations_through_a_hundred_commits(
    catalog: str, tmp_path: Path
) -> None:
    check(crowd(tmp_path / "store", n_readers=8, n_pairs=60), n_generations=40)


def check(seen: list[Seen], *, n_generations: int) -> None:
    for one in seen:
        assert one.n_torn == 0, one
        assert one.n_backward == 0, one
    assert max(one.n_generations for one in seen) >= n_generations, seen


def test_a_second_writer_is_refused_within_a_second_and_told_by_whom(
    catalog: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("red")
    with Engine.open(tmp_path / ".crossfind", create=True, model="fake") as engine:
        engine.add(tmp_path / "a.txt")
        with engine.turn():
            started_s = time.monotonic()
            done = crossfind("index", "add", "a.txt", cwd=tmp_path, CROSSFIND_CATALOG=catalog)
            assert time.monotonic() - started_s < 1
    assert done.code == 5
    assert f"is being written by pid {os.getpid()} on host " in done.err


@pytest.mark.parametrize("n_times", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_the_lock_of_a_writer_goes_with_it_and_so_does_what_it_had_not_committed(
    catalog: str, tmp_path: Path, n_times: int
) -> None:
    (tmp_path / "a.txt").write_text("red")
    store = tmp_path / ".crossfind"
    with Engine.open(store, create=True, model="fake") as engine:
        engine.add(tmp_path / "a.txt")
    for number in range(n_times):
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(store)],
            env=environment(CROSSFIND_CATALOG=catalog),
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"writing\n"
        refused = crossfind("index", "add", "a.txt", cwd=tmp_path, CROSSFIND_CATALOG=catalog)
        assert (refused.code, f"by pid {holder.pid} on" in refused.err) == (5, True)
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        (tmp_path / "a.txt").write_text(f"red {number}")
        done = crossfind("index", "add", "a.txt", cwd=tmp_path, CROSSFIND_CATALOG=catalog)
        assert done.code == 0, done.err
        with Engine.open(store) as engine:
            assert engine.status().generation == number + 2
            assert [hit.text for hit in engine.search("red", k=5)] == [f"red {number}"]
