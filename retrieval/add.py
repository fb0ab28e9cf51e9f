"""Files to vectors: scan, load, encode, write a segment, commit.

Decoding runs ahead in worker processes while this process encodes. A commit comes at most
`commit_s` of work after the one before, so that is what a killed process loses. Paths are taken in
the order of the scan, so ids, and with them ties, do not depend on timing.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from typing import Protocol, TypeVar

from retrieval.add_batch import Collector, Committed
from retrieval.add_plan import (
    Plan,
    caption_stamp,
    lost_elsewhere,
    lost_rows,
    plan_loads,
    plan_skips,
    vanished_files,
)
from retrieval.catalog.chunks import chunks
from retrieval.catalog.store import Catalog
from retrieval.encoders.base import Encoder
from retrieval.errors import StoppedError, StorageError
from retrieval.media import Found, scan
from retrieval.media.listings import Listings
from retrieval.media.roots import Roots, scan_elsewhere
from retrieval.media.rows import is_there, with_rows
from retrieval.store import Store
from retrieval.types import Failure, Outcome

T = TypeVar("T")
_log = logging.getLogger(__name__)

# Less free space than this and a run would end in the middle.
_MIN_FREE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class AddReport:
    """What an add did.

    Attributes:
        n_added, n_changed, n_removed: items.
        n_copies: paths whose content was known: moved, renamed, copied or merely touched.
        n_unchanged: paths that needed nothing.
        n_bad: files among those looked at that cannot be used, known before or not.
        n_noted: symbolic links left out.
        n_parts: vectors made.
        n_loaded: files decoded.
        seconds: wall clock.
    """

    n_added: int = 0
    n_changed: int = 0
    n_removed: int = 0
    n_copies: int = 0
    n_unchanged: int = 0
    n_bad: int = 0
    n_noted: int = 0
    n_parts: int = 0
    n_loaded: int = 0
    seconds: float = 0.0

    @property
    def n_good(self) -> int:
        """Count the files looked at that are searchable now."""
        return self.n_added + self.n_changed + self.n_copies + self.n_unchanged


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an add is.

    Attributes:
        n_done: files finished, unchanged ones included.
        n_bad: bad ones among them.
        n_committed: files that a kill could not take away any more.
        n_total: files in all; None while they are still being counted.
    """

    n_done: int
    n_bad: int
    n_committed: int
    n_total: int | None


OnProgress = Callable[[Progress], None]


class FileLoader(Protocol):
    """What loads files: `retrieval.media.Loader`, or a cluster."""

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        """Load many files, in the order given."""
        ...

    def close(self) -> None:
        """Have `load_many` raise StoppedError soon."""
        ...


def add(
    roots: Roots,
    *,
    catalog: Catalog,
    store: Store,
    encoder: Encoder,
    loader: FileLoader,
    commit_s: float = 10.0,
    prune: bool = False,
    listens: bool = False,
    on_progress: OnProgress | None = None,
    stop: Event | None = None,
) -> AddReport:
    """Add files and folders to a store whose writer lock is held.

    Args:
        roots: files, folders, URLs and shards.
        catalog, store, encoder, loader: what it works with.
        commit_s: seconds of work between two commits at most.
        prune: also remove items under `roots` whose files are gone; at a URL and in a shard only
            where all of it could be read.
        listens: the loader writes down what is said; sounds added without it are loaded again.
        on_progress: called now and then from this thread.
        stop: when set, the run commits what it has and stops.

    Returns:
        What was done.

    Raises:
        StoppedError: `stop` was set; everything acknowledged is kept.
        StorageError: the disk is full or read-only.
    """
    _check_space(store)
    run = _Run(catalog, Collector(catalog=catalog, store=store, encoder=encoder), on_progress)
    started_s = time.monotonic()
    skipped: list[Failure] = []
    tables: dict[str, frozenset[int]] = {}
    read: dict[str, frozenset[str]] = {}  # what was found elsewhere
    here = with_rows(
        scan(roots.local, exclude=[store.root], on_skip=skipped.append),
        roots=roots.local, on_skip=skipped.append, on_table=tables.__setitem__,
    )  # fmt: skip
    there = scan_elsewhere(
        roots.elsewhere, on_skip=skipped.append, on_root=read.__setitem__,
        listings=Listings(store.derived, store.tmp),
    )  # fmt: skip
    found = chain(here, there)
    with run.counting(roots, store.root):
        loads = plan_loads(catalog, found, plan=run.plan, listens=listens)
        with _closing_on(stop, loader):
            run.take_all(loader.load_many(loads), commit_s=commit_s)
        plan_skips(catalog, skipped, plan=run.plan)
        vanished = vanished_files(catalog, roots.local) if prune else iter(())
        no_more = lost_elsewhere(catalog, read, prune=prune)
        run.finish(chain(lost_rows(catalog, tables), vanished, no_more))
        with _closing_on(stop, loader):
            run.take_lost(loader, commit_s=commit_s)
    return replace(run.report(), seconds=time.monotonic() - started_s)


