"""Threads: two against one, torch in the process, 64 single queries at once as common batches.

The rates of one and two Python threads are of single queries on an HNSW index, each thread with one
faiss thread. Sharing is measured on an index that compares everything, where a batch is worth
most: 64 requests ask one query each through the server's `Lane`, against 64 one after another.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.measure import Options, Row, quartiles, race, ratio_row
from benchmarks.synthetic import make_set
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
from index.types import Ids, Vectors
from retrieval.server.lane import Lane

DEFAULTS = {"n": 100_000, "dim": 512}
THREADS = 2
K, N_TOGETHER = 10, 64
_TORCH = """
import sys, time, threading, numpy as np
from benchmarks.synthetic import make_set
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
import_faiss().omp_set_num_threads(1)
data = make_set(20_000, dim=256, n_queries=256, seed=int(sys.argv[1]))
ix = FaissIndex(256, kind="hnsw")
ix.add(data.pictures, ids=np.arange(20_000))
def rate():
    started = time.perf_counter()
    n = 0
    while time.perf_counter() - started < 0.4:
        for row in range(256):
            ix.search(data.picture_queries[row : row + 1], k=10)
        n += 256
    return n / (time.perf_counter() - started)
rate()
before = [rate() for _ in range(int(sys.argv[2]))]
import torch
torch.set_num_threads(2)
encoder = torch.nn.Linear(512, 512)
encoder(torch.ones(64, 512))
after = [rate() for _ in range(int(sys.argv[2]))]
print(np.median(after) / np.median(before))
"""


def run(options: Options) -> list[Row]:
    """Measure threads, torch's presence and sharing."""
    data = make_set(options.n, dim=options.dim, seed=options.seed)
    graph = FaissIndex(options.dim, kind="hnsw", ef_construction=40)
    graph.add(data.pictures, ids=np.arange(options.n))
    flat = FaissIndex(options.dim, kind="flat")
    flat.add(data.pictures, ids=np.arange(options.n))
    import_faiss().omp_set_num_threads(1)
    return [
        _threads(graph, data.picture_queries, options),
        _torch(options),
        *_sharing(flat, data.text_queries[:N_TOGETHER], options),
    ]


def _threads(ix: FaissIndex, queries: Vectors, options: Options) -> Row:
    halves = np.array_split(queries, 2)

    def two() -> None:
        others = threading.Thread(target=_alone, args=(ix, halves[1]))
        others.start()
        _alone(ix, halves[0])
        others.join()

    times = race({"one": functools.partial(_alone, ix, queries), "two": two},
                 rounds=options.rounds, min_s=options.min_s)  # fmt: skip
    return ratio_row("rate of two threads / one", times, subject="one", peer="two", target=1.85)


def _alone(ix: FaissIndex, queries: Vectors) -> None:
    import_faiss().omp_set_num_threads(1)  # counts for the calling thread alone
    for row in range(len(queries)):
        ix.search(queries[row : row + 1], k=K)


def _torch(options: Options) -> Row:
    command = [sys.executable, "-c", _TORCH, str(options.seed), str(options.rounds)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    return Row("rate with torch and an idle encoder / before", float(shown.stdout), target=0.95)


def _sharing(ix: FaissIndex, queries: Vectors, options: Options) -> list[Row]:
    def search(some: Sequence[Vectors]) -> list[Ids]:
        return list(ix.search(np.concatenate(some), k=K).ids)

    waits: list[float] = []
    gains: list[float] = []
    for _ in range(options.rounds):
        started_s = time.perf_counter()
        _alone(ix, queries)
        alone_s = time.perf_counter() - started_s
        together_s, delays = asyncio.run(_all_at_once(search, queries))
        gains.append(alone_s / together_s)
        waits += delays
    return [
        Row("64 single queries shared / one after another", float(np.median(gains)), target=5.0,
            spread=quartiles(gains),
            details={"p50_answer_ms": round(1_000 * float(np.median(waits)), 2)})
    ]  # fmt: skip


async def _all_at_once(
    search: Callable[[Sequence[Vectors]], list[Ids]], queries: Vectors
) -> tuple[float, list[float]]:
    """Ask every query by itself, all together; give the whole time and each one's."""
    lane = Lane(search, name="search")

    async def ask(row: int) -> float:
        started_s = time.perf_counter()
        await lane.run(queries[row : row + 1])
        return time.perf_counter() - started_s

    started_s = time.perf_counter()
    delays = await asyncio.gather(*(ask(row) for row in range(len(queries))))
    together_s = time.perf_counter() - started_s
    lane.close()
    return together_s, list(delays)
