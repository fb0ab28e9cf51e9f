"""Search parameters for a recall target, measured against exact search.

Tune with queries of the *other* modality: the same index that finds 0.99 of what its own vectors
look for can lose a third of what text queries look for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from index.base import Index
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.recall import recall_at_k
from index.types import Ids, Neighbors, SearchParameters, Vectors

LADDER_FROM, LADDER_TO = 1, 4_096
Z_98 = 2.05  # one-sided 98 %
ALLOWED_BELOW = 0.01  # what recall may turn out to be less than was asked for
N_TIMED = 16
N_ROUGH = 32  # queries that say where to look; all say where to stop
ENOUGH_QUERIES = 128
"""More queries than this cost more time than the narrower margin, .008 at .95, is worth."""

# More lists and fewer candidates, or the other way round: what is tried, and timed.
WIDENINGS = (1.0, 1.3, 2.0)
N_TIMED_WIDENING = 32
# Where a search falls short of what was counted (a tie, a float32 sum), it gets a little more.
N_CORRECTIONS, CORRECTION = 8, 1.15


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found for one target.

    Attributes:
        parameters: cheapest that reach the target; the most generous where none does.
        recall: measured with the queries given.
        margin: what was asked for on top, so that others than these queries find the target, too.
        reached: False where the target is out of reach of this index.
        latency_ms: median time of a single query.
        n_queries: that were asked.
        tried: efforts and their recall, cheapest first.
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

    For lists and codes recall is counted for every effort at once, from the ranks of the true
    answers, and confirmed by one search; of several ways to spend effort the fastest is taken. A
    graph is searched: recall grows with effort, so bisection on a ladder of powers of the square
    root of two finds the step.

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
    parameters = trial.settle(wanted)
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

    def settle(self, wanted: float) -> SearchParameters:
        """Find the parameters, by counting where that is possible."""
        efforts = self._ix.efforts
        if not efforts:
            return SearchParameters()
        start = self._with(SearchParameters(), efforts[1:], LADDER_TO // self._k)
        needed = self._needed(efforts[0], start)
        if needed is None:
            parameters = self.bisect(efforts[0], start, wanted)
            return self._cut(parameters, efforts[1:], wanted)
        self._note(needed)
        least = _least(needed, wanted)
        if len(efforts) == 1:
            return self._confirmed(_with(start, efforts[0], least), efforts, wanted)
        ways = self._ways(efforts, needed, least, wanted)
        return self._confirmed(ways, efforts, wanted)

    def _ways(
        self, efforts: Sequence[str], needed: Ids, least: int, wanted: float
    ) -> SearchParameters:
        """Take the fastest of some ways to spend two efforts."""
        most = int(needed[needed < _NEVER].max(initial=1))
        spent = sorted({min(most, math.ceil(least * w)) for w in WIDENINGS})
        given = [_with(SearchParameters(), efforts[0], coarse) for coarse in spent]
        ways = [
            way for way in (self._fine(efforts[1], one, wanted, N_ROUGH) for one in given) if way
        ]
        if ways:
            times_s = self._raced(ways) if len(ways) > 1 else [0.0]
            best = ways[min(range(len(ways)), key=lambda number: times_s[number])]
            given.insert(0, _with(SearchParameters(), efforts[0], getattr(best, efforts[0])))
        for one in given:  # some queries spoke for all until here
            way = self._fine(efforts[1], one, wanted, len(self._queries))
            if way:
                return way
        # Candidates run out first: everything is read, and as many as are allowed.
        all_lists = _with(SearchParameters(), efforts[0], most)
        return _with(all_lists, efforts[1], LADDER_TO // self._k)

    def _fine(
        self, name: str, given: SearchParameters, wanted: float, n: int
    ) -> SearchParameters | None:
        """Add the least of a second effort that some queries need; None where none is enough."""
        needed = self._needed(name, given, n=n)
        if needed is None:
            return None
        way = _with(given, name, _least(needed, wanted))
        return way if _share(needed, way, name) >= wanted else None

    def _raced(self, ways: Sequence[SearchParameters]) -> list[float]:
        """Time the ways by turns, so that a busy machine is busy for all of them."""
        times_s: list[list[float]] = [[] for _ in ways]
        for row in range(min(N_TIMED_WIDENING, len(self._queries))):
            for way, of_way in zip(ways, times_s, strict=True):
                started_s = time.perf_counter()
                self._ix.search(self._queries[row : row + 1], k=self._k, parameters=way)
                of_way.append(time.perf_counter() - started_s)
        return [float(np.quantile(of_way, 0.25)) for of_way in times_s]

    def _cut(
        self, parameters: SearchParameters, efforts: Sequence[str], wanted: float
    ) -> SearchParameters:
        """Take away from the further efforts what the target does not need."""
        for name in efforts:
            needed = self._needed(name, parameters)
            if needed is not None:
                cut = _with(parameters, name, _least(needed, wanted))
                parameters = self._confirmed(cut, (name,), wanted)
        return parameters

    def _confirmed(
        self, parameters: SearchParameters, efforts: Sequence[str], wanted: float
    ) -> SearchParameters:
        """Add effort until a search finds what was counted, or no more than before."""
        for _ in range(N_CORRECTIONS):
            if self.recall(parameters) >= wanted:
                break
            for name in efforts:
                more = math.ceil(getattr(parameters, name) * CORRECTION)
                parameters = _with(parameters, name, more)
        return parameters

    def _needed(self, name: str, given: SearchParameters, *, n: int = 1 << 30) -> Ids | None:
        """Give the effort each true answer to the first n queries needs, ascending; None where only
        a search can tell."""
        if not isinstance(self._ix, FaissIndex):
            return None
        queries, truth = self._queries[:n], _first(self._truth, n)
        needed = self._ix.needed(name, queries, truth=truth, k=self._k, given=given)
        if needed is None:
            return None
        there = np.arange(self._k) < np.minimum(truth.counts, self._k)[:, None]
        return np.sort(needed[there])

    def _note(self, needed: Ids) -> None:
        for rung in _ladder():
            self.tried.append((rung, float(np.searchsorted(needed, rung, "right") / len(needed))))

    def _with(
        self, parameters: SearchParameters, names: Sequence[str], effort: int
    ) -> SearchParameters:
        for name in names:
            parameters = _with(parameters, name, effort)
        return parameters

    def bisect(self, name: str, others: SearchParameters, wanted: float) -> SearchParameters:
        """Find the lowest rung that reaches `wanted`; the highest where none does.

        Some of the queries say where to look, all of them where to stop.
        """
        rungs = _ladder()
        if len(self._queries) <= 2 * N_ROUGH:
            return _with(others, name, rungs[self._climb(name, others, wanted)])
        truth = _first(self._truth, N_ROUGH)
        rough = _Trial(self._ix, self._queries[:N_ROUGH], truth, self._k)
        rung = rough._climb(name, others, wanted)
        while rung < len(rungs) - 1 and self._at(name, rungs[rung], others) < wanted:
            rung += 1
        while rung > 0 and self._at(name, rungs[rung - 1], others) >= wanted:
            rung -= 1
        return _with(others, name, rungs[rung])

    def _climb(self, name: str, others: SearchParameters, wanted: float) -> int:
        """Bisect the ladder, first climbed by factors of two: the dearest rungs are not measured
        where a cheap one is enough."""
        rungs = _ladder()
        low, step = 0, 2
        high = min(step, len(rungs) - 1)
        while self._at(name, rungs[high], others) < wanted and high < len(rungs) - 1:
            low, high = high + 1, min(high + step, len(rungs) - 1)
        while low < high:
            middle = (low + high) // 2
            if self._at(name, rungs[middle], others) >= wanted:
                high = middle
            else:
                low = middle + 1
        return high

    def _at(self, name: str, effort: int, others: SearchParameters) -> float:
        recall = self.recall(_with(others, name, effort))
        self.tried.append((effort, recall))
        return recall


_NEVER = 2**31


def _least(needed: Ids, wanted: float) -> int:
    """The effort with which a share of the answers is found; of all that can be, where it is less.

    Args:
        needed: int64 [A], ascending.
        wanted: share.
    """
    n_reachable = int(np.searchsorted(needed, _NEVER))
    n_wanted = min(math.ceil(wanted * len(needed) - 1e-9), n_reachable)
    return int(needed[n_wanted - 1]) if n_wanted else LADDER_TO


def _first(truth: Neighbors, n: int) -> Neighbors:
    return Neighbors(truth.ids[:n], truth.scores[:n], truth.counts[:n])


def _share(needed: Ids, parameters: SearchParameters, name: str) -> float:
    return float(np.searchsorted(needed, getattr(parameters, name), "right") / max(1, len(needed)))


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
    """What to ask for on top, so that recall is surely (98 %) no more than .01 below the target.

    The standard error of a share of n * k answers is sqrt(p (1 - p) / (n k)). Answers to one query
    are alike: half of them are counted.
    """
    error = math.sqrt(target * (1 - target) / max(1, n * k / 2))
    return max(0.0, Z_98 * error - ALLOWED_BELOW)


def _latency_ms(ix: Index, queries: Vectors, parameters: SearchParameters, *, k: int) -> float:
    times_s = []
    for row in range(min(N_TIMED, len(queries))):
        started_s = time.perf_counter()
        ix.search(queries[row : row + 1], k=k, parameters=parameters)
        times_s.append(time.perf_counter() - started_s)
    return float(np.median(times_s) * 1_000)
