"""Progress of an add on stderr: a bar on a terminal, a line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.add import OnProgress, Progress
from retrieval.cli.output import say

_LINE_EVERY_S = 5.0


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """Give a callback that shows progress until the block ends."""
    if sys.stderr.isatty():
        with _bar() as callback:
            yield callback
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("adding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]}"),
    )
    started_s = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("add", total=None, rate="", bad="")

        def show(now: Progress) -> None:
            rate = now.n_done / max(1e-3, time.monotonic() - started_s)
            bar.update(
                task,
                completed=now.n_done,
                total=now.n_total,
                rate=f"{rate:.0f} files/s",
                bad=f"{now.n_bad} bad" if now.n_bad else "",
            )

        yield show


def _lines() -> OnProgress:
    started_s = time.monotonic()
    next_s = started_s + _LINE_EVERY_S

    def show(now: Progress) -> None:
        nonlocal next_s
        time_s = time.monotonic()
        if time_s < next_s:
            return
        next_s = time_s + _LINE_EVERY_S
        total = f" of {now.n_total}" if now.n_total is not None else ""
        rate = now.n_done / (time_s - started_s)
        bad = f", {now.n_bad} bad" if now.n_bad else ""
        say(f"{now.n_done}{total} files, {rate:.0f} files/s{bad}, {now.n_committed} kept")

    return show
