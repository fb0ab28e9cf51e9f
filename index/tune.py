"""Search parameters for a recall target, measured against exact search.

Tune with queries of the *other* modality: the same index that finds 0.99 of what its own vectors
look for can lose a third of what text queries look for.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np

from index.base import Index
from index.errors import InputError
from index.recall import recall_at_k
from index.types import Neighbors, SearchParameters, Vectors

LADDER_FROM, LADDER_TO = 1, 4_096
Z_95 = 1.64  # one-sided 95 %
N_TIMED = 64


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found for one target.

    Attributes:
        parameters: cheapest that reach the target; the most generous where none does.
        recall: measured with the queries given.
        margin: half width of its one-sided 95 % interval, which was asked for on top.
        reached: False where the target is out of reach of this index.
        latency_ms: median time of a single query.
        n_queries: that were asked.
        tried: every effort measured and its recall, cheapest first.
    """

    parameters: SearchParameters
    recall: float
    margin: float
    reached: bool
    latency_ms: float
    n_queries: int
    tried: tuple[tuple[int, float], ...] = field(default=())


def tune(ix: Index, *, queries: Vectors, truth: Neighbors, target: float, k: int = 10) -> Tuned:
    """Find the least effort with which an index reaches a recall.

    Recall grows with effort, so bisection on a ladder of powers of the square root of two finds
    the step. `ivf_fastscan` has two efforts: candidates are first plentiful while the number of
    lists is found, then cut down as far as the target allows.

    Args:
        ix: to search; its own settings stay as they are.
        queries: float32 [Q, D], unit length, like those it will be asked.
        truth: the exact answers to them, at least k columns.
        target: recall@k, above 0, at most 1.
        k: how many of the best count.

    Returns:
        The parameters and what they reach; `reached` says whether that is enough.

    Raises:
        InputError: target is outside its limits, or there are no queries.

    Example:
        >>> from index.exact import ExactIndex
        >>> exact = ExactIndex(2)
        >>> exact.add(np.eye(2, dtype=np.float32), ids=np.arange(2))
        >>> queries = np.eye(2, dtype=np.float32)
        >>> tune(exact, queries=queries, truth=exact.search(queries, k=1), target=0.9, k=1).recall
        1.0
    """
    if not 0 < target <= 1 or not len(queries):
        raise InputError(
            f"target is {target} with {len(queries)} queries; it must be above 0, at most 1, "
            "and there must be at least one query"
        )
    trial = _Trial(ix, queries, truth, k)
    margin = _margin(target, n=len(queries), k=k)
    wanted = min(1.0, target + margin)
    parameters = SearchParameters()
    for name, start in _EFFORTS.get(ix.kind, ()):
        if start is not None:
            parameters = replace(parameters, k_factor=start)
        parameters = trial.bisect(name, parameters, wanted)
    recall = trial.recall(parameters)
    return Tuned(
        parameters=parameters,
        recall=recall,
        margin=margin,
        reached=recall >= wanted,
        latency_ms=_latency_ms(ix, queries, parameters, k=k),
        n_queries=len(queries),
        tried=tuple(sorted(trial.tried)),
    )


# By kind: the efforts to bisect one after the other, and k_factor meanwhile.
_EFFORTS: dict[str, tuple[tuple[str, int | None], ...]] = {
    "hnsw": (("ef_search", None),),
    "ivf": (("n_probes", None),),
    "fastscan": (("k_factor", None),),
    "ivf_fastscan": (("n_probes", 64), ("k_factor", None)),
}


class _Trial:
    def __init__(self, ix: Index, queries: Vectors, truth: Neighbors, k: int) -> None:
        self._ix, self._queries, self._truth, self._k = ix, queries, truth, k
        self._known: dict[SearchParameters, float] = {}
        self.tried: list[tuple[int, float]] = []

    def recall(self, parameters: SearchParameters) -> float:
        if parameters not in self._known:
            found = self._ix.search(self._queries, k=self._k, parameters=parameters)
            self._known[parameters] = recall_at_k(found, self._truth, k=self._k)
        return self._known[parameters]

    def bisect(self, name: str, others: SearchParameters, wanted: float) -> SearchParameters:
        """Find the lowest rung that reaches `wanted`; the highest where none does.

        Rungs are first climbed by factors of four, so that the dearest ones are not measured
        where a cheap one is enough.
        """
        rungs = _ladder()
        low, step = 0, 4
        high = min(step, len(rungs) - 1)
        while self._at(name, rungs[high], others) < wanted and high < len(rungs) - 1:
            low, high = high + 1, min(high + step, len(rungs) - 1)
        while low < high:
            middle = (low + high) // 2
            if self._at(name, rungs[middle], others) >= wanted:
                high = middle
            else:
                low = middle + 1
        return _with(others, name, rungs[high])

    def _at(self, name: str, effort: int, others: SearchParameters) -> float:
        recall = self.recall(_with(others, name, effort))
        self.tried.append((effort, recall))
        return recall


def _ladder() -> list[int]:
    n_steps = 2 * round(math.log2(LADDER_TO / LADDER_FROM))
    return sorted({round(LADDER_FROM * 2 ** (step / 2)) for step in range(n_steps + 1)})


def _with(parameters: SearchParameters, name: str, effort: int) -> SearchParameters:
    if name == "ef_search":
        return replace(parameters, ef_search=effort)
    if name == "n_probes":
        return replace(parameters, n_probes=effort)
    return replace(parameters, k_factor=effort)


def _margin(target: float, *, n: int, k: int) -> float:
    """Half the one-sided 95 % interval of a share of n * k answers, z sqrt(p (1 - p) / (n k)).

    Answers to one query are alike: half of them are counted.
    """
    return Z_95 * math.sqrt(target * (1 - target) / max(1, n * k / 2))


def _latency_ms(ix: Index, queries: Vectors, parameters: SearchParameters, *, k: int) -> float:
    times_s = []
    for row in range(min(N_TIMED, len(queries))):
        started_s = time.perf_counter()
        ix.search(queries[row : row + 1], k=k, parameters=parameters)
        times_s.append(time.perf_counter() - started_s)
    return float(np.median(times_s) * 1_000)