@contextmanager
def _closing_on(stop: Event | None, loader: FileLoader) -> Iterator[None]:
    """Close the loader as soon as `stop` is set, even while a decoder hangs."""
    if stop is None:
        yield
        return
    finished = Event()

    def watch() -> None:
        while not finished.is_set():
            if stop.wait(0.05):
                loader.close()
                return

    thread = Thread(target=watch, name="crossfind-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


class _Run:
    """The state of one add."""

    def __init__(
        self, catalog: Catalog, collector: Collector, on_progress: OnProgress | None
    ) -> None:
        self.plan = Plan()
        self._catalog = catalog
        self._collector = collector
        self._on_progress = on_progress
        self._n_loaded = 0
        self._n_failed = 0
        self._n_committed = 0
        self._n_copies = 0  # that were not loaded
        self._n_total: int | None = None
        self._done = AddReport()

    @contextmanager
    def counting(self, roots: Roots, exclude: Path) -> Iterator[None]:
        """Count the files in a thread meanwhile, where somebody looks at the progress.

        What lies elsewhere is not counted: it would be listed twice.
        """
        stopped = Event()

        def count() -> None:
            n_files = 0
            found = scan(roots.local, exclude=[exclude], on_skip=_ignore)
            for _ in with_rows(found, roots=roots.local, on_skip=_ignore, on_table=lambda *_: None):
                n_files += 1
                if stopped.is_set():
                    return
            self._n_total = n_files

        thread = Thread(target=count, name="count", daemon=True)
        if self._on_progress is not None and not roots.elsewhere:
            thread.start()
        try:
            yield
        finally:
            stopped.set()
            if thread.is_alive():
                thread.join()

    def take_all(self, outcomes: Iterator[tuple[Found, Outcome]], *, commit_s: float) -> None:
        """Take loaded files until there are no more, with a commit every `commit_s`."""
        committed_s = time.monotonic()
        try:
            for found, outcome in outcomes:
                self._take(found, outcome)
                if time.monotonic() - committed_s >= commit_s:
                    self.commit()
                    committed_s = time.monotonic()
                self._tell()
        except StoppedError as error:
            self.commit()
            raise StoppedError(
                f"stopped; {self._n_committed} more files are kept; "
                "run the same command again to go on"
            ) from error

    def finish(self, vanished: Iterator[str]) -> None:
        """Take what needs no loading, and commit the rest."""
        for failure in self.plan.skipped:
            self._collector.take_failure(failure, size_bytes=-1, mtime_ns=-1, stamp="")
        for path in vanished:
            self._collector.take_vanished(path)
        self.commit()
        self._tell()

    def take_lost(self, loader: FileLoader, *, commit_s: float) -> None:
        """Load the files that passed for known ones until their items went."""
        while lost := list(_drain(self._collector.lost)):
            self.take_all(loader.load_many(lost), commit_s=commit_s)
            self.commit()

    def commit(self) -> None:
        """Make everything taken so far true."""
        for copies in chunks(_drain(self.plan.copies)):
            with self._catalog.reading() as reader:
                paths = reader.paths_by_hash({c.content_hash for _, c in copies if c.content_hash})
            for found, copy in copies:
                others = paths.get(copy.content_hash or "", [])
                gone = [path for path in others if not is_there(path)]
                self._collector.take_copy(found, copy, vanished=gone)
            self._n_copies += len(copies)
        if self._collector.is_empty:
            return
        self._done = _sum(self._done, self._collector.commit())
        self._n_committed = self._n_loaded

    def report(self) -> AddReport:
        """Sum up."""
        return replace(
            self._done,
            n_unchanged=self.plan.n_unchanged - self.plan.n_unchanged_bad,
            n_bad=self._done.n_bad + self.plan.n_unchanged_bad,
            n_noted=self.plan.n_noted,
            n_loaded=self._n_loaded,
        )

    def _take(self, found: Found, outcome: Outcome) -> None:
        self._n_loaded += 1
        if isinstance(outcome, Failure):
            self._n_failed += 1
            _log.info("skipped %s: %s: %s", outcome.path, outcome.code, outcome.reason)
            self._collector.take_failure(
                outcome,
                size_bytes=found.size_bytes,
                mtime_ns=found.mtime_ns,
                stamp=caption_stamp(found),
            )
        else:
            self._collector.take(found, outcome)

    def _tell(self) -> None:
        if self._on_progress is not None:
            n_settled = self.plan.n_unchanged + self._n_copies
            self._on_progress(
                Progress(
                    n_done=self._n_loaded + n_settled,
                    n_bad=self._n_failed + self.plan.n_unchanged_bad,
                    n_committed=self._n_committed + n_settled,
                    n_total=self._n_total,
                )
            )


def _ignore(_: Failure) -> None:
    """Pass over what the add itself tells."""


def _drain(queue: deque[T]) -> Iterator[T]:
    while queue:
        yield queue.popleft()


def _sum(report: AddReport, done: Committed) -> AddReport:
    return replace(
        report,
        n_added=report.n_added + done.n_added,
        n_changed=report.n_changed + done.n_changed,
        n_copies=report.n_copies + done.n_copies,
        n_removed=report.n_removed + done.n_removed,
        n_bad=report.n_bad + done.n_bad,
        n_parts=report.n_parts + done.n_parts,
    )


def _check_space(store: Store) -> None:
    """Refuse to begin what the disk cannot hold."""
    free_bytes = shutil.disk_usage(store.root).free
    if free_bytes < _MIN_FREE_BYTES:
        raise StorageError(
            f"{free_bytes >> 20} MB are free at {store.root}; an add needs at least "
            f"{_MIN_FREE_BYTES >> 20} MB; free some space or move the store",
            code="disk_full",
        )
    if not os.access(store.root, os.W_OK):
        raise StorageError(
            f"{store.root} is read-only; choose another --store", code="disk_read_only"
        )
