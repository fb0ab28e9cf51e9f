"""`crossfind index tune`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import print_json, say
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.evaluation.hubs import tune_hubs
from retrieval.evaluation.relevance import read_relevance


@click.command()
@store_option
@click.option(
    "--hubs",
    is_flag=True,
    required=True,
    help="Choose how much is taken from items that are near to every query.",
)
@click.option(
    "--relevance",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Queries with their right answers (see: evaluate).",
)
@json_option
def command(store: str | None, hubs: bool, relevance: str, as_json: bool) -> None:  # noqa: ARG001
    """Choose by queries with known answers what a store's searches can gain by; off by default.

    \b
    crossfind index tune --hubs --relevance right.csv
    """
    settings = load_settings({"store": store})
    judgements = read_relevance(Path(relevance))
    with Engine.open(settings=settings) as engine:
        choices = tune_hubs(engine, judgements=judgements, catalog_url=settings.catalog)
    if as_json:
        print_json(choices)
        return
    click.echo(f"{'R@10':<16}{'n':>6}{'plain':>8}{'centred':>9}{'hubs':>7}{'both':>7}   alpha")
    for one in choices:
        click.echo(
            f"{one.direction:<16}{one.n_queries:>6}{one.plain:>8.3f}{one.centred:>9.3f}"
            f"{one.hubs:>7.3f}{one.both:>7.3f}   {one.alpha or 'off'}"
        )
    n_on = sum(bool(one.alpha) for one in choices)
    say(f"hub correction is on in {n_on} of {len(choices)} directions")
