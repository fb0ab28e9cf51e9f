"""Recall asked is recall delivered, for text queries: tuned on some, judged on others.

Each kind of index is tuned to each target with as many texts as a build takes, 128, and judged
with 500 others. A cell is hit where these find the target less 0.01, or where the tuner said that
it is out of reach and no point of a fine grid reaches it either. The settings found are raced
against the fastest grid point that reaches the target on the very queries it is judged with. The
same tuner fed with the index's own vectors, as peers do, stands beside. One size and seed a run;
`--vectors REAL.npz` takes real vectors (`benchmarks.real_set`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from benchmarks.measure import Options, Row, race, ratio_row
from benchmarks.real_set import given_set
from benchmarks.synthetic import SyntheticSet
from index.choose import coded_lists, row_lists
from index.faiss_index import FaissIndex
from index.recall import recall_at_k
from index.truth import exact_answers
from index.tune import ENOUGH_QUERIES, Tuned, tune
from index.types import Ids, Neighbors, SearchParameters, Vectors

DEFAULTS = {"n": 20_000, "dim": 256}
THREADS = 1
K, TARGETS, ALLOWED = 10, (0.90, 0.95, 0.99), 0.01
EFFORTS = tuple(sorted({round(2 ** (step / 2)) for step in range(25)}))
CANDIDATES = (1, 2, 4, 8, 16, 32, 64, 128)
N_RACED = 64


def run(options: Options) -> list[Row]:
    """Tune, judge and race every kind and target."""
    data = given_set(options, n_queries=1_000)
    wanted = options.rest.get("kinds", "hnsw ivf fastscan ivf_fastscan").replace("+", " ").split()
    targets = [float(t) for t in options.rest.get("targets", "").split("+") if t] or TARGETS
    rows = [row for kind in wanted for row in _kind(kind, data, targets=targets, options=options)]
    hits = [row.value for row in rows if row.name.startswith("hit")]
    speeds = [row.value for row in rows if row.name.startswith("speed") and row.value]
    shares = [row.value for row in rows if row.name.startswith("tuning")]
    if hits:
        rows.append(Row("share of cells hit", float(np.mean(hits)), target=0.95, unit="share"))
    if speeds:
        rows.append(
            Row("speed over the best grid point, median", float(np.median(speeds)), target=0.90)
        )
    if shares:
        rows.append(
            Row("tuning over build, median", float(np.median(shares)), target=0.10, at_most=True)
        )
    return rows


def _kind(
    kind: str,
    data: SyntheticSet,
    *,
    targets: list[float] | tuple[float, ...],
    options: Options,
) -> Iterator[Row]:
    started_s = time.perf_counter()
    ix = FaissIndex(options.dim, kind=kind, **_parameters(kind, options.n))
    if 0 < ix.n_least <= options.n < ix.n_enough:  # as `build_index` does
        ix.train(data.pictures)
    ix.add(data.pictures, ids=np.arange(options.n))
    build_s = time.perf_counter() - started_s
    half = len(data.text_queries) // 2
    n_tuned = min(half, ENOUGH_QUERIES)
    held_out = data.text_queries[half:]
    truth = exact_answers(_pieces(data), held_out, k=K)
    grid = list(_grid(ix, held_out, truth))
    for target in targets:
        tuned, tuning_s = _tuned(ix, data.text_queries[:n_tuned], data, target)
        own, _ = _tuned(ix, data.pictures[:n_tuned], data, target)
        found = _recall(ix, held_out, truth, tuned.parameters)
        reachable = max(recall for _, recall in grid) >= target
        cell = f"{kind} {target:g}"
        yield Row(
            f"hit, {cell}",
            float(found >= target - ALLOWED if tuned.reached else not reachable or found >= target),
            unit="of 1",
            details={
                "held-out": round(found, 4),
                "reached": tuned.reached,
                "tuned with own vectors": round(_recall(ix, held_out, truth, own.parameters), 4),
                "parameters": _told(tuned.parameters),
                "build_s": round(build_s, 2),
            },
        )
        yield Row(
            f"tuning over build, {cell}", tuning_s / build_s, details={"s": round(tuning_s, 2)}
        )
        if tuned.reached and reachable:
            yield _raced(ix, held_out, tuned, grid, target, options=options, cell=cell)


def _parameters(kind: str, n: int) -> Mapping[str, int]:
    n_lists = coded_lists(n) if kind == "ivf_fastscan" else row_lists(n)
    return {"hnsw": {"m": 32}, "fastscan": {}}.get(kind, {"n_lists": n_lists})


def _tuned(
    ix: FaissIndex, queries: Vectors, data: SyntheticSet, target: float
) -> tuple[Tuned, float]:
    """Tune as a build does, exact answers included."""
    started_s = time.perf_counter()
    truth = exact_answers(_pieces(data), queries, k=K)
    tuned = tune(ix, queries=queries, truth=truth, target=target, k=K)
    return tuned, time.perf_counter() - started_s


def _pieces(data: SyntheticSet) -> list[tuple[Vectors, Ids, None]]:
    return [(data.pictures, np.arange(len(data.pictures)), None)]


def _grid(
    ix: FaissIndex, queries: Vectors, truth: Neighbors
) -> Iterator[tuple[SearchParameters, float]]:
    """Every point of the grid with its recall."""
    n_lists = int(ix.parameters.get("n_lists", 1 << 20))
    axes = {
        "ef_search": [e for e in EFFORTS if e >= K],
        "n_probes": [e for e in EFFORTS if e <= n_lists],
        "k_factor": CANDIDATES,
    }
    for values in itertools.product(*(axes[name] for name in ix.efforts)):
        point = SearchParameters()
        for name, value in zip(ix.efforts, values, strict=True):
            point = _with(point, name, value)
        yield point, _recall(ix, queries, truth, point)


def _with(point: SearchParameters, name: str, value: int) -> SearchParameters:
    if name == "ef_search":
        return replace(point, ef_search=value)
    return replace(point, n_probes=value) if name == "n_probes" else replace(point, k_factor=value)


def _raced(
    ix: FaissIndex,
    queries: Vectors,
    tuned: Tuned,
    grid: list[tuple[SearchParameters, float]],
    target: float,
    *,
    options: Options,
    cell: str,
) -> Row:
    """Race the settings found against the fastest of the grid that reach the target."""

    def ask(parameters: SearchParameters, n: int) -> None:
        for row in range(n):
            ix.search(queries[row : row + 1], k=K, parameters=parameters)

    best = min(_cheapest(grid, target), key=lambda point: _seconds(lambda: ask(point, 16)))
    times = race(
        {
            "tuned": lambda: ask(tuned.parameters, N_RACED),
            "grid": lambda: ask(best, N_RACED),
        },
        rounds=options.rounds,
        min_s=options.min_s,
    )
    return ratio_row(
        f"speed over the best grid point, {cell}",
        times,
        subject="grid",
        peer="tuned",
        target=None,
        details={
            "grid": _told(best),
            "ms a query": round(1e3 * float(np.median(times["tuned"])) / N_RACED, 3),
        },
    )


def _cheapest(grid: list[tuple[SearchParameters, float]], target: float) -> list[SearchParameters]:
    """Of the points that reach a target those that no other undercuts in every effort."""
    reach = [point for point, recall in grid if recall >= target]
    least: dict[int | None, SearchParameters] = {}
    for point in reach:
        if point.ef_search or not point.n_probes:
            return [point]
        least.setdefault(point.n_probes, point)  # the grid rises in k_factor, too
    return list(least.values())


def _seconds(task: object) -> float:
    assert callable(task)
    started_s = time.perf_counter()
    task()
    return time.perf_counter() - started_s


def _recall(ix: FaissIndex, queries: Vectors, truth: Neighbors, point: SearchParameters) -> float:
    return recall_at_k(ix.search(queries, k=K, parameters=point), truth, k=K)


def _told(point: SearchParameters) -> str:
    named = (("ef", point.ef_search), ("np", point.n_probes), ("k", point.k_factor))
    return " ".join(f"{name}{value}" for name, value in named if value is not None)
