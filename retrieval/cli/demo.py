"""`crossfind demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrieval.cli.options import json_option
from retrieval.cli.output import escape, print_json, say, short_path
from retrieval.config import expand_home, load_settings
from retrieval.demo.run import DemoAnswer, DemoReport, load_demo, run_demo
from retrieval.demo.sheet import SheetSearch, write_sheet
from retrieval.engine import Engine
from retrieval.query.results import hits_to_json

_SHOWN = 3


@click.command()
@click.option(
    "--out", default="crossfind-demo", show_default=True, metavar="DIR", help="Where it goes."
)
@json_option
def command(out: str, as_json: bool) -> None:
    """Try everything on a small set of pictures, sounds and texts that comes along.

    Builds a store, searches it in all directions, and writes a page with thumbnails and players.
    Works offline. Exits 1 if more than two searches miss what they should find.

    \b
    crossfind demo
    """
    folder = expand_home(out).absolute()
    say(f"adding {len(load_demo().items)} pictures, sounds and texts to {short_path(out)}")
    settings = load_settings({"model": "starter", "store": str(folder / ".crossfind")})
    with Engine.open(create=True, settings=settings) as engine:
        report = run_demo(engine, k=5)
    page = write_sheet(
        folder / "demo.html",
        searches=[_for_sheet(answer) for answer in report.answers],
        title="crossfind demo",
        summary=f"{len(report.answers)} searches over {report.n_items} pictures, sounds and texts",
    )
    print_json(_as_json(report, page)) if as_json else _print(report, page, folder)
    sys.exit(0 if report.passed else 1)


def _print(report: DemoReport, page: Path, folder: Path) -> None:
    for answer in report.answers:
        search = answer.search
        mark = (
            click.style("found ", fg="green") if answer.passed else click.style("missed", fg="red")
        )
        asked = f'"{search.query}"' if search.kind == "text" else Path(search.query).name
        click.echo(f"\n{mark} {search.query_modality} -> {search.modality}: {escape(asked)}")
        for hit in answer.hits[:_SHOWN]:
            click.echo(f"  {hit.rank}  {hit.score:6.3f}  {escape(Path(hit.path).name)}")
    n_found = len(report.answers) - report.n_missed
    click.echo(f"\n{n_found} of {len(report.answers)} searches found what they should")
    click.echo(f"page with thumbnails and players: {short_path(str(page))}")
    click.echo(f'try your own: crossfind search "a dog" --store {short_path(str(folder))}')


def _for_sheet(answer: DemoAnswer) -> SheetSearch:
    return SheetSearch(
        query=str(answer.query_path or answer.search.query),
        kind=answer.search.kind,
        query_modality=answer.search.query_modality,
        modality=answer.search.modality,
        hits=answer.hits,
        expected=answer.expected,
        passed=answer.passed,
    )


def _as_json(report: DemoReport, page: Path) -> dict[str, object]:
    searches = [
        {
            "query": answer.search.query,
            "for": answer.search.modality,
            "passed": answer.passed,
            "hits": hits_to_json(answer.hits),
        }
        for answer in report.answers
    ]
    return {"passed": report.passed, "page": str(page), "searches": searches}
