"""`crossfind models check`."""

from __future__ import annotations

import click

from retrieval.cli.options import json_option, models_dir_option
from retrieval.cli.output import print_json
from retrieval.config import load_settings
from retrieval.doctor import check_model
from retrieval.encoders.registry import open_encoder


@click.command()
@click.argument("name")
@models_dir_option
@json_option
def command(name: str, as_json: bool) -> None:
    """Check a model's files by their hashes, and its vectors on real pictures, sounds and texts.

    Exits 7 where a file is altered or a check fails.

    \b
    crossfind models check starter
    """
    encoder = open_encoder(name, threads=load_settings().threads)
    checks = check_model(encoder)
    if as_json:
        print_json({"name": encoder.name, "checks": checks})
    for check in () if as_json else checks:
        state = "ok    " if check.passed else "BROKEN"
        click.echo(f"{state}  {check.name} ({check.subject}): {check.detail}")
    if not all(check.passed for check in checks):
        raise click.exceptions.Exit(7)
