"""Against embeddable peers at equal recall, rows of the catalog included.

Every peer runs in a process of its own, on the same core, and gives id, path and score of ten
answers; so does crossfind, from a float16 graph and its SQLite catalog (rows kept in memory once
read), at the least effort whose recall is the peer's within .003. Peers take their turns by turns
with it. A peer that is not installed is named and left out. `--set python=PATH` runs the peers in
another Python, `systems=lancedb,milvus_lite` chooses some.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.goals import peers
from benchmarks.goals.filter_catalog import fill_catalog
from benchmarks.measure import Options, Point, Row, quartiles
from benchmarks.synthetic import make_set
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
from index.types import Ids, Neighbors, SearchParameters, Vectors
from retrieval.catalog.read import Reader
from retrieval.query.rows import RowCache

DEFAULTS = {"n": 20_000, "dim": 256}
THREADS = 1
K, N_QUERIES = 10, 512
SAME_RECALL = 0.003
TARGETS = {("lancedb", 1): 12.0, ("milvus_lite", 1): 100.0, ("lancedb", 256): 8.0,
           ("milvus_lite", 256): 8.0, ("faiss", 1): 0.65, ("faiss", 256): 0.65}  # fmt: skip
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 512)


class Peer:
    """A worker process of one system."""

    def __init__(self, name: str, folder: Path, *, python: str) -> None:
        command = [python, peers.__file__, name, str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.begun = self._answer()

    def ask(self, command: str) -> dict[str, float]:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, float] = json.loads(line or '{"missing": "it ended"}')
        return answer


def run(options: Options) -> list[Row]:
    """Race crossfind against each peer."""
    data = make_set(options.n, dim=options.dim, n_queries=N_QUERIES, seed=options.seed)
    queries = data.picture_queries
    exact = ExactIndex(options.dim)
    exact.add(data.pictures, ids=np.arange(options.n))
    truth = exact.search(queries, k=K)
    import_faiss().omp_set_num_threads(1)
    ix = FaissIndex(options.dim, kind="hnsw", m=32, ef_construction=80, dtype="float16")
    ix.add(data.pictures, ids=np.arange(1, options.n + 1))  # ids of parts begin at 1
    python = options.rest.get("python", sys.executable)
    names = options.rest.get("systems", ",".join(peers.SYSTEMS)).split(",")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        np.save(folder / "pictures.npy", data.pictures)
        np.save(folder / "queries.npy", queries)
        catalog = fill_catalog(folder, options.n)
        with catalog.reading() as reader:
            ours = Ours(ix, reader, queries)
            ours.judge(truth)
            for name in names:
                with _peer(name, folder, python=python) as peer:
                    rows += _race(peer, name, folder, ours, truth, options)
        catalog.close()
    return rows


@contextmanager
def _peer(name: str, folder: Path, *, python: str) -> Iterator[Peer]:
    peer = Peer(name, folder, python=python)
    try:
        yield peer
    finally:
        peer.close()


class Ours:
    """crossfind's own answers: ids, paths and scores, from the index and the catalog."""

    def __init__(self, ix: FaissIndex, reader: Reader, queries: Vectors) -> None:
        self._ix, self._reader, self.queries = ix, reader, queries
        self._rows, self._at = RowCache(), 0
        self.recalls: dict[int, float] = {}

    def judge(self, truth: Neighbors) -> None:
        """Measure the recall of each effort, by id: scores of float16 rows are a little others."""
        for effort in EFFORTS:
            parameters = SearchParameters(ef_search=effort)
            found = self._ix.search(self.queries, k=K, parameters=parameters)
            self.recalls[effort] = _recall(found.ids - 1, truth)

    def effort(self, recall: float) -> int:
        """Find the least effort that reaches a recall."""
        good = [effort for effort, reached in self.recalls.items() if reached >= recall]
        return good[0] if good else EFFORTS[-1]

    def search(self, queries: Vectors, *, effort: int) -> peers.Rows:
        """Answer with rows of the catalog."""
        parameters = SearchParameters(ef_search=effort)
        found = self._ix.search(queries, k=K, parameters=parameters)
        ids, scores = found.ids.tolist(), found.scores.tolist()
        wanted = {id_ for row in ids for id_ in row}
        parts = self._rows.parts(wanted, reader=self._reader)
        items = self._rows.items({p.item_id for p in parts.values()}, reader=self._reader)
        return [
            [
                (part, items[parts[part].item_id].path, score)
                for part, score in zip(row, of, strict=True)
            ]
            for row, of in zip(ids, scores, strict=True)
        ]

    def rate(self, batch: int, seconds: float, *, effort: int) -> float:
        """Search for some time and give the queries a second."""
        n, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            at = self._at = self._at + batch if self._at + 2 * batch <= len(self.queries) else 0
            n += len(self.search(self.queries[at : at + batch], effort=effort))
        return n / (time.perf_counter() - started_s)


def _recall(ids: Ids, truth: Neighbors) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(ids, truth.ids, strict=True)]))


def _race(
    peer: Peer, name: str, folder: Path, ours: Ours, truth: Neighbors, options: Options
) -> list[Row]:
    if "missing" in peer.begun:
        return [Row(f"{name}: left out", None, note=f"not installed: {peer.begun['missing']}")]
    peer.ask("recall")
    ids = np.load(folder / f"{name}.npy")
    recall = _recall(ids, truth)
    effort = ours.effort(min(recall, 1.0) - SAME_RECALL)
    ours.search(ours.queries, effort=effort)  # rows of the catalog are kept, as in a server
    rows = []
    for batch in (1, 256):
        ratios, mine, its = [], [], []
        for number in range(options.rounds + 1):
            mine.append(ours.rate(batch, options.min_s, effort=effort))
            its.append(peer.ask(f"turn {batch} {options.min_s}")["queries_per_s"])
            if number:  # the first turn of each warms up
                ratios.append(mine[-1] / its[-1])
        details = {
            "recall": round(ours.recalls[effort], 4),
            "peer_recall": round(recall, 4),
            "ef_search": effort,
            "queries_per_s": round(float(np.median(mine[1:]))),
            "peer_queries_per_s": round(float(np.median(its[1:])), 1),
            "peer_build_s": round(peer.begun["build_s"], 1),
        }
        points = (
            Point("crossfind", "image", ours.recalls[effort], float(np.median(mine))),
            Point(name, "image", recall, float(np.median(its))),
        )
        rows.append(
            Row(
                f"{name}: crossfind's rate / its, batch {batch}",
                float(np.median(ratios)),
                target=TARGETS.get((name, batch)),
                spread=quartiles(ratios),
                details=details,
                points=points if batch == 1 else (),
            )
        )
    return rows
