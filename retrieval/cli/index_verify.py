"""`crossfind index verify`."""

from __future__ import annotations

import sys

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, say
from retrieval.config import load_settings
from retrieval.engine import Engine


@click.command()
@click.option("--repair", is_flag=True, help="Take out what is damaged, to be made again.")
@click.option("--sample", "n_sample", type=click.IntRange(0), default=32, show_default=True,
              help="Parts of each modality to encode again and compare.")  # fmt: skip
@store_option
@json_option
def command(repair: bool, n_sample: int, store: str | None, as_json: bool) -> None:
    """Check every segment, index file and catalog row against what was written.

    Some pictures, sounds and texts are also encoded again from their sources, to see that each
    vector belongs to its item. 'index status' tells the last result. Exits 4 where something is
    damaged and not repaired.

    \b
    crossfind index verify --repair && crossfind index build ~/Pictures
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        report = engine.verify(repair=repair, n_sample=n_sample)
    if as_json:
        print_json(report)
    for finding in report.findings:
        say(f"{finding.code}  {escape(finding.where)}: {escape(finding.detail)}")
    checked = (
        plural(report.n_segments, "segment"),
        plural(report.n_index_files, "index file"),
        plural(report.n_rows, "row"),
        f"{plural(report.n_encoded, 'vector')} encoded again",
    )
    if report.unencoded:
        say(f"no vector was encoded again: {escape(report.unencoded)}")
    say(f"checked {', '.join(checked)}: {len(report.findings) or 'nothing'} damaged")
    if any(not finding.repaired for finding in report.findings):
        sys.exit(4)
