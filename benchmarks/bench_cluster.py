"""What a local cluster of Ray costs over the same cores without it, and whether it changes a store.

    python -m benchmarks.bench_cluster --data DIR [--n 5000] [--model NAME] [--workers 2] [--kill]

DIR is any folder of media. The same files are added once with Ray and once without, with as many
workers. A cluster is started once for many runs, so its own start is told beside the seconds of
`Engine.add`, which hold the start of the actors, some five seconds, which more files outweigh.
`--kill` adds a third run, in which a worker is killed when a third of the files is done.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.report import tell
from retrieval.add import OnProgress, Progress
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.media import scan

QUERIES = ("a dog", "a red thing", "rain", "something to eat", "a machine")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of media")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="also kill a worker in a third run")
    options = parser.parse_args()
    settings = load_settings({"workers": options.workers, "threads": options.workers})
    files = [found.path for found in scan([options.data], on_skip=lambda _: None)][: options.n]
    with tempfile.TemporaryDirectory() as folder:

        def open_store(name: str) -> Engine:
            where = Path(folder) / name
            return Engine.open(where, create=True, model=options.model, settings=settings)

        alone = open_store("alone")
        alone_s = _seconds(alone, files, on="")
        figures: dict[str, object] = {
            "files": len(files), "model": options.model, "seconds alone": alone_s
        }  # fmt: skip
        for name in ("ray", "killed") if options.kill else ("ray",):
            engine, killer = open_store(name), _Killer(len(files) // 3)
            start_s = _start_cluster(options.workers)
            ray_s = _seconds(
                engine, files, on="ray", on_progress=killer if name == "killed" else None,
            )  # fmt: skip
            figures |= {f"{name}: {key}": value for key, value in _compared(alone, engine).items()}
            figures |= {f"{name}: seconds": ray_s, f"{name}: of them over": ray_s / alone_s - 1}
            figures |= {f"{name}: seconds of the cluster's own start": start_s}
            figures |= {"killed: workers": killer.n_killed} if name == "killed" else {}
            engine.close()
            _end_cluster()
        tell("cluster", figures | {"target of seconds over": 0.15})
        alone.close()


def _start_cluster(n_workers: int) -> float:
    import ray

    started_s = time.perf_counter()
    ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
    return time.perf_counter() - started_s


def _end_cluster() -> None:
    import ray

    ray.shutdown()


def _seconds(
    engine: Engine,
    files: Sequence[str],
    *,
    on: str,
    on_progress: OnProgress | None = None,
) -> float:
    """Add files, the model opened before: both ways have it in memory once."""
    assert engine.encoder.name
    started_s = time.perf_counter()
    engine.add(*files, on=on, on_progress=on_progress)
    return time.perf_counter() - started_s


class _Killer:
    """Kills one worker of Ray as soon as so many files are done."""

    def __init__(self, after: int) -> None:
        self._after, self.n_killed = after, 0

    def __call__(self, progress: Progress) -> None:
        if self.n_killed or progress.n_done < self._after:
            return
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = Path("/proc", pid, "cmdline").read_bytes()
            except OSError:
                continue  # it has ended meanwhile
            if command.startswith(b"ray::MapWorker"):
                os.kill(int(pid), signal.SIGKILL)
                self.n_killed = 1
                return


def _compared(one: Engine, other: Engine) -> dict[str, object]:
    same = sum(
        [(h.id, h.path) for h in one.search(text, k=20)]
        == [(h.id, h.path) for h in other.search(text, k=20)]
        for text in QUERIES
    )
    return {
        "same ids": one.status().n_parts == other.status().n_parts and _apart(one, other) < 2,
        "largest difference of a vector": _apart(one, other),
        "same twenty answers": f"{same} of {len(QUERIES)}",
        "same bad files": one.failures() == other.failures(),
    }


def _apart(one: Engine, other: Engine) -> float:
    """Tell the largest difference between the vectors of two stores, by part id; 2: other ids."""
    worst = 0.0
    with one.serving.reading() as (_, left), other.serving.reading() as (_, right):
        for name, space in left.spaces.items():
            ids = space.ids()
            if not np.array_equal(ids, right.spaces[name].ids()):
                return 2.0
            mine, theirs = space.lookup(ids), right.spaces[name].lookup(ids)
            a, b = mine[1][np.argsort(mine[0])], theirs[1][np.argsort(theirs[0])]
            worst = max(worst, float(np.abs(a - b).max(initial=0)))
    return worst


if __name__ == "__main__":
    main()
