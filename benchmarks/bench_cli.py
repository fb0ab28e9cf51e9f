"""What a user waits for: help, a cold search, and a build over files that did not change.

    python -m benchmarks.bench_cli [--model starter] [--n-vectors 10000] [--n-files 20000]

Every figure is a whole process, started cold, as typed in a shell; medians of five. The store holds
texts made from a seed; the files are tiny, because unchanged files are never opened.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import tell

_CALL = [sys.executable, "-c", "from retrieval.cli import main; main()"]
_WORDS = ("red", "blue", "old", "small", "parrot", "dog", "train", "sea", "piano", "bread")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--n-vectors", type=int, default=10_000)
    parser.add_argument("--n-files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        help_s = median_s(["--help"], folder)
        search_s = cold_search(folder, options.n_vectors, options.model, options.seed)
        rescan_s, n_loaded = rescan(folder, options.n_files, options.model)
    tell(
        "cli",
        {
            "crossfind --help, s": help_s,
            "target of help, s": 0.35,
            f"cold search over {options.n_vectors} vectors, s": search_s,
            "target of cold search, s": 1.5,
            f"build over {options.n_files} unchanged files, s": rescan_s,
            "files decoded in it": n_loaded,
            "target of that build, s": 3.0,
            "model": options.model,
            "seed": options.seed,
        },
    )


def cold_search(folder: Path, n_vectors: int, model: str, seed: int) -> float:
    """Time a text search in a fresh process over a built store."""
    draw = random.Random(seed)
    rows = "\n".join(f"{' '.join(draw.choices(_WORDS, k=5))} {n}" for n in range(n_vectors))
    (folder / "texts.csv").write_text(f"text\n{rows}\n")
    store = folder / "texts-store"
    run(["index", "build", "texts.csv", "--store", str(store), "--model", model], folder)
    return median_s(["search", "a red parrot", "--store", str(store)], folder)


def rescan(folder: Path, n_files: int, model: str) -> tuple[float, int]:
    """Time the second build over many files, and count what it decoded."""
    media = folder / "many"
    for number in range(n_files):
        if number % 1000 == 0:
            (media / f"{number // 1000}").mkdir(parents=True)
        (media / f"{number // 1000}" / f"{number}.txt").write_text(f"a small text {number}")
    command = ["index", "build", str(media), "--store", str(folder / "many-store")]
    run([*command, "--model", model], folder)
    again = run([*command, "--json"], folder)
    return median_s(command, folder), int(json.loads(again)["added"]["n_loaded"])


def median_s(arguments: list[str], folder: Path, *, n: int = 5) -> float:
    """Time a command as a whole process; the median of n."""
    seconds = []
    for _ in range(n):
        started_s = time.perf_counter()
        run(arguments, folder)
        seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


def run(arguments: list[str], folder: Path) -> str:
    """Run a command that must succeed; return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CROSSFIND_")}
    done = subprocess.run(
        [*_CALL, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    main()
