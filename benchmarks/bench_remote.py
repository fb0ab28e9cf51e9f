"""Milvus beside faiss: recall for texts, latency, and what the engine adds to bare pymilvus.

    python -m benchmarks.bench_remote [--n 100000 --dim 512] [--index milvus://HOST:19530]

Without an address Milvus Lite runs in a file. faiss and Milvus build the same graph (HNSW, M 16,
efConstruction 200) over the synthetic set; both are asked at the same ef, by turns. The engine's
overhead is `MilvusIndex.search` over a `MilvusClient.search` for as many candidates.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import race
from benchmarks.report import spread, tell
from benchmarks.synthetic import make_set
from index import ExactIndex, recall_at_k
from index.faiss_index import FaissIndex
from index.filtered import SPARE
from index.remote import MilvusIndex
from index.remote_server import MilvusServer
from index.types import SearchParameters

K = 10
N_QUERIES = 200
N_TIMED = 20
EF = 256


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", default="", help="address of Milvus; Milvus Lite when left out")
    options = parser.parse_args()
    made = make_set(options.n, dim=options.dim, n_queries=N_QUERIES, seed=options.seed)
    ids = np.arange(options.n)
    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer(options.index or str(Path(folder) / "lite.db"))
        collection = f"bench_{time.time_ns()}"
        there = MilvusIndex(
            options.dim, server=server, collection=collection, m=16, ef_construction=200
        )
        here = FaissIndex(options.dim, kind="hnsw", m=16, ef_construction=200)
        exact = ExactIndex(options.dim)
        build_s = {}
        for name, ix in (("milvus", there), ("faiss", here), ("exact", exact)):
            started_s = time.perf_counter()
            ix.add(made.pictures, ids=ids)
            build_s[name] = time.perf_counter() - started_s
        try:
            _compare(made.text_queries, there, here, exact, build_s, rounds=options.rounds)
        finally:
            server.drop(collection)


def _compare(
    queries: np.ndarray,  # float32 [Q, D]
    there: MilvusIndex,
    here: FaissIndex,
    exact: ExactIndex,
    build_s: dict[str, float],
    *,
    rounds: int,
) -> None:
    effort = SearchParameters(ef_search=EF)
    truth = exact.search(queries, k=K)
    recalls = {
        name: recall_at_k(ix.search(queries, k=K, parameters=effort), truth, k=K)
        for name, ix in (("milvus", there), ("faiss", here))
    }
    some = queries[:N_TIMED]
    client = there.server._client

    def bare() -> None:
        for query in some:
            client.search(
                there.collection, data=[query], limit=K + SPARE, output_fields=[],
                search_params={"params": {"ef": EF}},
            )  # fmt: skip

    times = race(
        {
            "bare": bare,
            "ours": lambda: [there.search(q[None], k=K, parameters=effort) for q in some],
            "faiss": lambda: [here.search(q[None], k=K, parameters=effort) for q in some],
        },
        rounds=rounds,
    )
    overhead = [ours / bare for ours, bare in zip(times["ours"], times["bare"], strict=True)]
    tell(
        "remote",
        {
            "vectors": f"{len(here)} x {here.dim}",
            "milvus": "Lite" if there.server.is_lite else there.server.address,
            "recall@10 of texts, milvus": recalls["milvus"],
            "recall@10 of texts, faiss": recalls["faiss"],
            "ms a query, milvus": 1e3 * statistics.median(times["ours"]) / len(some),
            "ms a query, faiss": 1e3 * statistics.median(times["faiss"]) / len(some),
            "ours over bare pymilvus": spread(overhead),
            "target of it": 1.15,
            "seconds to fill, milvus": build_s["milvus"],
            "seconds to fill, faiss": build_s["faiss"],
        },
    )


if __name__ == "__main__":
    main()
