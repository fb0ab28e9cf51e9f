"""Fuzz the readers: `python -m tests.fuzz [TARGET ...] [--seconds 60] [--seed 1] [--guided]`.

Seeded changes of good inputs; with --guided, atheris (`pip install atheris`) chooses the changes by
the branches they reach. Anything but a result or an error of ours ends the run and prints the
input.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time

from retrieval.errors import CrossfindError
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target, seeds


def main() -> int:
    """Fuzz each target for its share of the time."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", nargs="*", default=list(TARGETS))
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--guided", action="store_true", help="one target, by atheris")
    chosen = options.parse_args()
    if chosen.guided:
        return _guided(TARGETS[chosen.targets[0]], seconds=chosen.seconds)
    for name in chosen.targets:
        n_tried = fuzz(name, seconds=chosen.seconds / len(chosen.targets), seed=chosen.seed)
        sys.stdout.write(f"{name}: {n_tried} inputs, no crash\n")
    return 0


def fuzz(name: str, *, seconds: float, seed: int) -> int:
    """Try changed inputs until the time is over; give their number."""
    rng, good = random.Random(seed), seeds(name)
    end_s, n_tried = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        data = mutate(rng.choice(good), rng=rng)
        try:
            TARGETS[name](data)
        except CrossfindError:
            pass
        except Exception:
            sys.stderr.write(f"{name} does not survive {data!r}\n")
            raise
        n_tried += 1
    return n_tried


def _guided(target: Target, *, seconds: float) -> int:
    import atheris

    def survive(data: bytes) -> None:
        with contextlib.suppress(CrossfindError):
            target(data)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], survive)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
