"""The whole durability harness, with its figures.

    python -m tests.faults [--full] [--seed 8]

Without --full, some minutes: the fsync audit, one power cut in ten, 600 faults in system calls, ten
random kills, forty random lives. With it: every power cut, every planned fault, a hundred kills and
five hundred lives, and every planted bug.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.hunt import hunt
from tests.faults.oracle import problems
from tests.faults.plants import PLANTS
from tests.faults.power import audit, lay_out, states
from tests.faults.sweep import JOURNALS, sweep
from tests.faults.tracing import Place, quiet_environment, record


def main() -> int:
    """Run it, print a JSON line a layer, and exit 1 if anything was wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--full", action="store_true", help="every fault and every bug")
    options.add_argument("--share", type=float, default=None, help="of the planned faults")
    options.add_argument("--seed", type=int, default=8)
    chosen = options.parse_args()
    share = chosen.share if chosen.share is not None else (1.0 if chosen.full else 0.15)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        n_wrong = _power(root / "power", every=1 if chosen.full else 10)
        n_wrong += _sweep(share=share, seed=chosen.seed)
        n_kills, n_lives = (100, 500) if chosen.full else (10, 40)
        seed = ("--seed", str(chosen.seed))
        n_wrong += _module("random kills", n_kills, "soak", "--kills", str(n_kills), *seed)
        n_wrong += _module("random lives", n_lives, "life", "--examples", str(n_lives))
        if chosen.full:
            n_wrong += _plants(root / "plants")
    return bool(n_wrong)


def _power(folder: Path, *, every: int) -> int:
    place = Place(folder / "run").start()
    calls = record(place)
    violations = audit(calls, acks=place.acks)
    _tell("fsync audit", n_tried=len(calls), wrong=violations)
    wrong, n_tried = [], 0
    for number, (disk, n_acked, where) in enumerate(states(calls, acks=place.acks)):
        if number % every == 0:
            n_tried += 1
            at = lay_out(disk, store=place.store, at=folder / str(number))
            wrong += [f"{where}: {what}" for what in problems(at, n_acked=n_acked)]
    _tell("power cuts", n_tried=n_tried, wrong=wrong)
    return len(violations) + len(wrong)


def _sweep(*, share: float, seed: int) -> int:
    n_wrong = 0
    for mode in JOURNALS:
        rows = list(sweep("--journal", mode, "--share", str(share), "--seed", str(seed)))
        wrong = [f"{row['fault']}: {what}" for row in rows for what in row["wrong"]]
        _tell(f"faults in system calls, journal {mode}", n_tried=len(rows), wrong=wrong)
        n_wrong += len(wrong)
    return n_wrong


def _module(layer: str, n_tried: int, name: str, *options: str) -> int:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{name}", *options],
        cwd=Path(__file__).parents[2],
        env=quiet_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [(done.stdout + done.stderr)[-2000:]] if done.returncode else []
    _tell(layer, n_tried=n_tried, wrong=wrong)
    return len(wrong)


def _plants(folder: Path) -> int:
    blind = [name for name in PLANTS if not hunt(name, folder=folder / name)]
    _tell("planted bugs", n_tried=len(PLANTS), wrong=[f"not found: {name}" for name in blind])
    return len(blind)


def _tell(layer: str, *, n_tried: int, wrong: list[str]) -> None:
    seconds = round(time.monotonic() - _STARTED_S, 1)
    row = {"layer": layer, "tried": n_tried, "wrong": len(wrong), "seconds so far": seconds}
    sys.stdout.write(json.dumps({**row, "first": wrong[:5]}) + "\n")
    sys.stdout.flush()


_STARTED_S = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
