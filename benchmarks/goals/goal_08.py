"""Filters keep their promise: recall, no empty slot, and speed against the best single strategy.

Filters of 50, 10, 1 and 0.1 % of all vectors, drawn at random or as whole clusters (so that many
queries lie far from everything allowed). Single picture queries, one thread, k 10. The planner
runs against each strategy used alone on the same index: comparing the allowed rows, faiss's own
selector at one, four and sixteen times the effort, and nominating a fixed multiple of k / share
candidates without filter. Only a strategy with recall >= 0.95 and no empty slot counts.
`--set kinds=fastscan,hnsw,ivf` chooses the kinds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from benchmarks.goals.filter_catalog import catalog_rows
from benchmarks.measure import Options, Row, quartiles, race, ratio_row, ratios
from benchmarks.synthetic import SyntheticSet, make_set
from index import faiss_index, filtered
from index.allowed import Allowed
from index.exact import ExactIndex
from index.faiss_filtered import FaissNominator
from index.faiss_index import FaissIndex
from index.filtered import SPARE, WIDER
from index.recall import recall_at_k
from index.types import Ids, Neighbors, SearchParameters, Vectors

DEFAULTS = {"n": 100_000, "dim": 512}
THREADS = 1
K, N_QUERIES = 10, 64
SHARES = (0.5, 0.1, 0.01, 0.001)
MIN_RECALL = 0.95
TIME_LIMITS = {0.5: 1.25, 0.1: None, 0.01: 1.0, 0.001: 1.0}

Search = Callable[[Vectors], Neighbors]


def kinds(n: int) -> dict[str, dict[str, int]]:
    """Name the kinds that can be filtered here, with their parameters."""
    n_lists = 2 ** round(np.log2(3 * n**0.5))
    return {
        "fastscan": {"k_factor": 16},
        "hnsw": {"m": 32, "ef_search": 64},
        "ivf": {"n_lists": n_lists, "n_probes": max(8, n_lists // 32)},
        "flat": {},
    }


def run(options: Options) -> list[Row]:
    """Race the planner against each strategy used alone."""
    data = make_set(options.n, dim=options.dim, seed=options.seed)
    exact = ExactIndex(options.dim)
    exact.add(data.pictures, ids=np.arange(options.n))
    wanted = options.rest.get("kinds", "fastscan,hnsw").split(",")
    rows = [] if "kinds" in options.rest else catalog_rows(options, data.pictures)
    for kind in wanted:
        ix = FaissIndex(options.dim, kind=kind, **kinds(options.n)[kind])
        ix.add(data.pictures, ids=np.arange(options.n))
        for by_cluster in (False, True):
            for share in SHARES:
                rows += _cell(ix, exact, data, share=share, by_cluster=by_cluster, options=options)
    return rows


def _cell(
    ix: FaissIndex,
    exact: ExactIndex,
    data: SyntheticSet,
    *,
    share: float,
    by_cluster: bool,
    options: Options,
) -> list[Row]:
    ids = pick(data, share, by_cluster=by_cluster, seed=options.seed)
    allowed = Allowed(ids)
    pictures, texts = data.picture_queries[:N_QUERIES], data.text_queries[:N_QUERIES]
    truth = exact.search(pictures, k=K, allowed=allowed)
    text_truth = exact.search(texts, k=K, allowed=allowed)
    planned: Search = functools.partial(ix.search, k=K, allowed=allowed)
    recall = recall_at_k(planned(pictures), truth, k=K)
    n_empty = int((truth.counts - planned(pictures).counts).sum())
    name = f"{ix.kind}, {100 * share:g} % {'by cluster' if by_cluster else 'at random'}"
    singles = _singles(ix, allowed)
    good = {
        which: search
        for which, search in singles.items()
        if _judge(search, pictures, truth) >= MIN_RECALL
    }
    tasks = {"planner": planned, **good, "no filter": functools.partial(ix.search, k=K)}
    times = race(
        {who: functools.partial(_one_by_one, search, pictures) for who, search in tasks.items()},
        rounds=options.rounds,
        min_s=options.min_s,
    )
    best = min(good, key=lambda which: min(times[which]), default="planner")
    speed = ratios(times, best, "planner")
    details = {
        "recall_text": round(recall_at_k(planned(texts), text_truth, k=K), 3),
        "planner_ms": round(1_000 * min(times["planner"]) / len(pictures), 4),
        "best_single": best,
    }
    return [
        Row(f"{name}: recall", recall, target=MIN_RECALL, unit="", details=details),
        Row(f"{name}: empty slots", n_empty, target=0, at_most=True, unit=""),
        Row(
            f"{name}: speed of the best single / planner",
            float(np.median(speed)),
            target=0.90,
            spread=quartiles(speed),
            details={w: round(1_000 * min(times[w]) / len(pictures), 4) for w in good},
        ),
        ratio_row(
            f"{name}: time filtered / unfiltered",
            times,
            subject="planner",
            peer="no filter",
            target=TIME_LIMITS[share],
            at_most=True,
        ),
    ]


def pick(data: SyntheticSet, share: float, *, by_cluster: bool, seed: int) -> Ids:
    """Choose which vectors are allowed: any, or whole clusters."""
    rng = np.random.default_rng([seed, int(10_000 * share), by_cluster])
    n = len(data.pictures)
    if not by_cluster:
        return np.sort(rng.choice(n, max(1, round(share * n)), replace=False))
    order = rng.permutation(int(data.clusters.max()) + 1)
    sizes = np.bincount(data.clusters, minlength=len(order))[order]
    n_clusters = 1 + int(np.searchsorted(np.cumsum(sizes), share * n))
    return np.flatnonzero(np.isin(data.clusters, order[:n_clusters]))


def _singles(ix: FaissIndex, allowed: Allowed) -> dict[str, Search]:
    """Every strategy used alone, behind the same `Index.search` as the planner."""
    strategies: dict[str, Search] = {"exact": _forced(ix, allowed, times=None)}
    if ix.efforts and ix.efforts[0] in ("ef_search", "n_probes"):
        for times in (1, 4, 16):
            strategies[f"selector, effort x {times}"] = functools.partial(
                _selected, ix=ix, allowed=allowed, times=times
            )
    n = len(ix)
    for times in (2, 8):
        if not ix._back.is_exact and times * K * n / len(allowed) < n / 4:
            strategies[f"nominate {times} k / share"] = _forced(ix, allowed, times=times)
    return strategies


def _forced(ix: FaissIndex, allowed: Allowed, *, times: int | None) -> Search:
    """Search with one strategy whatever it costs: nominate once, or else scan."""

    class Forced(FaissNominator):
        def n_candidates(self, k: int) -> int:
            return int((times or 0) * k / self._share) + SPARE

        def rows_compared(self, n: int) -> float:  # noqa: ARG002  # whatever it costs
            return float("inf") if times is None else 0.0

        def scan(self, queries: Vectors, *, k: int) -> Neighbors:
            if times is None:
                return super().scan(queries, k=k)
            shape = len(queries), k  # this strategy alone leaves the places empty
            return Neighbors(np.zeros(shape, np.int64), np.zeros(shape, np.float32),
                             np.zeros(len(queries), np.int64))  # fmt: skip

    def search(queries: Vectors) -> Neighbors:
        faiss_index.FaissNominator, filtered.WIDER = Forced, 10**9
        try:
            return ix.search(queries, k=K, allowed=allowed)
        finally:
            faiss_index.FaissNominator, filtered.WIDER = FaissNominator, WIDER

    return search


def _selected(queries: Vectors, *, ix: FaissIndex, allowed: Allowed, times: int) -> Neighbors:
    wanted, _ = allowed.over(ix._table)
    selector = ix._back.faiss.IDSelectorBitmap(np.packbits(wanted, bitorder="little"))
    effort = {name: times * int(ix.parameters[name]) for name in ix.efforts if name != "k_factor"}
    _, positions = ix._back.nearest(
        queries, k=K, selector=selector, parameters=SearchParameters(**effort)
    )
    return ix._best(queries, positions, K)


def _judge(search: Search, queries: Vectors, truth: Neighbors) -> float:
    """Give the recall; 0 where a slot stays empty, as such a strategy does not count."""
    found = search(queries)
    return 0.0 if (found.counts < truth.counts).any() else recall_at_k(found, truth, k=K)


def _one_by_one(search: Search, queries: Vectors) -> None:
    for row in range(len(queries)):
        search(queries[row : row + 1])
