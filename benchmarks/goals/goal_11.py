"""Live changes: adding and removing one vector, tombstones, compaction, a reader beside.

As a store searches: an index of the base, an exact tail for what is added since, removal by marks.
`--set kind=hnsw` chooses the kind of the base.
"""

from __future__ import annotations

import functools
import threading
import time

import numpy as np

from benchmarks.measure import Options, Row, quartiles, race, ratio_row
from benchmarks.synthetic import SyntheticSet, make_set
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
from index.merge import merge
from index.recall import recall_at_k
from index.types import Neighbors, Vectors

DEFAULTS = {"n": 100_000, "dim": 512}
THREADS = 1
K, N_ADDS, N_REMOVED, N_QUERIES = 10, 5_000, 200, 64


def run(options: Options) -> list[Row]:
    """Measure each promise on one index."""
    data = make_set(options.n + N_ADDS, dim=options.dim, seed=options.seed)
    base, new = data.pictures[: options.n], data.pictures[options.n :]
    kind = options.rest.get("kind", "fastscan")
    main = _built(kind, base, np.arange(options.n))
    tail = ExactIndex(options.dim)
    rows = _adds(main, tail, new, first_id=options.n)
    rows += _removals(base, new, seed=options.seed)
    rows += _tombstones(kind, base, data, options)
    return [*rows, _reader_beside(kind, base, data)]


def _built(kind: str, vectors: Vectors, ids: np.ndarray) -> FaissIndex:
    ix = FaissIndex(vectors.shape[1], kind=kind)
    ix.add(vectors, ids=ids)
    return ix


def _adds(main: FaissIndex, tail: ExactIndex, new: Vectors, *, first_id: int) -> list[Row]:
    times, n_seen = [], 0
    for number in range(N_ADDS):
        vector = np.ascontiguousarray(new[number : number + 1])
        started_s = time.perf_counter()
        tail.add(vector, ids=np.array([first_id + number]))
        times.append(time.perf_counter() - started_s)
        if number % 50 == 0:
            found = merge([main.search(vector, k=1), tail.search(vector, k=1)], k=1)
            n_seen += int(found.ids[0, 0] == first_id + number)
    p50, p99 = np.percentile(times, [50, 99])
    return [
        Row(
            "add one: p99 / p50",
            float(p99 / p50),
            target=10,
            at_most=True,
            details={"p50_us": round(1e6 * p50, 1), "max_ms": round(1e3 * max(times), 2)},
        ),
        Row("share of adds found by the next query", n_seen / len(range(0, N_ADDS, 50)), target=1.0,
            unit=""),
    ]  # fmt: skip


def _removals(base: Vectors, new: Vectors, *, seed: int) -> list[Row]:
    faiss = import_faiss()
    plain = faiss.IndexFlatIP(base.shape[1])
    plain.add(base)
    ours = ExactIndex(base.shape[1])
    ours.add(base, ids=np.arange(len(base)))
    gone = np.random.default_rng(seed).choice(len(base), N_REMOVED, replace=False)
    ratios, times = [], []
    for round_ in range(20):
        started_s = time.perf_counter()
        plain.remove_ids(np.array([round_ * 7]))
        theirs_s = time.perf_counter() - started_s
        plain.add(new[round_ : round_ + 1])
        mine = gone[round_ * 10 : round_ * 10 + 10]
        started_s = time.perf_counter()
        for id_ in mine:
            ours.remove(np.array([id_]))
        times.append((time.perf_counter() - started_s) / len(mine))
        ratios.append(theirs_s / times[-1])
    return [
        Row(
            "IndexFlat.remove_ids of one / our removal of one",
            float(np.median(ratios)),
            target=500,
            spread=quartiles(ratios),
            details={"ours_us": round(1e6 * float(np.median(times)), 1)},
        )
    ]


def _tombstones(kind: str, base: Vectors, data: SyntheticSet, options: Options) -> list[Row]:
    n = len(base)
    dead = np.random.default_rng(options.seed).choice(n, int(0.3 * n), replace=False)
    left = np.setdiff1d(np.arange(n), dead)
    whole, marked = _built(kind, base, np.arange(n)), _built(kind, base, np.arange(n))
    marked.remove(dead)
    sampled, rows_left = marked.sample(len(left))  # what compaction reads: live rows, in order
    compacted = _built(kind, np.ascontiguousarray(rows_left), sampled)
    fresh = _built(kind, np.ascontiguousarray(base[left]), left)
    exact = ExactIndex(options.dim)
    exact.add(base[left], ids=left)
    queries = data.text_queries[:N_QUERIES]
    truth = exact.search(queries, k=K)
    tasks = {"whole": whole, "30 % dead": marked, "compacted": compacted, "fresh": fresh}
    times = race(
        {name: functools.partial(_one_by_one, ix, queries) for name, ix in tasks.items()},
        rounds=options.rounds,
        min_s=options.min_s,
    )
    recall = {w: recall_at_k(ix.search(queries, k=K), truth, k=K) for w, ix in tasks.items()}
    return [
        ratio_row("speed with 30 % tombstones / without", times, subject="whole",
                  peer="30 % dead", target=0.80,
                  details={"recall": round(recall["30 % dead"], 3)}),
        ratio_row("speed after compaction / of a fresh build", times, subject="fresh",
                  peer="compacted", target=0.97),
        Row("recall after compaction - of a fresh build", recall["compacted"] - recall["fresh"],
            target=-0.005, unit=""),
    ]  # fmt: skip


def _reader_beside(kind: str, base: Vectors, data: SyntheticSet) -> Row:
    """Search in a thread while vectors are removed; what was removed before must not be found."""
    ix = _built(kind, base[:20_000], np.arange(min(20_000, len(base))))
    gone: set[int] = set()
    wrong: list[int] = []
    n_searches = [0]
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            before = set(gone)
            found: Neighbors = ix.search(data.picture_queries[:8], k=K)
            n_searches[0] += 1
            wrong.extend(before & set(found.ids.ravel().tolist()))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        best = ix.search(data.picture_queries[:8], k=1).ids.ravel()
        ix.remove(best)
        gone.update(best.tolist())
    done.set()
    reader.join()
    return Row("removed ids seen by a reader beside", len(wrong), target=0, at_most=True, unit="",
               details={"searches": n_searches[0], "removed": len(gone)})  # fmt: skip


def _one_by_one(ix: FaissIndex, queries: Vectors) -> None:
    for row in range(len(queries)):
        ix.search(queries[row : row + 1], k=K)
