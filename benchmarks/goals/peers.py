"""One peer in a process of its own; stands alone, so that it runs in any Python.

    python peers.py SYSTEM FOLDER

FOLDER holds pictures.npy and queries.npy. Each peer stores the vectors with a path as metadata and
gives id, path and score of ten answers. Commands come on stdin, one a line: `recall` saves the ids
of all queries to FOLDER/SYSTEM.npy, `turn BATCH SECONDS` searches that long and tells the rate.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

K, EF_SEARCH, M, EF_CONSTRUCTION = 10, 64, 32, 80
Rows = list[list[tuple[int, str, float]]]
Search = Callable[[np.ndarray], Rows]


def path_of(number: int) -> str:
    """Give the path that vector number has."""
    return f"/pictures/{number:07}.jpg"


def faiss_raw(x: np.ndarray, folder: str) -> Search:
    """Raw faiss, HNSW over float16, paths in a list."""
    del folder
    import faiss

    ix = faiss.IndexHNSWSQ(x.shape[1], faiss.ScalarQuantizer.QT_fp16, M, faiss.METRIC_INNER_PRODUCT)
    ix.hnsw.efConstruction, ix.hnsw.efSearch = EF_CONSTRUCTION, EF_SEARCH
    ix.train(x)
    ix.add(x)
    paths = [path_of(i) for i in range(len(x))]

    def search(q: np.ndarray) -> Rows:
        scores, ids = ix.search(q, K)
        return [
            [(int(i), paths[i], float(s)) for i, s in zip(row, of, strict=True)]
            for row, of in zip(ids, scores, strict=True)
        ]

    return search


def usearch(x: np.ndarray, folder: str) -> Search:
    """usearch, HNSW over float16."""
    del folder
    from usearch.index import Index

    ix = Index(
        ndim=x.shape[1], metric="ip", dtype="f16", connectivity=M,
        expansion_add=EF_CONSTRUCTION, expansion_search=EF_SEARCH,
    )  # fmt: skip
    ix.add(np.arange(len(x)), x, threads=1)
    paths = [path_of(i) for i in range(len(x))]

    def search(q: np.ndarray) -> Rows:
        found = ix.search(q, K, threads=1)
        ids, far = np.atleast_2d(found.keys), np.atleast_2d(found.distances)
        return [
            [(int(i), paths[int(i)], 1.0 - float(d)) for i, d in zip(row, of, strict=True)]
            for row, of in zip(ids, far, strict=True)
        ]

    return search


def hnswlib(x: np.ndarray, folder: str) -> Search:
    """hnswlib, float32."""
    del folder
    import hnswlib as library

    ix = library.Index(space="ip", dim=x.shape[1])
    ix.init_index(len(x), M=M // 2, ef_construction=EF_CONSTRUCTION)
    ix.set_num_threads(1)
    ix.add_items(x, np.arange(len(x)))
    ix.set_ef(EF_SEARCH)
    paths = [path_of(i) for i in range(len(x))]

    def search(q: np.ndarray) -> Rows:
        ids, far = ix.knn_query(q, K, num_threads=1)
        return [
            [(int(i), paths[int(i)], 1.0 - float(d)) for i, d in zip(row, of, strict=True)]
            for row, of in zip(ids, far, strict=True)
        ]

    return search


def lancedb(x: np.ndarray, folder: str) -> Search:
    """LanceDB, IVF_HNSW_SQ with one partition, refined."""
    import lancedb as library
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    paths = [path_of(i) for i in range(len(x))]
    data = pa.table({"id": np.arange(len(x)), "path": paths, "vector": vectors})
    table = library.connect(os.path.join(folder, "lance")).create_table("v", data=data)
    table.create_index(
        metric="dot", index_type="IVF_HNSW_SQ", num_partitions=1, m=M,
        ef_construction=EF_CONSTRUCTION,
    )  # fmt: skip

    def one(v: np.ndarray) -> list[tuple[int, str, float]]:
        asked = table.search(v).distance_type("dot").nprobes(1).ef(EF_SEARCH).refine_factor(2)
        found = asked.select(["id", "path", "_distance"]).limit(K).to_arrow()
        columns = (found[name].to_pylist() for name in ("id", "path", "_distance"))
        return [(i, path, 1.0 - far) for i, path, far in zip(*columns, strict=True)]

    return lambda q: [one(v) for v in q]


def milvus_lite(x: np.ndarray, folder: str) -> Search:
    """Milvus Lite, HNSW."""
    from pymilvus import DataType, MilvusClient

    client = MilvusClient(os.path.join(folder, "milvus.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("path", DataType.VARCHAR, max_length=100)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=x.shape[1])
    wanted = client.prepare_index_params()
    graph = {"M": M, "efConstruction": EF_CONSTRUCTION}
    wanted.add_index("vector", index_type="HNSW", metric_type="IP", params=graph)
    client.create_collection("v", schema=schema, index_params=wanted)
    for start in range(0, len(x), 2_000):
        some = range(start, min(start + 2_000, len(x)))
        rows = [{"id": i, "path": path_of(i), "vector": x[i].tolist()} for i in some]
        client.insert("v", rows)
    client.flush("v")

    def search(q: np.ndarray) -> Rows:
        found = client.search(
            "v", q.tolist(), limit=K, output_fields=["path"],
            search_params={"metric_type": "IP", "params": {"ef": EF_SEARCH}},
        )  # fmt: skip
        return [[(h["id"], h["entity"]["path"], h["distance"]) for h in row] for row in found]

    return search


def qdrant_local(x: np.ndarray, folder: str) -> Search:
    """Qdrant's local mode, which compares everything."""
    del folder
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    size = models.VectorParams(size=x.shape[1], distance=models.Distance.DOT)
    client.create_collection("v", vectors_config=size)
    paths = [{"path": path_of(i)} for i in range(len(x))]
    client.upload_collection("v", vectors=x, payload=paths, ids=list(range(len(x))))

    def one(v: np.ndarray) -> list[tuple[int, str, float]]:
        points = client.query_points("v", query=v.tolist(), limit=K, with_payload=True).points
        return [(p.id, p.payload["path"], p.score) for p in points]

    return lambda q: [one(v) for v in q]


SYSTEMS = {
    "faiss": faiss_raw,
    "usearch": usearch,
    "hnswlib": hnswlib,
    "lancedb": lancedb,
    "milvus_lite": milvus_lite,
    "qdrant_local": qdrant_local,
}


def main() -> None:
    """Build one system and obey stdin."""
    name, folder = sys.argv[1:3]
    x = np.load(os.path.join(folder, "pictures.npy"))
    queries = np.load(os.path.join(folder, "queries.npy"))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    started_s = time.perf_counter()
    try:
        search = SYSTEMS[name](x, folder)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers)
        return
    print(json.dumps({"build_s": time.perf_counter() - started_s}), file=answers)
    serve(search, queries, os.path.join(folder, f"{name}.npy"), answers)


def serve(search: Search, queries: np.ndarray, path: str, answers: object) -> None:
    """Carry out commands until stdin ends."""
    at = 0
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "recall":
            found = [[i for i, _, _ in row] for q in queries for row in search(q[None])]
            np.save(path, np.array([row + [-1] * (K - len(row)) for row in found]))
            print("{}", file=answers)
            continue
        batch, seconds = int(numbers[0]), float(numbers[1])
        n, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            at = at + batch if at + 2 * batch <= len(queries) else 0
            n += len(search(queries[at : at + batch]))
        rate = n / (time.perf_counter() - started_s)
        print(json.dumps({"queries_per_s": rate}), file=answers)


if __name__ == "__main__":
    main()
