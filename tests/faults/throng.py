"""Many writers and many readers on PostgreSQL: each read is a state that was really committed.

    python -m tests.faults.throng [--seconds 60] [--writers 4] [--readers 8] [--catalog URL]

Without a URL it starts a server of its own. Every writer adds pairs of texts, each pair in one
commit, removes old ones, and builds now and then. It notes when each change began and ended, so
what a read may have seen of each writer is known: a state between the last that had ended when the
read began and the last that had begun when it ended. Commits come one after the other, so of any
two reads one has seen at least as much of every writer as the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import CrossfindError
from tests.faults.subject import in_process

_ALIVE = 12
"""Pairs that a writer keeps; it removes the oldest beyond."""
_BUILD_EVERY = 4
_ROOT = Path(__file__).parents[2]
_CLOCK = time.CLOCK_MONOTONIC  # one for all processes


@dataclass(frozen=True)
class Outcome:
    """What a throng came to.

    Attributes:
        n_reads, n_changes, n_builds: done.
        failed: what readers and writers said that failed.
        torn: reads that show no state that was committed.
        n_states: different states that were read.
    """

    n_reads: int
    n_changes: int
    n_builds: int
    failed: tuple[str, ...]
    torn: tuple[str, ...]
    n_states: int


def throng(
    folder: Path, *, catalog: str, seconds: float, n_writers: int, n_readers: int
) -> Outcome:
    """Let many write and many read a new store in a folder for some seconds."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CROSSFIND_CONFIG": "/nonexistent/config.toml",
        "CROSSFIND_CATALOG": catalog,
    }
    settings = load_settings({"catalog": catalog}, environment={}, file=folder / "none")
    Engine.open(folder / "store", create=True, model="fake", settings=settings).close()
    roles = [f"write{n}" for n in range(n_writers)] + [f"read{n}" for n in range(n_readers)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.throng", "--role", role, "--folder", str(folder)],
            cwd=_ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for role in roles
    ]  # fmt: skip
    while len(list(folder.glob("*.ready"))) < len(roles):
        if any(child.poll() is not None for child in children):
            break  # what it said is among what failed
        time.sleep(0.05)
    (folder / "begin").touch()
    time.sleep(seconds)
    (folder / "end").touch()
    said = [child.communicate(timeout=120)[1] for child in children]
    failed = [err[-500:] for child, err in zip(children, said, strict=True) if child.returncode]
    return _judge(folder, roles=roles, failed=failed)


def _judge(folder: Path, *, roles: list[str], failed: list[str]) -> Outcome:
    notes = {role: _notes(folder / f"{role}.jsonl") for role in roles}
    writers = [role for role in roles if role.startswith("write")]
    failed = failed + [n["failed"] for own in notes.values() for n in own if "failed" in n]
    reads = [n for role in roles if role.startswith("read") for n in notes[role] if "seen" in n]
    torn: list[str] = []
    cuts: set[tuple[int, ...]] = set()
    for read in reads:
        cut = tuple(_position(read, role, notes[role]) for role in writers)
        if -1 in cut:
            torn.append(f"{read['seen']} between {read['began']} and {read['ended']}")
        else:
            cuts.add(cut)
    chain = sorted(cuts, key=sum)
    for one, other in pairwise(chain):
        if any(a > b for a, b in zip(one, other, strict=True)):
            torn.append(f"{one} and {other}: neither is before the other")
    changes = [n for role in writers for n in notes[role] if "state" in n]
    n_builds = sum("built" in n for role in writers for n in notes[role])
    return Outcome(len(reads), len(changes), n_builds, tuple(failed), tuple(torn), len(cuts))


def _position(read: Mapping[str, object], role: str, notes: list[dict[str, object]]) -> int:
    """Tell which of a writer's states a read has seen; -1 for none it can have seen."""
    states = [n for n in notes if "state" in n]
    seen = read["seen"].get(role, [])  # type: ignore[attr-defined]
    for number in range(len(states), -1, -1):
        state = states[number - 1] if number else {"state": [], "began": 0, "ended": 0}
        if number and state["began"] > read["ended"]:  # type: ignore[operator]
            continue
        if state["state"] == seen:
            return number
        if state["ended"] < read["began"]:  # type: ignore[operator]
            return -1  # this one at least had to be seen
    return -1


