"""Finding a planted bug by the way that should find it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.oracle import acked, problems
from tests.faults.power import audit, lay_out, states
from tests.faults.subject import LAST_ADD, N_STEPS
from tests.faults.sweep import FAILING, FULL, judge, sweep
from tests.faults.tracing import Place, record, run_subject

HUNTS = {
    "no_fsync": "audit",
    "no_fsync_of_the_directory": "audit",
    "commit_first": "power",
    "in_place": "power",
    "commits_not_synced": "power",
    "journal_deleted": "power",
    "ids_by_position": "plain",
    "garbage_collected_by_a_reader": "reader",
    "stale_index_used": "tail",
    "hashes_unchecked": "damage",
    "short_writes_ignored": "short",
    "fsync_retried": "fsync",
    "errors_of_the_disk_swallowed": "full",
}
"""Which way finds which planted bug."""


def hunt(plant: str, *, folder: Path, way: str = "") -> list[str]:
    """Run the way that should find a planted bug; list what it found.

    Args:
        plant: name of the bug, or empty for none.
        folder: for stores.
        way: how to look; the plant's own when left out.
    """
    return _WAYS[way or HUNTS[plant]](plant, Place(folder / "run").start())


def _audit(plant: str, place: Place) -> list[str]:
    return audit(record(place, plant=plant), acks=place.acks)


def _power(plant: str, place: Place) -> list[str]:
    calls = record(place, plant=plant)
    for number, (disk, n_acked, where) in enumerate(states(calls, acks=place.acks)):
        if plant or number % 10 == 0:
            at = lay_out(disk, store=place.store, at=place.folder / f"disk{number}")
            found = _guarded(at, n_acked)
            if found:
                return [where, *found]
    return []


def _plain(plant: str, place: Place) -> list[str]:
    run_subject(place, plant=plant)
    return _checked(plant, place)


def _checked(plant: str, place: Place) -> list[str]:
    """Let a reader of its own look, with the bug in it."""
    command = [sys.executable, "-m", "tests.faults.oracle", str(place.store), str(N_STEPS)]
    done = subprocess.run(
        [*command, *([plant] if plant else [])],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines() if done.returncode else []


def _reader(plant: str, place: Place) -> list[str]:
    """Let a reader open the store between a segment's rename and its commit."""
    done = run_subject(place, plant=plant, FAULTS_READER="1")
    return [done.stderr] if done.returncode else _guarded(place.store, acked(place.acks))


def _damage(plant: str, place: Place) -> list[str]:
    """Flip one bit of a stored vector: a reader must say so, or not answer from it."""
    run_subject(place)
    segment = max((place.store / "segments").iterdir(), key=lambda path: path.stat().st_size)
    for path in (segment, *(place.store / "derived").glob("*.faiss")):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x40
        path.write_bytes(data)
    said = " ".join(_warnings(plant, place))
    return [] if "damaged" in said else [f"no word of the damage: {said!r}"]


def _warnings(plant: str, place: Place) -> list[str]:
    code = (
        "import sys; from tests.faults.plants import PLANTS; from retrieval.engine import Engine\n"
        "[PLANTS[name]() for name in sys.argv[2:]]\n"
        "with Engine.open(sys.argv[1]) as engine:\n"
        "    engine.search('red', k=3)\n"
        "    print(*engine.warnings)\n"
    )
    command = [sys.executable, "-c", code, str(place.store), *([plant] if plant else [])]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def _short(plant: str, place: Place) -> list[str]:
    """Let write(2) take less than it is given, as it may."""
    done = run_subject(place, plant=plant, FAULTS_SHORT_WRITES="1")
    return judge(place, exit_code=done.returncode, killed=False, said=done.stderr)


def _tail(plant: str, place: Place) -> list[str]:
    """Let a reader look while the newest items are in no index file yet."""
    run_subject(place, FAULTS_STOP_AFTER=str(LAST_ADD))
    return _checked(plant, place)


def _fsync(plant: str, _place: Place) -> list[str]:
    """Let each fsync fail: its step must not be acknowledged."""
    return _first_found(plant, "--call", "fsync", "--what", FAILING)


def _full(plant: str, _place: Place) -> list[str]:
    """Fill the disk at each write: what was acknowledged must be there."""
    return _first_found(plant, "--call", "write", "--what", FULL)


def _first_found(plant: str, *options: str) -> list[str]:
    # With nothing planted the sweep proper looks at all of them.
    more = ("--plant", plant, "--first") if plant else ("--share", "0.1")
    return [f"{row['fault']}: {what}" for row in sweep(*options, *more) for what in row["wrong"]]


def _guarded(store: Path, n_acked: int) -> list[str]:
    try:
        return problems(store, n_acked=n_acked)
    except AssertionError as error:
        return [str(error)]


_WAYS: dict[str, Callable[[str, Place], list[str]]] = {
    "audit": _audit,
    "power": _power,
    "plain": _plain,
    "reader": _reader,
    "damage": _damage,
    "short": _short,
    "tail": _tail,
    "fsync": _fsync,
    "full": _full,
}
