"""Speed at a recall for text queries, by kind of index: `python -m benchmarks.text_recall`.

Every kind is tuned twice on one half of the queries, with texts and (as peers do) with its own
vectors, and judged on the other half of the texts. Kinds are timed by turns, single queries, one
thread. Goals 4 and 5 of the index layer in small; the target, size and seed are arguments.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.report import spread, tell
from benchmarks.synthetic import SyntheticSet, make_set
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
from index.recall import recall_at_k
from index.tune import Tuned, tune
from index.types import SearchParameters

ROUNDS, QUERIES_A_ROUND, K = 5, 100, 10


def kinds(n: int) -> Mapping[str, Mapping[str, int]]:
    """Name the indexes that compete, with the parameters they are made with."""
    n_lists = 2 ** round(np.log2(3 * n**0.5))
    return {
        "flat": {},
        "hnsw": {"m": 32},
        "ivf": {"n_lists": n_lists},
        "fastscan": {},
        "ivf_fastscan": {"n_lists": n_lists},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    import_faiss().omp_set_num_threads(1)
    data = make_set(given.n, dim=given.dim, n_queries=1_000, seed=given.seed)
    exact = ExactIndex(given.dim)
    exact.add(data.pictures, ids=np.arange(given.n))
    indexes, chosen = {}, {}
    for kind, parameters in kinds(given.n).items():
        started_s = time.perf_counter()
        indexes[kind] = FaissIndex(given.dim, kind=kind, **parameters)
        indexes[kind].add(data.pictures, ids=np.arange(given.n))
        build_s = time.perf_counter() - started_s
        chosen[kind] = _judge(
            indexes[kind], data, exact, target=given.target, build_s=build_s, seed=given.seed
        )
    _race(indexes, chosen, data)


def _judge(
    ix: FaissIndex,
    data: SyntheticSet,
    exact: ExactIndex,
    *,
    target: float,
    build_s: float,
    seed: int,
) -> SearchParameters:
    """Tune with texts and with the index's own vectors; judge both on texts held out."""
    half = len(data.text_queries) // 2
    texts, held_out = data.text_queries[:half], data.text_queries[half:]
    started_s = time.perf_counter()
    with_texts = tune(ix, queries=texts, truth=exact.search(texts, k=K), target=target)
    tuning_s = time.perf_counter() - started_s
    own = data.pictures[:half]
    with_own = tune(ix, queries=own, truth=exact.search(own, k=K), target=target)
    truth = exact.search(held_out, k=K)

    def held_out_recall(tuned: Tuned) -> float:
        return recall_at_k(ix.search(held_out, k=K, parameters=tuned.parameters), truth, k=K)

    tell(
        "text_recall",
        {
            "kind": ix.kind,
            "n": len(ix),
            "dim": ix.dim,
            "seed": seed,
            "target": target,
            "reached": with_texts.reached,
            "held-out text recall, tuned with texts": held_out_recall(with_texts),
            "held-out text recall, tuned with own vectors": held_out_recall(with_own),
            "parameters": str(with_texts.parameters),
            "build_s": build_s,
            "tuning_s": tuning_s,
        },
    )
    return with_texts.parameters


def _race(
    indexes: Mapping[str, FaissIndex],
    chosen: Mapping[str, SearchParameters],
    data: SyntheticSet,
) -> None:
    """Time single text queries, the kinds by turns; ratios of speed to `flat` within a round."""
    rates: dict[str, list[float]] = {kind: [] for kind in indexes}
    for _ in range(ROUNDS):
        for kind, ix in indexes.items():
            started_s = time.perf_counter()
            for row in range(QUERIES_A_ROUND):
                ix.search(data.text_queries[row : row + 1], k=K, parameters=chosen[kind])
            rates[kind].append(QUERIES_A_ROUND / (time.perf_counter() - started_s))
    for kind, of_kind in rates.items():
        ratios = [mine / flat for mine, flat in zip(of_kind, rates["flat"], strict=True)]
        tell(
            "text_recall_speed",
            {
                "kind": kind,
                "queries per s": statistics.median(of_kind),
                "speed over flat": spread(ratios),
            },
        )


if __name__ == "__main__":
    main()
