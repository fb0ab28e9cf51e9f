"""`crossfind analyze`."""

from __future__ import annotations

from pathlib import Path

import click

from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, plural, print_json, print_table, say
from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.visualize.analyze import Analysis, Pairing, analyze
from retrieval.visualize.details import look_closer
from retrieval.visualize.report import analysis_html


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Of samples over 4,000 items.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Also draw it: a page with plots, in one HTML file.")  # fmt: skip
@store_option
@json_option
def command(seed: int, out: Path | None, store: str | None, as_json: bool) -> None:
    """Measure how the store's vectors lie: modality gap, alignment, uniformity, hubs.

    \b
    crossfind analyze
    crossfind analyze --out vectors.html
    crossfind analyze --json
    """
    settings = load_settings({"store": store})
    with Engine.open(settings=settings) as engine:
        contents = read_contents(engine, catalog_url=settings.catalog)
    found = analyze(contents, seed=seed)
    if out is not None:
        page = analysis_html(found, details=look_closer(contents, seed=seed))
        out.write_text(page, encoding="utf-8")
        say(f"drawn: {escape(str(out))}")
    print_json(found) if as_json else _print(found)


def _print(found: Analysis) -> None:
    rows: dict[str, object] = {
        "model": escape(found.model),
        "vectors": f"{found.n_parts} of {found.dim} dimensions, {found.effective_dim:.1f} in use",
    }
    for spread in found.spreads:
        rows[spread.modality] = (
            f"{plural(spread.n_items, 'item')}   mean cosine {spread.mean_cosine:.3f}   "
            f"uniformity {spread.uniformity:.3f}   hubness {spread.hubness:.3f}"
        )
    for pairing in found.pairings:
        rows[pairing.modalities] = _line(pairing)
    print_table(rows)


def _line(pairing: Pairing) -> str:
    line = f"gap {pairing.gap:.3f}   mean cosine {pairing.mean_cosine:.3f}"
    if pairing.alignment is not None:
        line += f"   {plural(pairing.n_pairs, 'pair')}   alignment {pairing.alignment:.3f}"
    if pairing.consistency is not None:
        line += f"   consistency {pairing.consistency:.3f}"
    return line
