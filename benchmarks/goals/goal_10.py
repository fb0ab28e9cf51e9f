"""Memory per vector: codes in memory, the rows that decide in segments on disk.

A fresh process opens what `crossfind index build --memory SIZE` made, IVF with 4-bit codes and
mapped rows, answers 500 texts one by one, and looks at its own resident memory, pages of the
segments among it. Pictures are drawn and stored block by block, so `--n 10000000 --dim 256 --set
folder=DIR lists=2048 texts=128` takes 6 GB of DIR and 2 GB of memory.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.measure import Options, Row
from benchmarks.synthetic import stream_set
from index.build import Source, build_index
from index.choose import choose
from index.derived import save_index
from index.faiss_index import FaissIndex
from index.row_blocks import PIECE_ROWS
from index.rows import StoredRows
from index.segment_block import SegmentBlock
from index.segments import open_segment, write_segment
from index.truth import exact_answers
from index.tune import tune
from index.types import Ids, Neighbors, Plan, Vectors

DEFAULTS = {"n": 500_001, "dim": 512}
THREADS = 2
K, TARGET, N_TEXTS = 10, 0.95, 500

_CHILD = """
import json, os, sys, pathlib
import numpy as np
import faiss
from index.derived import load_index
from index.segment_block import SegmentBlock
from index.segments import open_segment
folder, sha256 = pathlib.Path(sys.argv[1]), sys.argv[2]
queries = np.load(folder / "q.npy")
faiss.IndexFlatIP(8).search(np.zeros((1, 8), np.float32), 1)
def rss(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
before = rss("VmRSS")
ix = load_index(folder / "ix", sha256=sha256,
                open_block=lambda name: SegmentBlock(open_segment(folder / name, verify=False)))
opened = rss("VmRSS") - before
found = [ix.search(queries[row:row + 1], k=10).ids[0].tolist() for row in range(len(queries))]
print(json.dumps({"opened": opened, "after": rss("VmRSS") - before,
                  "peak": rss("VmHWM") - before, "found": found}))
"""


def run(options: Options) -> list[Row]:
    """Build within the memory, then look at a fresh process."""
    n_texts = int(options.rest.get("texts", N_TEXTS))
    texts, pictures = stream_set(
        options.n, dim=options.dim, n_queries=2 * n_texts, seed=options.seed
    )
    with tempfile.TemporaryDirectory(dir=options.rest.get("folder")) as name:
        folder = pathlib.Path(name)
        sources = list(_sources(folder, pictures))
        plan, build_s, peak_bytes, built = _built(sources, options)
        truth = exact_answers(_pieces(sources), texts, k=K)  # of the rows as they are stored
        first = Neighbors(truth.ids[:n_texts], truth.scores[:n_texts], truth.counts[:n_texts])
        tuned = tune(built, queries=texts[:n_texts], truth=first, target=TARGET, k=K)
        built.settle(tuned.parameters)
        sha256 = save_index(built, folder / "ix", tmp=folder, fingerprint="f")
        del built
        np.save(folder / "q.npy", texts[n_texts:])
        command = [sys.executable, "-c", _CHILD, str(folder), sha256]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        size = (folder / "ix").stat().st_size
    got = json.loads(done.stdout)
    wanted, found = truth.ids[n_texts:], np.array(got["found"])
    recall = float(np.mean([np.isin(a, b).mean() for a, b in zip(found, wanted, strict=True)]))
    code_bytes = options.dim // 4
    per_vector = {name: got[name] / options.n for name in ("opened", "after", "peak")}
    details = {name: round(value, 1) for name, value in per_vector.items()}
    return [
        Row(
            "memory over code bytes + 8",
            per_vector["after"] / (code_bytes + 8),
            target=1.30,
            at_most=True,
            details={**details, "plan": plan.factory, "predicted": plan.memory_bytes / options.n},
        ),
        Row(
            "bytes a vector", per_vector["after"], target=180.0, at_most=True, unit="B",
            details={"index file": round(size / options.n, 1)},
        ),
        Row("held-out text recall", recall, target=TARGET - 0.01, unit="recall",
            details={"parameters": str(tuned.parameters), "reached": tuned.reached}),
        Row("most memory while building, a vector", peak_bytes / options.n, unit="B",
            details={"build_s": round(build_s, 1)}),
        Row("time of a text query", tuned.latency_ms, unit="ms"),
    ]  # fmt: skip


def _sources(folder: pathlib.Path, pictures: Iterator[Vectors]) -> Iterator[Source]:
    """Write the pictures into segments, and give these as they are read from disk."""
    start = 0
    for rows in pictures:
        ids = np.arange(start, start + len(rows))
        start += len(rows)
        info = write_segment(folder, rows, ids=ids, fingerprint="f", tmp=folder)
        block = SegmentBlock(open_segment(folder / info.name, verify=False))
        yield Source(block, ids, np.ones(len(ids), np.bool_))


def _built(sources: list[Source], options: Options) -> tuple[Plan, float, int, FaissIndex]:
    """Build what is planned for the memory; give its time and the most memory it took."""
    plan = choose(options.n, dim=options.dim, recall=TARGET, memory_bytes=180 * options.n)
    if "lists" in options.rest:
        more = {"n_lists": int(options.rest["lists"])}
        factory = re.sub(r"IVF\d+", f"IVF{more['n_lists']}", plan.factory)
        plan = replace(plan, factory=factory, parameters={**plan.parameters, **more})
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
    before, started_s = _resident("VmRSS"), time.perf_counter()
    built = build_index(plan, dim=options.dim, sources=sources)
    assert isinstance(built, FaissIndex)
    return plan, time.perf_counter() - started_s, _resident("VmHWM") - before, built


def _resident(name: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _pieces(sources: list[Source]) -> Iterator[tuple[StoredRows, Ids, None]]:
    for source in sources:
        for start in range(0, source.block.n, PIECE_ROWS):
            stop = min(start + PIECE_ROWS, source.block.n)
            yield source.block.slice(start, stop), source.ids[start:stop], None
