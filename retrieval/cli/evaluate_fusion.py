"""`crossfind evaluate --fusion`: every way to fuse a store's sources, compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from retrieval.cli.output import escape, plural, print_json, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.evaluation.bootstrap import Interval
from retrieval.evaluation.fusion import DirectionFusion, RuleFigures, compare_fusion
from retrieval.evaluation.fusion_sources import gather
from retrieval.evaluation.relevance import read_relevance

_COLUMNS = ("r@1", "r@10", "mrr", "ndcg@10")


def run_fusion(
    table: Path, *, rules: Sequence[str], store: str | None, seed: int, as_json: bool
) -> None:
    """Compare fusion rules on a relevance table and print the figures."""
    settings = load_settings({"store": store})
    judgements = read_relevance(table)
    with Engine.open(settings=settings) as engine:
        gathered = gather(engine, judgements=judgements, catalog_url=settings.catalog)
    report = compare_fusion(gathered, rules=None if "all" in rules else rules, seed=seed)
    if as_json:
        print_json(report)
        return
    for direction in report.directions:
        _print(direction)


def _print(direction: DirectionFusion) -> None:
    width = max(len(f"{rule.level} {rule.rule}") for rule in direction.rules) + 2
    click.echo(f"{direction.direction}  {plural(direction.n_queries, 'query')}")
    head = "".join(f"{name:>9}" for name in _COLUMNS)
    click.echo(f"  {'':<{width}}{head}   mrr against {escape(direction.best_source)}")
    for rule in direction.rules:
        figures = "".join(f"{rule.intervals[name].value:>9.3f}" for name in _COLUMNS)
        click.echo(f"  {_name(rule):<{width}}{figures}   {_gain(rule.gain)}")
    if any(rule.learnt for rule in direction.rules):
        click.echo(f"  * learnt: figures of held-out queries, {direction.n_folds} folds")
    if direction.verdict:
        say(f"{direction.direction}: {direction.verdict}")


def _name(rule: RuleFigures) -> str:
    return f"{rule.level} {rule.rule}{' *' if rule.learnt else ''}"


def _gain(gain: Interval | None) -> str:
    return "" if gain is None else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
