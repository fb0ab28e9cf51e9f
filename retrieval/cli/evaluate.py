"""`crossfind evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from retrieval.cli.evaluate_fusion import run_fusion
from retrieval.cli.evaluate_labels import run_labels
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import plural, print_json, print_table, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.evaluation.evaluate import DirectionReport, Report, evaluate
from retrieval.evaluation.exact import exact_searcher
from retrieval.evaluation.floors import check_floors, parse_floor
from retrieval.evaluation.relevance import Judgement, read_relevance


@click.command()
@click.option(
    "--relevance", type=click.Path(path_type=Path), metavar="FILE",
    help="csv or jsonl: query (or query_path), item, grade; or image, audio, text.",
)  # fmt: skip
@click.option(
    "--fail-under", "floors", multiple=True, metavar="METRIC=FIGURE",
    help="Exit 1 below it, e.g. r@10=0.5 or text->image:mrr=0.3; may be given often.",
)  # fmt: skip
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="FILE",
    help="Instead: csv with path and label; measures a model as a classifier, without a store.",
)  # fmt: skip
@click.option("--prompt", metavar="TEXT", help="For --labels: what is encoded, {} is the label.")
@click.option(
    "--fusion", multiple=True, metavar="RULE",
    help="Compare ways to fuse vectors, captions and words: all, or e.g. rrf, stacking.",
)  # fmt: skip
@click.option("--no-exact", is_flag=True, help="Skip the exact search beside the live index.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the intervals.")
@store_option
@click.option("--model", metavar="NAME", help="For --labels: the model (see: models list).")
@json_option
def command(
    relevance: Path | None,
    labels: Path | None,
    prompt: str | None,
    model: str | None,
    floors: tuple[str, ...],
    fusion: tuple[str, ...],
    no_exact: bool,
    seed: int,
    store: str | None,
    as_json: bool,
) -> None:
    """Measure how well a store finds what it should, per direction.

    R@k is the share of a query's right items among the first k, hit@k whether there is any.

    \b
    crossfind evaluate --relevance pairs.csv
    crossfind evaluate --relevance pairs.csv --fail-under r@10=0.5 --json
    crossfind evaluate --relevance pairs.csv --fusion all
    crossfind evaluate --labels labels.csv --model starter --prompt "a photo of a {}"
    """
    if labels is not None:
        unused = {
            "relevance": relevance,
            "fail-under": floors,
            "fusion": fusion,
            "no-exact": no_exact,
            "store": store,
        }
        _refuse(unused, beside="labels: it measures a model, without a store")
        run_labels(labels, model=model, prompt=prompt or "{}", seed=seed, as_json=as_json)
        return
    if relevance is None:
        raise click.UsageError("give --relevance to measure a store or --labels to measure a model")
    _refuse({"model": model, "prompt": prompt}, beside="relevance: a store has its own model")
    if fusion:
        _refuse({"fail-under": floors, "no-exact": no_exact}, beside="fusion: it only compares")
        run_fusion(relevance, rules=fusion, store=store, seed=seed, as_json=as_json)
        return
    wanted = [parse_floor(floor) for floor in floors]
    report = _run(read_relevance(relevance), store=store, with_exact=not no_exact, seed=seed)
    _print(report, as_json=as_json)
    check_floors(report, floors=wanted)


def _refuse(options: Mapping[str, object], *, beside: str) -> None:
    """Refuse options that would have no effect."""
    for name, value in options.items():
        if value:
            raise click.UsageError(f"--{name} has no effect beside --{beside}; leave it out")


def _run(judgements: list[Judgement], *, store: str | None, with_exact: bool, seed: int) -> Report:
    settings = load_settings({"store": store})
    with ExitStack() as stack:
        engine = stack.enter_context(Engine.open(settings=settings))
        opened = exact_searcher(engine, catalog_url=settings.catalog)
        return evaluate(
            engine,
            judgements=judgements,
            exact=stack.enter_context(opened) if with_exact else None,
            is_known=lambda path: engine.item(path) is not None,
            seed=seed,
        )


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    for direction in report.directions:
        if direction.n_absent:
            say(
                f"warning: not in the store: {plural(direction.n_absent, 'right item')} of "
                f"{direction.direction}; add what is missing or take it out of the table"
            )
        print_table(_rows(direction))


def _rows(direction: DirectionReport) -> dict[str, object]:
    rows: dict[str, object] = {direction.direction: plural(direction.n_queries, "query")}
    for name in ("r@1", "r@5", "r@10", "hit@1", "hit@10", "mrr"):
        interval = direction.intervals[name]
        exact = "" if direction.exact is None else f"   exact {direction.exact[name]:.3f}"
        rows[f"  {name}"] = (
            f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f}){exact}"
        )
    for name in ("map", "ndcg@10", "median_rank"):
        rows[f"  {name}"] = f"{direction.metrics[name]:.3f}"
    if direction.agreement is not None:
        rows["  index recall@10"] = f"{direction.agreement:.3f}"
    rows["  latency p50/p95/p99"] = (
        "/".join(f"{ms:.1f}" for ms in direction.latency_ms.values()) + " ms"
    )
    return rows
