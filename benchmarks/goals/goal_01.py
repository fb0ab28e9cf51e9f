"""What the engine costs over raw faiss: ids and scores, and with ten rows of the catalog.

The same faiss object is searched directly and through `Index.search`, which checks the input,
scores the answers again in float64, orders ties by id and counts them; then also with the part
and item rows of all ten answers, kept in memory once read. HNSW32 over float16 (`--set
dtype=float32` for float32), efSearch 64, k 10, picture queries, one thread.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.goals.filter_catalog import fill_catalog
from benchmarks.goals.goal_02 import Ours, Way
from benchmarks.measure import Options, Row, race, ratio_row
from benchmarks.synthetic import make_set
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
from index.types import SearchParameters, Vectors

DEFAULTS = {"n": 100_000, "dim": 512}
THREADS = 1
K, EF_SEARCH = 10, 64
TARGETS = {1: (1.10, 1.50), 256: (1.03, 1.12)}


def run(options: Options) -> list[Row]:
    """Race raw faiss against the same index behind `Index.search`, and with rows."""
    data = make_set(options.n, dim=options.dim, seed=options.seed)
    dtype = options.rest.get("dtype", "float16")
    ix = FaissIndex(
        options.dim, kind="hnsw", m=32, ef_construction=40, ef_search=EF_SEARCH, dtype=dtype
    )
    ix.add(data.pictures, ids=np.arange(1, options.n + 1))
    with tempfile.TemporaryDirectory() as folder:
        catalog = fill_catalog(Path(folder), options.n)
        with catalog.reading() as reader:
            with_rows = Ours(reader, data.picture_queries)
            with_rows.search(data.picture_queries, Way(ix, SearchParameters(ef_search=EF_SEARCH)))
            rows = [
                row
                for batch in TARGETS
                for row in _race(ix, with_rows, _batches(data.picture_queries, batch), options)
            ]
        catalog.close()
    return rows


def _batches(queries: Vectors, size: int) -> list[Vectors]:
    return [queries[i : i + size] for i in range(0, len(queries) - size + 1, size)]


def _race(ix: FaissIndex, with_rows: Ours, batches: list[Vectors], options: Options) -> list[Row]:
    size = len(batches[0])
    times = race(
        {
            "raw": functools.partial(_raw, ix, batches),
            "ids and scores": functools.partial(_ours, ix, batches),
            "ten rows": functools.partial(_with_rows, with_rows, ix, batches),
        },
        rounds=options.rounds,
        min_s=options.min_s,
    )
    raw_us = 1e6 * min(times["raw"]) / (size * len(batches))
    return [
        ratio_row(
            f"batch {size}, {what} / raw faiss",
            times,
            subject=what,
            peer="raw",
            target=target,
            at_most=True,
            details={"raw_us_per_query": round(raw_us, 1)},
        )
        for what, target in zip(("ids and scores", "ten rows"), TARGETS[size], strict=True)
    ]


def _raw(ix: FaissIndex, batches: list[Vectors]) -> None:
    faiss = import_faiss()
    with ix.frozen() as (core, _, _):
        for some in batches:
            core.search(some, K, params=faiss.SearchParametersHNSW(efSearch=EF_SEARCH))


def _ours(ix: FaissIndex, batches: list[Vectors]) -> None:
    for some in batches:
        ix.search(some, k=K)


def _with_rows(ours: Ours, ix: FaissIndex, batches: list[Vectors]) -> None:
    way = Way(ix, SearchParameters(ef_search=EF_SEARCH))
    for some in batches:
        ours.search(some, way)
