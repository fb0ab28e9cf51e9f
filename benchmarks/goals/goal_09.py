"""Opening lists that stay in their file, against reading them into memory.

IVF,SQfp16 as `crossfind index build` makes it where no codes fit the memory. Each figure comes
from a fresh process; `cold` ones have the file dropped from the page cache first. Reading means
what faiss's own `read_index` does, with no hash at all; ours proves what it uses, by blocks.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks.measure import Options, Row, quartiles
from benchmarks.synthetic import make_set
from index.derived import save_index
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss

DEFAULTS = {"n": 1_000_000, "dim": 512}
THREADS = 2
N_AFTER = 32

# What a fresh process does; prints one JSON line.
_CHILD = """
import json, os, sys, time
import numpy as np
import faiss
path, how, sha256, queries_at = sys.argv[1:5]
queries = np.load(queries_at)
from index.derived import load_index
def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
before = rss()
started = time.perf_counter()
if how == "ours":
    ix = load_index(__import__("pathlib").Path(path), sha256=sha256, map_from_bytes=0)
    ask = lambda q: ix.search(q, k=10).ids
else:
    ix = faiss.read_index(path)
    ix.nprobe = int(sys.argv[5])
    ask = lambda q: ix.search(q, 10)[1]
opened = time.perf_counter() - started
first = ask(queries[:1])
answered = time.perf_counter() - started
for row in range(len(queries)):
    last = ask(queries[row:row + 1])
after = rss() - before
for _ in range(3):
    for row in range(len(queries)):
        ask(queries[row:row + 1])
started = time.perf_counter()
for row in range(len(queries)):
    ask(queries[row:row + 1])
warm = (time.perf_counter() - started) / len(queries)
print(json.dumps({"open": opened, "first": answered, "rss": after, "warm": warm}))
"""


def run(options: Options) -> list[Row]:
    """Build once, then open in fresh processes by turns."""
    n_probes = int(options.rest.get("probes", 16))
    with tempfile.TemporaryDirectory(dir=options.rest.get("folder")) as name:
        folder = pathlib.Path(name)
        files = _files(folder, n_probes=n_probes, options=options)
        figures: dict[tuple[str, bool], list[dict[str, float]]] = {}
        for cold in (False, True):
            for _ in range(min(3, options.rounds)):
                for how, (path, sha256) in files.items():
                    got = _child(path, how, sha256, folder / "q.npy", n_probes, cold=cold)
                    figures.setdefault((how, cold), []).append(got)
        size = files["ours"][0].stat().st_size
    return [
        _row("open, warm", figures, "open", cold=False, target=1 / 20),
        _row("open, cold", figures, "open", cold=True, target=1 / 20),
        _row("open and first answer, cold", figures, "first", cold=True, target=0.20),
        _row("open and first answer, warm", figures, "first", cold=False),
        _row("steady query, warm", figures, "warm", cold=False, target=1.10),
        Row(
            f"memory after {N_AFTER} queries over the file",
            float(np.median([one["rss"] for one in figures["ours", False]])) / size,
            target=0.15,
            at_most=True,
            details={"file_mb": round(size / 1e6), "n_probes": n_probes},
        ),
    ]


def _files(
    folder: pathlib.Path, *, n_probes: int, options: Options
) -> dict[str, tuple[pathlib.Path, str]]:
    """Write one index twice: in our container, and as faiss writes it."""
    data = make_set(options.n, dim=options.dim, n_queries=N_AFTER, seed=options.seed)
    n_lists = int(options.rest.get("lists", 2 ** round(np.log2(4 * options.n**0.5))))
    ix = FaissIndex(options.dim, kind="ivf", n_lists=n_lists, n_probes=n_probes, dtype="float16")
    rng = np.random.default_rng(options.seed)
    ix.train(data.pictures[np.sort(rng.choice(options.n, min(options.n, 50 * n_lists), False))])
    ix.add(data.pictures, ids=np.arange(options.n))
    ours, raw = folder / "ours", folder / "raw"
    sha256 = save_index(ix, ours, tmp=folder, fingerprint="f")
    with ix.frozen() as (core, _, _):
        import_faiss().write_index(core, str(raw))
    np.save(folder / "q.npy", data.picture_queries)
    return {"ours": (ours, sha256), "raw": (raw, "")}


def _child(
    path: pathlib.Path, how: str, sha256: str, queries: pathlib.Path, n_probes: int, *, cold: bool
) -> dict[str, float]:
    if cold:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-c", _CHILD, path, how, sha256, queries, str(n_probes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _row(
    name: str,
    figures: dict[tuple[str, bool], list[dict[str, float]]],
    key: str,
    *,
    cold: bool,
    target: float | None = None,
) -> Row:
    pairs = zip(figures["ours", cold], figures["raw", cold], strict=True)
    values = [ours[key] / raw[key] for ours, raw in pairs]
    medians = {
        f"{how}_ms": round(1e3 * float(np.median([one[key] for one in figures[how, cold]])), 2)
        for how in ("ours", "raw")
    }
    return Row(
        name,
        float(np.median(values)),
        target=target,
        at_most=True,
        spread=quartiles(values),
        details=medians,
    )
