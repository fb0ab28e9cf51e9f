"""Every fusion rule on a user's own right answers: which one to trust, and by how much.

Rules that learn (weights of a sum, stacking) are judged on queries they have not seen: the
queries are dealt into folds, each fold is ranked by what the others taught.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from retrieval.errors import InputError, UsageError
from retrieval.evaluation import metrics
from retrieval.evaluation.bootstrap import Interval, bootstrap, bootstrap_difference
from retrieval.evaluation.fusion_sources import Gathered, simplex
from retrieval.query.fusion import Scores, fuse_ranks, fuse_scores
from retrieval.query.stacking import fit_stack, fold_of

__all__ = ["DECISION_RULES", "FusionReport", "RuleFigures", "compare_fusion", "rule_names"]

Ranking = list[int]

DECISION_RULES: dict[str, Callable[[Sequence[Scores]], Ranking]] = {
    "rrf": lambda lists: fuse_ranks([_order(scores) for scores in lists]),
    "combsum": lambda lists: list(fuse_scores(lists, rule="sum")),
    "combmnz": lambda lists: list(fuse_scores(lists, rule="mnz")),
    "average": lambda lists: list(fuse_scores(lists, rule="average")),
    "max": lambda lists: list(fuse_scores(lists, rule="max")),
    "min": lambda lists: list(fuse_scores(lists, rule="min")),
}
LEARNT = ("weighted", "stacking")
_FEATURE_RULES = ("sum", "average", "max", "min", "concat", "concat projected")
STACKING = "stacking"


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """How well one rule ranks.

    Attributes:
        rule: its name.
        level: `source` (a single one), `feature` (vectors), or `decision` (ranks and scores).
        learnt: whether weights were learnt, and figures are of held-out queries.
        intervals: `r@1`, `r@10`, `mrr` and `ndcg@10` -> mean with its 95 % bootstrap interval.
        gain: of its mrr over the best single source's, on the same queries; None for that one.
    """

    rule: str
    level: str
    learnt: bool
    intervals: Mapping[str, Interval]
    gain: Interval | None


@dataclass(frozen=True, slots=True)
class DirectionFusion:
    """The rules of one direction.

    Attributes:
        direction: `text->image` and so on.
        n_queries: how many.
        n_folds: for what is learnt; 0 where there are too few queries to learn from.
        best_source: the single source with the highest mrr.
        rules: sources first, then feature level, then decision level.
        verdict: whether stacking beats the best single source, in words.
    """

    direction: str
    n_queries: int
    n_folds: int
    best_source: str
    rules: tuple[RuleFigures, ...]
    verdict: str


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Figures of every direction.

    Attributes:
        directions: in order of first appearance in the table.
        seed: of folds and bootstrap.
    """

    directions: tuple[DirectionFusion, ...]
    seed: int

    def to_json(self) -> str:
        """Write it as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def rule_names() -> list[str]:
    """List what `--fusion` accepts besides `all`.

    Example:
        >>> "stacking" in rule_names(), "feature average" in rule_names()
        (True, True)
    """
    return [*DECISION_RULES, *LEARNT, *(f"feature {name}" for name in _FEATURE_RULES)]


def compare_fusion(
    gathered: Sequence[Gathered],
    *,
    rules: Sequence[str] | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> FusionReport:
    """Rank every query by every rule and compare with the best single source.

    Args:
        gathered: from `gather`.
        rules: names as in `rule_names`; all when left out. Single sources are always there.
        n_folds: for what is learnt.
        seed: of folds and bootstrap.

    Returns:
        The figures.

    Raises:
        UsageError: a rule is unknown (`bad_rule`), or there is no query (`no_queries`).
    """
    unknown = sorted(set(rules or ()) - set(rule_names()))
    if unknown:
        raise UsageError(
            f"no fusion rule {unknown[0]!r}; take all or some of: {', '.join(rule_names())}",
            code="bad_rule",
        )
    if not gathered:
        raise UsageError("there is no query to compare with; give at least one", code="no_queries")
    wanted = set(rules or rule_names())
    return FusionReport(tuple(_compare(one, wanted, n_folds, seed) for one in gathered), seed)


def _compare(one: Gathered, wanted: set[str], n_folds: int, seed: int) -> DirectionFusion:
    folds = _folds(one, n_folds, seed)
    ranked = {key: r for key, r in _rankings(one, folds) if key[0] == "source" or key[2] in wanted}
    judged = {key: metrics.judge(r, relevance=one.right) for key, r in ranked.items()}
    mrr = {key: metrics.reciprocal_rank(j) for key, j in judged.items()}
    best = max((key for key in mrr if key[0] == "source"), key=lambda key: mrr[key].mean())
    figures = []
    for (level, rule, name), own in judged.items():
        key = (level, rule, name)
        gain = bootstrap_difference(mrr[key], before=mrr[best], seed=seed) if key != best else None
        learnt = rule in LEARNT or (level, rule) == ("feature", "sum")
        figures.append(RuleFigures(rule, level, learnt, _figures(own, seed=seed), gain))
    return DirectionFusion(
        direction="->".join(one.direction),
        n_queries=len(one.judgements),
        n_folds=0 if folds is None else int(folds.max()) + 1,
        best_source=best[1],
        rules=tuple(figures),
        verdict=_verdict(figures, best[1], len(one.sources), learnable=folds is not None),
    )


def _figures(judged: metrics.Judged, *, seed: int) -> dict[str, Interval]:
    values = {
        "r@1": metrics.recall(judged, k=1),
        "r@10": metrics.recall(judged, k=10),
        "mrr": metrics.reciprocal_rank(judged),
        "ndcg@10": metrics.ndcg(judged, k=10),
    }
    return {name: bootstrap(value, seed=seed) for name, value in values.items()}


def _verdict(figures: Sequence[RuleFigures], best: str, n_sources: int, *, learnable: bool) -> str:
    if n_sources < 2:
        return f"only the source {best} says anything to these queries; there is nothing to fuse"
    if not learnable:
        return "too few queries to learn from; give at least 10 different ones"
    found = next((f for f in figures if f.rule == STACKING), None)
    if found is None or found.gain is None:
        return ""
    gain = found.gain
    if gain.low > 0:
        how = "beats"
    elif gain.high < 0:
        how = "loses to"
    else:
        how = "does not clearly differ from"
    return (
        f"stacking {how} the best single source ({best}) on held-out queries: "
        f"mrr {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    )


_Key = tuple[str, str, str]
"""Level, rule, and the name a user chooses it by."""


def _rankings(one: Gathered, folds: np.ndarray | None) -> Iterator[tuple[_Key, list[Ranking]]]:
    """Rank every query by every rule that the sources allow."""
    for name in one.sources:
        yield ("source", name, name), [_order(lists[name]) for lists in one.lists]
    for rule, scores in one.fused.items():
        yield ("feature", rule, f"feature {rule}"), [_order(s) for s in scores]
    if folds is not None and one.weighed:
        tables = [[_order(scores) for scores in every] for every in one.weighed.values()]
        yield ("feature", "sum", "feature sum"), _held_out(tables, one, folds)
    if len(one.sources) < 2:
        return
    columns = [[lists[name] for name in one.sources] for lists in one.lists]
    for rule, fuse in DECISION_RULES.items():
        yield ("decision", rule, rule), [fuse(column) for column in columns]
    if folds is not None:
        tables = [
            [list(fuse_scores(column, weights=weights)) for column in columns]
            for weights in simplex(len(one.sources))
        ]
        yield ("decision", "weighted", "weighted"), _held_out(tables, one, folds)
        stacked = _stacked(one, folds)
        if stacked is not None:
            yield ("decision", STACKING, STACKING), stacked


def _held_out(tables: list[list[Ranking]], one: Gathered, folds: np.ndarray) -> list[Ranking]:
    """Rank each query by the weights that are best for the queries of the other folds."""
    values = np.stack(
        [metrics.reciprocal_rank(metrics.judge(t, relevance=one.right)) for t in tables]
    )
    chosen = {f: int(np.argmax(values[:, folds != f].mean(axis=1))) for f in np.unique(folds)}
    return [tables[chosen[fold]][n] for n, fold in enumerate(folds)]


def _stacked(one: Gathered, folds: np.ndarray) -> list[Ranking] | None:
    """Rank each query by what the other folds taught; None where they teach nothing."""
    rankings: list[Ranking] = [[] for _ in one.lists]
    for fold in np.unique(folds):
        train = np.flatnonzero(folds != fold)
        try:
            stack = fit_stack(
                [one.lists[n] for n in train],
                right=[one.right[n] for n in train],
                sources=one.sources,
            )
        except InputError as error:
            if error.code != "nothing_to_learn":
                raise
            return None
        for n in np.flatnonzero(folds == fold):
            rankings[n] = list(stack.fuse(one.lists[n]))
    return rankings


def _folds(one: Gathered, n_folds: int, seed: int) -> np.ndarray | None:
    groups = [str(judgement.query) for judgement in one.judgements]
    if len(set(groups)) < 2 * n_folds:
        return None
    return fold_of(groups, n_folds=n_folds, seed=seed)


def _order(scores: Scores) -> Ranking:
    return sorted(scores, key=lambda id_: (-scores[id_], id_))
