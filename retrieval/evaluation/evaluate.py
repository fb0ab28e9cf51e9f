"""Search for every query of a relevance table and measure what came back, per direction."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from retrieval.errors import UsageError
from retrieval.evaluation import metrics
from retrieval.evaluation.bootstrap import Interval, bootstrap
from retrieval.evaluation.relevance import Direction, Judgement
from retrieval.types import Hit

__all__ = ["DirectionReport", "Report", "Searches", "evaluate"]

KS = (1, 5, 10)


class Searches(Protocol):
    """What is measured; `Engine` does this."""

    def search(
        self,
        query: str | Path | int,
        *,
        k: int = 10,
        modality: str | None = None,
        hybrid: bool = True,
    ) -> list[Hit]:
        """Find the items nearest to a query, best first."""


@dataclass(frozen=True, slots=True)
class DirectionReport:
    """Figures of one direction.

    Attributes:
        direction: `text->image` and so on.
        n_queries: how many.
        n_right: right items in all.
        n_absent: right items that the store does not hold; nothing can find them.
        metrics: name -> mean over the queries, through the live index; see `metrics.summarize`.
        intervals: `r@k`, `hit@k` and `mrr` -> 95 % bootstrap interval.
        exact: the same as `metrics` from an exact search, or None if not asked for.
        agreement: share of the exact first 10 that the live first 10 hold, or None.
        groups: group -> its queries' metrics; empty where there is only one.
        latency_ms: p50, p95 and p99 of a search, encoding of the query included.
    """

    direction: str
    n_queries: int
    n_right: int
    n_absent: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    exact: Mapping[str, float] | None
    agreement: float | None
    groups: Mapping[str, Mapping[str, float]]
    latency_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of every direction, in order of first appearance in the table.

    Attributes:
        depth: how many hits were asked for; what lies deeper counts as not found.
        seed: of the bootstrap.
    """

    directions: tuple[DirectionReport, ...]
    depth: int
    seed: int

    def to_json(self) -> str:
        """Write it as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def evaluate(
    searcher: Searches,
    *,
    judgements: Sequence[Judgement],
    exact: Searches | None = None,
    is_known: Callable[[str], bool] | None = None,
    ks: Sequence[int] = KS,
    depth: int = 100,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Measure a search engine over queries with known right answers.

    Args:
        searcher: what is measured.
        judgements: from `read_relevance`.
        exact: the same store searched without an index, to tell what the index costs.
        is_known: says whether the store holds an item path; absent ones are counted.
        ks: places for R, hit, P and nDCG; each at most `depth`.
        depth: hits per query, 1 to 1000.
        seed: of the bootstrap.
        on_progress: called with queries done and in all.

    Returns:
        The figures.

    Raises:
        UsageError: no judgements (`no_queries`), or a k beyond the depth (`bad_k`).
        CrossfindError: what a search raises.
    """
    if not judgements:
        raise UsageError("there is no query to evaluate with; give at least one", code="no_queries")
    if not 1 <= min(ks) <= max(ks) <= depth:
        raise UsageError(
            f"ks {list(ks)} must lie in 1..{depth}; ask for a larger depth", code="bad_k"
        )
    by_direction: dict[Direction, list[Judgement]] = {}
    for judgement in judgements:
        by_direction.setdefault(judgement.direction, []).append(judgement)
    known = is_known or (lambda _path: True)
    # The first search opens model and index; it is no query's fault.
    first = judgements[0]
    searcher.search(first.query, k=1, modality=first.direction[1], hybrid=False)
    reports, n_done = [], 0
    for direction, chosen in by_direction.items():
        run = _Run(depth=depth)
        for judgement in chosen:
            run.add(judgement, searcher=searcher, exact=exact)
            n_done += 1
            if on_progress is not None:
                on_progress(n_done, len(judgements))
        reports.append(run.report(direction, chosen, known=known, ks=ks, seed=seed))
    return Report(directions=tuple(reports), depth=depth, seed=seed)


class _Run:
    """The searches of one direction."""

    def __init__(self, *, depth: int) -> None:
        self._depth = depth
        self._live: list[list[str]] = []
        self._exact: list[list[str]] = []
        self._seconds: list[float] = []

    def add(self, judgement: Judgement, *, searcher: Searches, exact: Searches | None) -> None:
        """Search for one query; a file query may find itself, which is no answer."""
        start_s = time.perf_counter()
        hits = self._search(searcher, judgement)
        self._seconds.append(time.perf_counter() - start_s)
        self._live.append(_ranking(hits, judgement)[: self._depth])
        if exact is not None:
            found = self._search(exact, judgement)
            self._exact.append(_ranking(found, judgement)[: self._depth])

    def _search(self, searcher: Searches, judgement: Judgement) -> list[Hit]:
        # File names often hold the answer; what is measured is what the vectors know.
        wanted = judgement.direction[1]
        return searcher.search(judgement.query, k=self._depth, modality=wanted, hybrid=False)

    def report(
        self,
        direction: Direction,
        judgements: Sequence[Judgement],
        *,
        known: Callable[[str], bool],
        ks: Sequence[int],
        seed: int,
    ) -> DirectionReport:
        """Sum up."""
        relevance = [judgement.right for judgement in judgements]
        judged = metrics.judge(self._live, relevance=relevance)
        right = {path for paths in relevance for path in paths}
        p50, p95, p99 = np.quantile(np.array(self._seconds) * 1000, [0.5, 0.95, 0.99])
        exact = metrics.judge(self._exact, relevance=relevance) if self._exact else None
        return DirectionReport(
            direction="->".join(direction),
            n_queries=len(judgements),
            n_right=sum(map(len, relevance)),
            n_absent=sum(not known(path) for path in right),
            metrics=metrics.summarize(judged, ks=ks),
            intervals=_intervals(judged, ks=ks, seed=seed),
            exact=None if exact is None else metrics.summarize(exact, ks=ks),
            agreement=None if exact is None else self._agreement(),
            groups=_by_group(judged, groups=[j.group for j in judgements], ks=ks),
            latency_ms={"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)},
        )

    def _agreement(self) -> float:
        shares = [
            len(set(live[:10]) & set(exact[:10])) / max(1, len(exact[:10]))
            for live, exact in zip(self._live, self._exact, strict=True)
        ]
        return float(np.mean(shares))


def _ranking(hits: Sequence[Hit], judgement: Judgement) -> list[str]:
    """Name each hit by the path the table knows it by: an item may have copies elsewhere."""
    asked = str(judgement.query) if isinstance(judgement.query, Path) else None
    out = []
    for hit in hits:
        paths = (hit.path, *hit.copies)
        if asked in paths:
            continue
        out.append(next((path for path in paths if path in judgement.right), hit.path))
    return list(dict.fromkeys(out))


def _intervals(judged: metrics.Judged, *, ks: Sequence[int], seed: int) -> dict[str, Interval]:
    values = {"mrr": metrics.reciprocal_rank(judged)}
    for k in ks:
        values[f"r@{k}"] = metrics.recall(judged, k=k)
        values[f"hit@{k}"] = metrics.hit(judged, k=k)
    return {name: bootstrap(value, seed=seed) for name, value in values.items()}


def _by_group(
    judged: metrics.Judged, *, groups: Sequence[str | None], ks: Sequence[int]
) -> dict[str, dict[str, float]]:
    names = np.array([group or "" for group in groups])
    if len(set(groups)) < 2:
        return {}
    return {
        str(name): metrics.summarize(
            metrics.Judged(judged.grades[names == name], judged.ideal[names == name]), ks=ks
        )
        for name in np.unique(names)
    }