def _notes(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class _Role:
    """A child of the throng: what it notes, and when it begins and ends."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._sink = (folder / f"{name}.jsonl").open("w")

    def turns(self) -> Iterator[int]:
        """Give numbers from the common beginning to the common end."""
        (self.folder / f"{self.name}.ready").touch()
        while not (self.folder / "begin").exists():
            time.sleep(0.01)
        number = 0
        while not (self.folder / "end").exists():
            yield number
            number += 1

    def note(self, **said: object) -> None:
        """Write a line."""
        self._sink.write(json.dumps(said) + "\n")
        self._sink.flush()


def _write(role: _Role) -> None:
    alive: list[str] = []
    with in_process(), Engine.open(role.folder / "store", model="fake") as engine:
        for number in role.turns():
            pair = role.folder / "pairs" / role.name / f"{number:06}"
            pair.mkdir(parents=True)
            for half in ("left", "right"):
                (pair / f"{half}.txt").write_text(f"red {role.name} word{number} {half}")
            alive = _change(role, engine, pair, [*alive, pair.name])
            if len(alive) > _ALIVE:
                alive = _change(role, engine, pair.parent / alive[0], alive[1:])
            if number % _BUILD_EVERY == _BUILD_EVERY - 1:
                engine.build()
                role.note(built=number)


def _change(role: _Role, engine: Engine, pair: Path, state: list[str]) -> list[str]:
    began = time.clock_gettime_ns(_CLOCK)
    if pair.name in state:
        engine.add(pair)
    else:
        engine.remove(pair)
    role.note(state=state, began=began, ended=time.clock_gettime_ns(_CLOCK))
    return state


def _read(role: _Role) -> None:
    with in_process(), Engine.open(role.folder / "store", model="fake") as engine:
        for _ in role.turns():
            began = time.clock_gettime_ns(_CLOCK)
            try:
                hits = engine.search("red", k=1000)
                assert not engine.warnings, engine.warnings
            except (CrossfindError, AssertionError) as error:
                role.note(failed=f"{role.name}: {error}")
                continue
            ended = time.clock_gettime_ns(_CLOCK)
            role.note(seen=_pairs([Path(hit.path) for hit in hits]), began=began, ended=ended)


def _pairs(paths: list[Path]) -> dict[str, list[str]]:
    """Name the pairs of each writer; half a pair is named as what it is."""
    halves = Counter((path.parent.parent.name, path.parent.name) for path in paths)
    seen: dict[str, list[str]] = {}
    for (writer, pair), count in sorted(halves.items()):
        seen.setdefault(writer, []).append(pair if count == 2 else f"{count} of {pair}")
    return seen


def main() -> int:
    """Run a throng, or be a part of one; exit 1 where a read failed or was torn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--catalog", default="")
    parser.add_argument("--role", default="")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.role:
        role = _Role(options.folder, options.role)
        (_write if options.role.startswith("write") else _read)(role)
        return 0
    with ExitStack() as held:
        catalog = options.catalog
        if not catalog:
            sys.path.insert(0, str(_ROOT / "tests" / "support"))
            from postgres import postgres  # only where a server is to be started

            server = held.enter_context(tempfile.TemporaryDirectory(prefix="pg"))
            catalog = held.enter_context(postgres(Path(server)))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="crossfind-throng-")))
        found = throng(
            folder, catalog=catalog, seconds=options.seconds,
            n_writers=options.writers, n_readers=options.readers,
        )  # fmt: skip
    sys.stdout.write(
        f"{found.n_changes} changes and {found.n_builds} builds by {options.writers} writers, "
        f"{found.n_reads} reads of {found.n_states} states by {options.readers} readers: "
        f"{len(found.failed)} failed, {len(found.torn)} torn\n"
    )
    for line in (*found.failed, *found.torn)[:10]:
        sys.stdout.write(f"  {line}\n")
    return bool(found.failed or found.torn or not found.n_reads)


if __name__ == "__main__":
    sys.exit(main())
