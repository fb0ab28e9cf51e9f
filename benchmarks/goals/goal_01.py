"""What the index layer costs over raw faiss: ids and scores, one query and 256.

The same faiss object is searched directly and through `Index.search`, which checks the input,
scores the answers again in float64, orders ties by id and counts them. HNSW32, efSearch 64, k 10,
picture queries, one thread.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Options, Row, race, ratio_row
from benchmarks.synthetic import make_set
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss

DEFAULTS = {"n": 100_000, "dim": 512}
THREADS = 1
K, EF_SEARCH = 10, 64
TARGETS = {1: 1.10, 256: 1.03}


def run(options: Options) -> list[Row]:
    """Race raw faiss against `Index.search` on one and the same index."""
    data = make_set(options.n, dim=options.dim, seed=options.seed)
    ix = FaissIndex(options.dim, kind="hnsw", m=32, ef_construction=40, ef_search=EF_SEARCH)
    ix.add(data.pictures, ids=np.arange(options.n))
    faiss = import_faiss()
    with ix.frozen() as (core, _, _):
        pass
    rows = []
    for batch, target in TARGETS.items():
        queries = [
            data.picture_queries[start : start + batch]
            for start in range(0, len(data.picture_queries) - batch + 1, batch)
        ]

        def raw(queries: list[np.ndarray] = queries) -> None:
            for some in queries:
                core.search(some, K, params=faiss.SearchParametersHNSW(efSearch=EF_SEARCH))

        def ours(queries: list[np.ndarray] = queries) -> None:
            for some in queries:
                ix.search(some, k=K)

        times = race({"ours": ours, "raw": raw}, rounds=options.rounds, min_s=options.min_s)
        per_query = {"raw_us_per_query": 1e6 * min(times["raw"]) / (batch * len(queries))}
        rows.append(
            ratio_row(
                f"batch {batch}, ids and scores",
                times,
                subject="ours",
                peer="raw",
                target=target,
                at_most=True,
                details={name: round(value, 1) for name, value in per_query.items()},
            )
        )
    return rows
