"""Memory per vector: codes in memory, the rows that decide in segments on disk.

A fresh process opens what `crossfind index build --memory SIZE` made, IVF with 4-bit codes and
mapped rows, answers 500 texts one by one, and looks at its own resident memory, pages of the
segments among it.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks.measure import Options, Row
from benchmarks.synthetic import make_set
from index.build import Source, build_index
from index.choose import choose
from index.derived import save_index
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.segment_block import SegmentBlock
from index.segments import open_segment, write_segment
from index.tune import tune

DEFAULTS = {"n": 500_001, "dim": 512}
THREADS = 2
K, TARGET, SEGMENT_ROWS = 10, 0.95, 262_144

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
    data = make_set(options.n, dim=options.dim, n_queries=1_000, seed=options.seed)
    plan = choose(options.n, dim=options.dim, recall=TARGET, memory_bytes=180 * options.n)
    with tempfile.TemporaryDirectory(dir=options.rest.get("folder")) as name:
        folder = pathlib.Path(name)
        sources = []
        for start in range(0, options.n, SEGMENT_ROWS):
            rows = data.pictures[start : start + SEGMENT_ROWS]
            ids = np.arange(start, start + len(rows))
            info = write_segment(folder, rows, ids=ids, fingerprint="f", tmp=folder)
            block = SegmentBlock(open_segment(folder / info.name, verify=False))
            sources.append(Source(block, ids, np.ones(len(ids), np.bool_)))
        built = build_index(plan, dim=options.dim, sources=sources)
        assert isinstance(built, FaissIndex)
        exact = ExactIndex(options.dim)  # over the rows as they are stored, float16
        for source in sources:
            exact.add_block(source.block.slice(0, source.block.n), ids=source.ids)
        texts, held_out = data.text_queries[:500], data.text_queries[500:]
        tuned = tune(built, queries=texts, truth=exact.search(texts, k=K), target=TARGET, k=K)
        built.settle(tuned.parameters)
        sha256 = save_index(built, folder / "ix", tmp=folder, fingerprint="f")
        truth = exact.search(held_out, k=K).ids
        del exact, built
        np.save(folder / "q.npy", held_out)
        command = [sys.executable, "-c", _CHILD, str(folder), sha256]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        size = (folder / "ix").stat().st_size
    got = json.loads(done.stdout)
    found = np.array(got["found"])
    recall = float(np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)]))
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
    ]  # fmt: skip
