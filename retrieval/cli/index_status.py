"""`crossfind index status`."""

from __future__ import annotations

import click

from retrieval.build_measure import Measured
from retrieval.cli.options import json_option, store_option
from retrieval.cli.output import escape, print_json, print_table
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.status import SpaceStatus
from retrieval.verify_record import Verified


@click.command()
@store_option
@json_option
def command(store: str | None, as_json: bool) -> None:
    """Tell what the store holds and how it is searched.

    \b
    crossfind index status --json
    """
    with Engine.open(settings=load_settings({"store": store})) as engine:
        status = engine.status()
    if as_json:
        print_json(status)
        return
    print_table(
        {
            "store": escape(status.store),
            "items": ", ".join(f"{n} {name}" for name, n in status.n_items.items() if n) or "none",
            "files": f"{status.n_files}, of which {status.n_bad} cannot be used",
            "parts": status.n_parts,
            "segments": f"{status.n_segments} ({status.segments_bytes / 1e6:.1f} MB)",
            "generation": status.generation,
            "verified": _describe_verified(status.verified),
            **{f"space {space.id}": _describe(space) for space in status.spaces},
            **{
                f"recall of {space.id}, {one.queries} to {one.items}": _describe_recall(one)
                for space in status.spaces
                for one in space.measured
            },
        }
    )


def _describe_verified(one: Verified | None) -> str:
    if one is None:
        return "never; see: crossfind index verify"
    what = f"{one.n_rows} rows, {one.n_segments} segments, {one.n_encoded} vectors encoded again"
    repaired = f", {one.n_repaired} repaired" if one.n_repaired else ""
    found = f"{one.n_findings} damaged{repaired}" if one.n_findings else "nothing damaged"
    return f"{one.at.replace('+00:00', ' UTC')}, generation {one.generation}: {found} ({what})"


def _describe_recall(one: Measured) -> str:
    return f"{one.recall:.3f} ({one.n_queries} {one.source}, {one.latency_ms:.2f} ms a query)"


def _describe(space: SpaceStatus) -> str:
    tail = f", {space.n_tail} more searched exactly" if space.n_tail else ""
    recall = f", recall {space.recall:.3f} ({space.recall_queries})" if space.recall else ""
    licence = f" (licence {space.licence})" if space.licence else ""
    about = f"model {space.model}{licence}, {space.dim}-d, {space.kind}, {space.n_vectors} vectors"
    return f"{about}{tail}{recall}; {space.plan}"
