"""`crossfind index migrate`."""

from __future__ import annotations

import sys
import time

import click

from retrieval.cli.index_build import tell_built
from retrieval.cli.options import json_option, models_dir_option, store_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.cli.stop import stop_on_signals
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.migrate import MigrateReport, OnParts


@click.command()
@click.option("--to", metavar="MODEL", help="Model to change to (see: models list).")
@click.option("--rollback", is_flag=True, help="Go back to the model before, or give up a begun "
              "migration.")  # fmt: skip
@click.option("--partial", is_flag=True, help="Switch even if some parts cannot be encoded.")
@click.option("--drop-old", is_flag=True, help="Drop the vectors of the model before.")
@click.option("--workers", type=int, metavar="N", help="Decode processes; 0: by cores.")
@click.option("--threads", type=int, metavar="N", help="Encoder threads; 0: by cores.")
@store_option
@models_dir_option
@json_option
def command(
    to: str | None, rollback: bool, partial: bool, drop_old: bool, workers: int | None,
    threads: int | None, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Change a store's model: everything is encoded again while the old model goes on serving.

    Stop it at any time and run it again: it goes on where it was. The switch itself is one step.
    The old vectors are kept until --drop-old, so --rollback has little to do.

    \b
    crossfind index migrate --to open_clip:ViT-B-32/laion2b_s34b_b79k
    crossfind index migrate --rollback
    """
    if sum((to is not None, rollback, drop_old)) != 1:
        raise UsageError("name one of --to MODEL, --rollback and --drop-old", code="usage")
    settings = load_settings({"store": store, "workers": workers, "threads": threads})
    with Engine.open(settings=settings) as engine:
        if drop_old:
            say(f"{plural(engine.drop_old_model(), 'file')} dropped")
            return
        with stop_on_signals() as stop:
            report = engine.migrate(to, partial=partial, on_parts=_progress(), stop=stop)
        built = engine.build() if report is not None else []
    _tell(report)
    tell_built(built)
    if as_json:
        print_json({"migrated": report, "built": built})
    if report is not None and report.n_lost:
        sys.exit(3)


def _tell(report: MigrateReport | None) -> None:
    if report is None:
        say("the begun migration was given up; the model serves that served before")
        return
    for failure in report.failures:
        say(f"not encoded: {escape(failure.reason)} [{failure.code}]")
    say(
        f"{report.before} -> {report.after}: {plural(report.n_encoded, 'part')} encoded, "
        f"{report.n_parts} in all, {report.seconds:.1f} s; back with: "
        "crossfind index migrate --rollback"
    )
    if report.n_lost:
        say(f"{plural(report.n_lost, 'part')} cannot be found by {report.after}")


def _progress() -> OnParts:
    told_s = time.monotonic()

    def tell(n_done: int, n_total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= 5.0:
            told_s = time.monotonic()
            say(f"{n_done} of {n_total} parts encoded and kept")

    return tell
