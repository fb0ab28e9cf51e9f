"""Readers while a writer works: each sees whole generations, in order, and never fails.

    python -m tests.faults.crowd STORE SECONDS

The writer adds pairs of texts, each pair in one commit, and removes some pairs again, each in one
commit; so a reader that ever finds half a pair has seen two generations at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from retrieval.engine import Engine
from tests.faults.subject import in_process

_BUILD_EVERY = 5


@dataclass(frozen=True)
class Seen:
    """What one reader saw.

    Attributes:
        n_reads: searches answered.
        n_torn: answers with half a pair.
        n_backward: answers of an older generation than the one before.
        n_generations: different ones.
    """

    n_reads: int
    n_torn: int
    n_backward: int
    n_generations: int


def write(store: Path, *, n_pairs: int) -> None:
    """Add pairs, remove every third again, and build now and then."""
    with in_process(), Engine.open(store, create=True, model="fake") as engine:
        first = len(list((store.parent / "pairs").glob("*")))
        for number in range(first, first + n_pairs):
            folder = store.parent / "pairs" / str(number)
            folder.mkdir(parents=True)
            for half in ("left", "right"):
                (folder / f"{half}.txt").write_text(f"red word{number} {half}")
            engine.add(folder)
            if number % 3 == 2:
                engine.remove(folder.parent / str(number - 1))
            if number % _BUILD_EVERY == 0:
                engine.build()


def read(store: Path, *, at_most_s: float) -> Seen:
    """Search until the writer has ended."""
    end_s = time.monotonic() + at_most_s
    n_reads = n_torn = n_backward = 0
    generations = [0]
    with Engine.open(store) as engine:
        (store.parent / f"ready{os.getpid()}").touch()
        while time.monotonic() < end_s and not _ended(store).exists():
            hits = engine.search("red", k=1000)
            pairs = Counter(Path(hit.path).parent.name for hit in hits)
            n_torn += any(count != 2 for count in pairs.values())
            generation = engine.status().generation
            n_backward += generation < generations[-1]
            generations.append(generation)
            n_reads += 1
        assert not engine.warnings, engine.warnings
    return Seen(n_reads, n_torn, n_backward, len(set(generations)) - 1)


def crowd(store: Path, *, n_readers: int, n_pairs: int, at_most_s: float = 300.0) -> list[Seen]:
    """Let many read while one writes."""
    write(store, n_pairs=1)
    readers = [_start(store, at_most_s=at_most_s) for _ in range(n_readers)]
    while len(list(store.parent.glob("ready*"))) < n_readers:
        assert all(reader.poll() is None for reader in readers), "a reader has died"
        time.sleep(0.05)
    write(store, n_pairs=n_pairs)
    _ended(store).touch()
    outputs = [reader.communicate(timeout=60) for reader in readers]
    failed = [err for reader, (_, err) in zip(readers, outputs, strict=True) if reader.returncode]
    assert not failed, failed[0]
    return [Seen(**json.loads(out)) for out, _ in outputs]


def _ended(store: Path) -> Path:
    return store.parent / "ended"


def _start(store: Path, *, at_most_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.crowd", os.fspath(store), str(at_most_s)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CROSSFIND_CONFIG": "/nonexistent/config.toml"},
    )


def main() -> int:
    """Read, and print what was seen."""
    seen = read(Path(sys.argv[1]), at_most_s=float(sys.argv[2]))
    sys.stdout.write(json.dumps(asdict(seen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
