"""`crossfind doctor`."""

from __future__ import annotations

import sys

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, print_json, print_table
from retrieval.config import load_settings
from retrieval.doctor import DoctorReport, examine


@click.command()
@store_option
@json_option
def command(store: str | None, as_json: bool) -> None:
    """Check the installation, the store found from here, and the model.

    Exits 4 where the store is damaged, 7 where the model fails its self-test.

    \b
    crossfind doctor
    """
    report = examine(load_settings({"store": store}))
    if as_json:
        print_json(report)
    else:
        _print(report)
    sys.exit(report.exit_code)


def _print(report: DoctorReport) -> None:
    for title, rows in (
        ("versions", report.versions),
        ("devices", report.devices),
        ("store", {name: escape(text) for name, text in report.store.items()}),
    ):
        click.secho(title, bold=True)
        print_table({f"  {name}": text for name, text in rows.items()})
    click.secho(f"model {report.model}", bold=True)
    for check in report.checks:
        state = (
            click.style("ok    ", fg="green") if check.passed else click.style("BROKEN", fg="red")
        )
        click.echo(f"  {state}  {check.name} ({check.subject}): {check.detail}")
