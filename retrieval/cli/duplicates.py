"""`crossfind duplicates`."""

from __future__ import annotations

import click

from retrieval.around.duplicates import TIERS, DuplicateReport, find_duplicates
from retrieval.around.fingerprints import PICTURE_SPEC, SOUND_SPEC
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, say, short_path
from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.media import Loader


@click.command()
@click.option(
    "--tier", "tiers", multiple=True, type=click.Choice(TIERS), default=TIERS,
    help="Only this way of looking; may be given often. All three if left out.",
)  # fmt: skip
@click.option("--threshold", type=float, default=0.98, show_default=True,
              help="Least cosine of the tier `vectors`.")  # fmt: skip
@click.option("--burst", "burst_s", type=float, default=10.0, show_default=True, metavar="S",
              help="Pictures taken within S seconds are a burst, not copies.")  # fmt: skip
@store_option
@json_option
def command(
    tiers: tuple[str, ...], threshold: float, burst_s: float, store: str | None, as_json: bool
) -> None:
    """Find copies in the store: same bytes, same look or sound, nearly the same vector.

    Nothing is removed. A group is a `copy`, a `burst` (taken within seconds, by EXIF), or merely
    `similar`.

    \b
    crossfind duplicates
    crossfind duplicates --tier perceptual --json > duplicates.json
    """
    settings = load_settings({"store": store})
    with (
        Engine.open(settings=settings) as engine,
        Loader(spec=PICTURE_SPEC, n_workers=settings.workers) as pictures,
        Loader(spec=SOUND_SPEC) as sounds,
    ):
        report = find_duplicates(
            read_contents(engine, catalog_url=settings.catalog),
            pictures=pictures,
            sounds=sounds,
            tiers=[tier for tier in TIERS if tier in tiers],
            threshold=threshold,
            burst_s=burst_s,
        )
    for failure in report.failures:
        say(f"skipped: {escape(failure.reason)} [{failure.code}]")
    print_json(report) if as_json else _print(report)


def _print(report: DuplicateReport) -> None:
    for group in report.groups:
        click.echo(f"{group.kind}  {group.tier}  {group.modality}  {group.similarity:.3f}")
        for item in group.items:
            for path in (item.path, *item.copies):
                click.echo(f"  #{item.id}  {short_path(path)}")
    say(f"{plural(len(report.groups), 'group')} among {plural(report.n_items, 'item')}")
