"""One fault at a time into every system call of a store's life: kill, full disk, failing disk.

    python -m tests.faults.sweep [--share 1.0] [--journal TRUNCATE] [--fault STEP:CALL:NUMBER:WHAT]

Runs in a process of its own that forks one child a fault (see `forks`), and prints a JSON line for
each: threads of other tests, and theirs of faiss, do not live through a fork.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from retrieval.catalog import connect
from retrieval.errors import CrossfindError
from tests.faults.forks import in_fork
from tests.faults.oracle import acked, problems
from tests.faults.plants import PLANTS
from tests.faults.subject import (
    EXCHANGE,
    N_STEPS,
    OWN_EXIT,
    SHARED_MEMORY,
    exchange,
    in_process,
    live,
    run,
)
from tests.faults.tracing import CALLS, Place, count_calls, quiet_environment

KILL, FULL, FAILING = "signal=KILL", "error=ENOSPC", "error=EIO"
JOURNALS = ("TRUNCATE", "WAL")
"""The one that stores have, and the other that SQLite offers for the same promise."""

_ERRORS = {
    "write": (FULL, FAILING),
    "pwrite64": (FULL, FAILING),
    "ftruncate": (FAILING,),
    "fsync": (FULL, FAILING),
    "fdatasync": (FAILING,),
    "rename": (FULL, FAILING),
    "unlink": (FAILING,),
}
_FINE_EXITS = {0, 6, OWN_EXIT}  # done, or stopped with an error that names the disk


@dataclass(frozen=True)
class Fault:
    """What goes wrong: the `number`th call of that name in a step meets `what`."""

    step: int
    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.step}:{self.call}:{self.number}:{self.what}"


class Life:
    """A store's life on disk, saved before each step, so that a fault needs that step only.

    Args:
        folder: a new one; all stores lie at one path in it, for a catalog knows paths.
    """

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder / "here").start()
        self._saved = [folder / f"before{step}" for step in range(1, N_STEPS + 1)]
        self._n_calls: list[dict[str, int]] = []
        for step, saved in enumerate(self._saved, 1):
            shutil.copytree(self.place.folder, saved)
            log = folder / f"step{step}.log"
            options = ("-e", f"trace={','.join(CALLS)}", "-o", str(log))
            assert self._live(step, strace=options) == 0, f"step {step} fails without a fault"
            self._n_calls.append(count_calls(log))

    def plan(self) -> list[Fault]:
        """List every fault: each call of each step with each thing that can go wrong."""
        return [
            Fault(step, call, number, what)
            for step, counts in enumerate(self._n_calls, 1)
            for call, n_calls in counts.items()
            for number in range(1, n_calls + 1)
            for what in (KILL, *_ERRORS[call])
        ]

    def suffer(self, fault: Fault, *, plant: str = "") -> tuple[int, list[str]]:
        """Take one step with one fault; list what is wrong right after, and once gone on.

        Returns:
            How the step ended, and what is wrong.

        A store that met a fault must open with no repair, hold what was acknowledged, and give the
        complete result when the same command runs again.
        """
        step, store = fault.step, self.place.store
        shutil.rmtree(self.place.folder)
        shutil.copytree(self._saved[step - 1], self.place.folder)
        options = ("-e", f"trace={fault.call}", "-e", _injection(fault), "-o", os.devnull)
        code = self._live(step, strace=options, plant=plant)
        killed = fault.what == KILL and code == -signal.SIGKILL
        wrong = [] if killed or code in _FINE_EXITS else [f"exit {code}"]
        if code == 0 and fault.call == "fsync" and fault.what != KILL:
            # Ours. SQLite syncs by fdatasync, and passes over a directory that cannot be synced.
            wrong.append("a failed sync was passed over")
        try:
            wrong += problems(store, n_acked=step if code == 0 else step - 1)
            live(step, store=store, media=self.place.media)
            wrong += problems(store, n_acked=step)
        except (AssertionError, CrossfindError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
        return code, wrong

    def _live(self, step: int, *, strace: tuple[str, ...], plant: str = "") -> int:
        if step == EXCHANGE:  # this harness's own rename meets no fault
            exchange(self.place.media)

        def job() -> None:
            if plant:
                PLANTS[plant]()
            live(step, store=self.place.store, media=self.place.media)

        return in_fork(job, strace=strace)


@contextmanager
def journal(mode: str) -> Iterator[None]:
    """Let every SQLite catalog of this process keep that journal."""
    pragmas = tuple(p.replace("=TRUNCATE", f"={mode}") for p in connect._PRAGMAS)
    assert mode == "TRUNCATE" or pragmas != connect._PRAGMAS
    with mock.patch.object(connect, "_PRAGMAS", pragmas):
        yield


def judge(place: Place, *, exit_code: int, killed: bool, said: str) -> list[str]:
    """List what is wrong after a whole life that met a fault, and after going on."""
    n_acked = acked(place.acks)
    wrong = []
    if not killed and exit_code not in _FINE_EXITS:
        wrong.append(f"exit {exit_code}: {said[-300:]}")
    if exit_code == 0 and n_acked < N_STEPS:
        wrong.append(f"exit 0 after {n_acked} steps")
    try:
        wrong += problems(place.store, n_acked=n_acked)
        with in_process():
            run(place.store, place.media)
        wrong += problems(place.store, n_acked=N_STEPS)
    except (AssertionError, CrossfindError) as error:
        wrong.append(f"{type(error).__name__}: {error}")
    return wrong


def sweep(*options: str) -> Iterator[dict[str, Any]]:
    """Suffer planned faults in a process of its own; give a row for each.

    Args:
        options: of the command, see the head of this file.

    Returns:
        `fault`, `exit` (how the step ended) and `wrong` (a list, empty where all is well).
    """
    command = [sys.executable, "-m", "tests.faults.sweep", *options]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=quiet_environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    assert process.returncode == 0, f"the sweep ended with {process.returncode}"


def _injection(fault: Fault) -> str:
    return f"inject={fault.call}:{fault.what}:when={fault.number}"


def _chosen(faults: list[Fault], options: argparse.Namespace) -> list[Fault]:
    kept = [
        fault
        for fault in faults
        # A catalog is made with the first journal, and copied into its place without another's.
        if (options.journal == JOURNALS[0] or fault.step > 1)
        and options.call in ("", fault.call)
        and options.what in fault.what
        and options.fault in ("", str(fault))
    ]
    # In random order, so that a sweep that was stopped early has tried a fair share.
    return random.Random(options.seed).sample(kept, round(options.share * len(kept)))


def main() -> int:
    """Suffer what was chosen, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the planned faults")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--journal", choices=JOURNALS, default=JOURNALS[0])
    parser.add_argument("--call", default="", help="faults of this system call only")
    parser.add_argument("--what", default="", help="faults of this kind only: KILL, ENOSPC, EIO")
    parser.add_argument("--fault", default="", help="this fault only, as it was printed")
    parser.add_argument("--first", action="store_true", help="end with the first that is wrong")
    parser.add_argument("--plant", default="", help="with this bug planted")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="crossfind-faults-", dir=SHARED_MEMORY) as folder,
        in_process(),
        journal(options.journal),
    ):
        life = Life(Path(folder))
        for fault in _chosen(life.plan(), options):
            code, wrong = life.suffer(fault, plant=options.plant)
            row = {"fault": str(fault), "exit": code, "wrong": wrong}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
            if wrong and options.first:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
