"""What `index build` and `index add` share: open, add with progress, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from retrieval.add import AddReport
from retrieval.cli.output import plural, say
from retrieval.cli.progress import show_progress
from retrieval.cli.stop import stop_on_signals
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.media.roots import read_roots
from retrieval.media.scan import check_exist

Flag = str | int | float | None


def open_for_adding(
    paths: Sequence[str], *, store: str | None, model: str | None, **flags: Flag
) -> Engine:
    """Open the store that paths are added to; make `.crossfind` here where there is none."""
    check_exist(read_roots(paths).local)  # a name mistyped leaves no empty store behind
    settings = load_settings({"store": store, **flags})
    return Engine.open(create=True, model=model, settings=settings)


def add_with_progress(engine: Engine, paths: Sequence[str], *, prune: bool, on: str) -> AddReport:
    """Add paths; shows progress, and stops durably on a signal."""
    with stop_on_signals() as stop, show_progress() as on_progress:
        return engine.add(*paths, prune=prune, on=on, on_progress=on_progress, stop=stop)


def tell_added(report: AddReport) -> None:
    """Say what an add did."""
    parts = [
        f"{report.n_added} added",
        f"{report.n_changed} changed",
        f"{report.n_copies} known under another path",
        f"{report.n_removed} removed",
        f"{report.n_unchanged} unchanged",
    ]
    told = [part for part in parts if not part.startswith("0 ")] or ["nothing found to add"]
    say(f"{', '.join(told)} in {report.seconds:.1f} s ({plural(report.n_parts, 'vector')})")
    if report.n_noted:
        say(f"{plural(report.n_noted, 'symbolic link')} not followed")
    if report.n_bad:
        say(f"skipped {plural(report.n_bad, 'bad file')}; see: crossfind index errors")


def exit_for(report: AddReport) -> None:
    """Exit 3 where files were skipped, 1 where every file was."""
    if report.n_bad:
        sys.exit(3 if report.n_good else 1)
