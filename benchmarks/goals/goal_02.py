"""Against embeddable peers at equal recall, rows of the catalog included.

Every peer runs in a process of its own, on the same core, and gives id, path and score of ten
answers; so does crossfind, from its SQLite catalog (rows kept in memory once read) and the fastest
of its indexes and efforts whose recall is the peer's within .003: a float16 graph, or 4-bit codes,
all or in lists. As plans do, it may take one for single queries and another for batches. Peers take
their turns by turns with it. A peer that is not installed is named and left out. `--set
python=PATH` runs the peers in another Python, `systems=lancedb,milvus_lite` chooses some.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.goals import peers
from benchmarks.goals.filter_catalog import fill_catalog
from benchmarks.measure import Options, Point, Row, quartiles
from benchmarks.synthetic import make_set
from index.choose import coded_lists
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
PROBED_SHARES, CANDIDATES = (1 / 8, 1 / 4, 1 / 2, 1), (4, 6, 8, 12, 16, 32)
BATCHES = (1, 256)


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
    ways = list(_ways(data.pictures))
    python = options.rest.get("python", sys.executable)
    names = options.rest.get("systems", ",".join(peers.SYSTEMS)).split(",")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        np.save(folder / "pictures.npy", data.pictures)
        np.save(folder / "queries.npy", queries)
        catalog = fill_catalog(folder, options.n)
        with catalog.reading() as reader:
            ours = Ours(reader, queries)
            ours.judge(ways, truth)
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


@dataclass(frozen=True, slots=True)
class Way:
    """An index and how hard it tries."""

    ix: FaissIndex
    parameters: SearchParameters

    def told(self) -> str:
        """Say it in a word or two."""
        named = ((name, getattr(self.parameters, name)) for name in self.ix.efforts)
        return " ".join([self.ix.kind, *(f"{name} {value}" for name, value in named)])


def _ways(pictures: Vectors) -> Iterator[Way]:
    """Build each kind of index, and give every effort of it."""
    n, dim = pictures.shape
    n_lists = coded_lists(n)
    kinds: dict[str, dict[str, int | str]] = {
        "hnsw": {"m": 32, "ef_construction": 80, "dtype": "float16"},
        "fastscan": {},
        "ivf_fastscan": {"n_lists": n_lists},
    }
    probes = [max(1, round(share * n_lists)) for share in PROBED_SHARES]
    efforts = {
        "hnsw": [SearchParameters(ef_search=effort) for effort in EFFORTS],
        "fastscan": [SearchParameters(k_factor=c) for c in CANDIDATES],
        "ivf_fastscan": [
            SearchParameters(n_probes=p, k_factor=c) for p in probes for c in CANDIDATES
        ],
    }
    for kind, given in kinds.items():
        ix = FaissIndex(dim, kind=kind, **given)
        if 0 < ix.n_least <= n < ix.n_enough:
            ix.train(pictures)
        ix.add(pictures, ids=np.arange(1, n + 1))  # ids of parts begin at 1
        yield from (Way(ix, parameters) for parameters in efforts[kind])


class Ours:
    """crossfind's own answers: ids, paths and scores, from an index and the catalog."""

    def __init__(self, reader: Reader, queries: Vectors) -> None:
        self._reader, self.queries = reader, queries
        self._rows, self._at = RowCache(), 0
        self._judged: list[tuple[Way, float, dict[int, float]]] = []

    def judge(self, ways: Sequence[Way], truth: Neighbors) -> None:
        """Measure each way: recall by id, as scores of float16 rows are a little others; time."""
        self.search(self.queries, ways[0])  # rows of the catalog are kept, as in a server
        for way in ways:
            found = way.ix.search(self.queries, k=K, parameters=way.parameters)
            rates = {batch: self.rate(batch, 0.05, way=way) for batch in BATCHES}
            self._judged.append((way, _recall(found.ids - 1, truth), rates))

    def way(self, recall: float, batch: int) -> tuple[Way, float]:
        """Find the fastest way that reaches a recall, or else the surest; and its recall."""
        good = [one for one in self._judged if one[1] >= recall]
        if good:
            way, reached, _ = max(good, key=lambda one: one[2][batch])
        else:
            way, reached, _ = max(self._judged, key=lambda one: one[1])
        return way, reached

    def search(self, queries: Vectors, way: Way) -> peers.Rows:
        """Answer with rows of the catalog."""
        found = way.ix.search(queries, k=K, parameters=way.parameters)
        ids, scores = found.ids.tolist(), found.scores.tolist()
        wanted = {id_ for row in ids for id_ in row}
        parts = self._rows.parts(wanted, reader=self._reader)
        items = self._rows.items({p.item_id for p in parts.values()}, reader=self._reader)
        paths = {id_: items[part.item_id].path for id_, part in parts.items()}
        return [
            [(id_, paths[id_], score) for id_, score in zip(row, of, strict=True)]
            for row, of in zip(ids, scores, strict=True)
        ]

    def rate(self, batch: int, seconds: float, *, way: Way) -> float:
        """Search for some time and give the queries a second."""
        n, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            at = self._at = self._at + batch if self._at + 2 * batch <= len(self.queries) else 0
            n += len(self.search(self.queries[at : at + batch], way))
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
    rows = []
    for batch in BATCHES:
        way, reached = ours.way(min(recall, 1.0) - SAME_RECALL, batch)
        ratios, mine, its = [], [], []
        for number in range(options.rounds + 1):
            mine.append(ours.rate(batch, options.min_s, way=way))
            its.append(peer.ask(f"turn {batch} {options.min_s}")["queries_per_s"])
            if number:  # the first turn of each warms up
                ratios.append(mine[-1] / its[-1])
        details = {
            "recall": round(reached, 4),
            "peer_recall": round(recall, 4),
            "ours": way.told(),
            "queries_per_s": round(float(np.median(mine[1:]))),
            "peer_queries_per_s": round(float(np.median(its[1:])), 1),
            "peer_build_s": round(peer.begun["build_s"], 1),
        }
        points = (
            Point("crossfind", "image", reached, float(np.median(mine))),
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
