"""One fault at a time into every system call of a whole run: kill, full disk, failing disk."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import CrossfindError
from tests.faults.oracle import acked, problems
from tests.faults.subject import N_STEPS, OWN_EXIT, in_process, run
from tests.faults.tracing import QUICK, Place, count_calls, run_subject

KILL, FULL, FAILING = "signal=KILL", "error=ENOSPC", "error=EIO"
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
    """What goes wrong: the `number`th call of that name meets `what`."""

    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.call} {self.number} {self.what}"


def plan(folder: Path, *, share: float = 1.0, seed: int = 8) -> list[Fault]:
    """List the faults of a sweep: every call with every fault, or a random share of them."""
    counts = count_calls(Place(folder / "count").start())
    faults = [
        Fault(call, number, what)
        for call, n_calls in counts.items()
        for number in range(1, n_calls + 1)
        for what in (KILL, *_ERRORS[call])
    ]
    shutil.rmtree(folder / "count")
    rng = random.Random(seed)
    return faults if share >= 1 else sorted(rng.sample(faults, int(share * len(faults))), key=str)


def inject(fault: Fault, *, place: Place, plant: str = "") -> subprocess.CompletedProcess[str]:
    """Run the subject with one fault."""
    meets = f"inject={fault.call}:{fault.what}:when={fault.number}"
    options = (*QUICK, "-e", f"trace={fault.call}", "-e", meets, "-o", os.devnull)
    return run_subject(place, strace=options, plant=plant)


def suffer(fault: Fault, *, place: Place, plant: str = "") -> list[str]:
    """Run the subject with one fault, then list what is wrong: right after, and once gone on.

    A store that met a fault must open with no repair, hold what was acknowledged, and give the
    complete result when the same commands run again.
    """
    done = inject(fault, place=place, plant=plant)
    return judge(place, exit_code=done.returncode, killed=fault.what == KILL, said=done.stderr)


def judge(place: Place, *, exit_code: int, killed: bool, said: str) -> list[str]:
    """List what is wrong after a run that met a fault, and after going on."""
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


def sweep(
    folder: Path, *, share: float = 1.0, seed: int = 8, plant: str = ""
) -> Iterator[tuple[Fault, list[str]]]:
    """Suffer the planned faults one after another, each with a store of its own."""
    for number, fault in enumerate(plan(folder, share=share, seed=seed)):
        place = Place(folder / str(number)).start()
        yield fault, suffer(fault, place=place, plant=plant)
        shutil.rmtree(place.folder)
