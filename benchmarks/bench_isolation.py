"""What decoding in a guarded child costs over decoding here.

    python -m benchmarks.bench_isolation [--data DIR] [--n 300] [--rounds 7]

DIR is any folder of media; without it, seeded JPEGs of 1024 x 768 are made. In each round the same
files are decoded in this process, one after the other, and by a `Loader` of one child that works
ahead; the order of the two changes from round to round. CPU time is that of both processes
together, which a busy machine changes less than the clock. The aim is at most 1.15.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import spread, tell
from retrieval.errors import BadMediaError
from retrieval.media import Found, Loader, load_file, scan
from retrieval.types import Failure, MediaSpec


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of media")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = list(scan([options.data or make(Path(folder), options.n)], on_skip=lambda _: None))
        rows = list(measure(found[: options.n], rounds=options.rounds))
    here, there = zip(*rows, strict=True)
    tell(
        "isolation",
        {
            "files": len(found[: options.n]),
            "here, ms of CPU a file": spread([1000 * cpu / len(found) for cpu, _ in here]),
            "in a child, ms of CPU a file": spread([1000 * cpu / len(found) for cpu, _ in there]),
            "CPU, child over here": statistics.median(b[0] / a[0] for a, b in rows),
            "clock, child over here": statistics.median(b[1] / a[1] for a, b in rows),
            "target": 1.15,
        },
    )


def make(folder: Path, n: int) -> Path:
    """Write JPEGs with some detail."""
    rng = np.random.default_rng(1)
    for number in range(n):
        small = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((1024, 768), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.jpg", quality=88)
    return folder


Cost = tuple[float, float]  # seconds of CPU, seconds by the clock


def measure(found: list[Found], *, rounds: int) -> Iterator[tuple[Cost, Cost]]:
    """Yield what each round cost here and in a child."""
    spec = MediaSpec()
    with Loader(spec=spec, n_workers=1) as loader:
        loader.load(found[0])
        (pid,) = _children(*_children(os.getpid()))  # of the fork server

        def here() -> None:
            for file in found:
                try:
                    load_file(file, spec=spec)
                except BadMediaError:
                    continue

        def there() -> None:
            for _, outcome in loader.load_many(found):
                assert not isinstance(outcome, Failure) or outcome.code

        for number in range(rounds + 1):
            order = (here, there) if number % 2 else (there, here)
            costs = {work: _cost(work, pid) for work in order}
            if number:  # the first round warms caches
                yield costs[here], costs[there]


def _cost(work: Callable[[], None], pid: int) -> Cost:
    cpu_s, clock_s = _cpu_s(pid), time.perf_counter()
    work()
    return _cpu_s(pid) - cpu_s, time.perf_counter() - clock_s


def _cpu_s(pid: int) -> float:
    """Tell the CPU time of this process and a child, to the nanosecond."""
    child_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return time.process_time() + child_ns / 1e9


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


if __name__ == "__main__":
    main()
