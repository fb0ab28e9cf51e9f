"""Decode in guarded child processes: a file that kills its decoder costs that file and no other.

Each child has one job in flight, no secrets, hard limits (see `worker_main`) and a thread here
that feeds it, watches the clock, and replaces it when it dies. The stock pools do worse: one
segfault failed 201 of 221 jobs of a `ProcessPoolExecutor`, and `multiprocessing.Pool` hung.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from types import TracebackType

from retrieval.errors import BadMediaError, CrossfindError, InputError, StoppedError
from retrieval.media.child import Child
from retrieval.media.faults import ENVIRONMENT_NAME
from retrieval.media.fetch import Fetched, Fetcher
from retrieval.media.forks import FORKS
from retrieval.media.scan import Found
from retrieval.types import Failure, Loaded, MediaSpec, Payload

_JOBS_PER_CHILD = 1_000  # decoders leak
_MAX_READY_BYTES = 512 << 20  # decoded files that wait for the caller; then the children pause


class Loader:
    """Load files in child processes that may crash, hang or grow without harm.

    Args:
        spec: the form the encoder wants.
        n_workers: children, 1 to 256; each is started when it first has something to do.
        timeout_s: the longest one file may take.
        memory_bytes: the most address space a child may have.
        look_ahead: how many files `load_many` works ahead of its caller.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> import pathlib, tempfile
        >>> from retrieval.media.scan import scan
        >>> with tempfile.TemporaryDirectory() as folder, Loader(spec=MediaSpec()) as loader:
        ...     _ = (pathlib.Path(folder) / "a.txt").write_text("a dog")
        ...     for found, outcome in loader.load_many(scan([pathlib.Path(folder)], on_skip=print)):
        ...         print(outcome.modality, outcome.parts[0].payload)
        text a dog
    """

    def __init__(
        self,
        *,
        spec: MediaSpec,
        n_workers: int = 1,
        timeout_s: float = 30.0,
        memory_bytes: int = 2 << 30,
        look_ahead: int = 64,
    ) -> None:
        for name, value, low, high in (
            ("n_workers", n_workers, 1, 256),
            ("timeout_s", timeout_s, 0.1, 86_400),
            ("memory_bytes", memory_bytes, 256 << 20, 1 << 50),
            ("look_ahead", look_ahead, 1, 100_000),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} is {value}; it must be {low} to {high}")
        self._look_ahead = look_ahead
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._fetcher = Fetcher()
        FORKS.join()
        faults_on = os.environ.get(ENVIRONMENT_NAME) == "1"
        self._children = [
            Child(spec=spec, timeout_s=timeout_s, memory_bytes=memory_bytes, faults_on=faults_on)
            for _ in range(n_workers)
        ]
        self._threads = [
            threading.Thread(target=self._serve, args=(child,), name="crossfind-load", daemon=True)
            for child in self._children
        ]
        for thread in self._threads:
            thread.start()

    def load(self, found: Found) -> Loaded:
        """Load one file and wait for it.

        Args:
            found: what `scan` or `find_file` said.

        Returns:
            The decoded file.

        Raises:
            BadMediaError: it cannot be used; besides the decoders' codes `decoder_crashed`,
                `decoder_timeout` and `decoder_memory`.
            StoppedError: the loader is closed.
        """
        return self._submit(_Task(found)).future.result()

    def load_many(self, jobs: Iterable[Found]) -> Iterator[tuple[Found, Loaded | Failure]]:
        """Load many files, ahead of the caller, in the order given.

        Jobs are pulled in the caller's thread, at most `look_ahead` beyond what it has been
        given; children also pause while 512 MiB of decoded files wait. One call at a time.

        Args:
            jobs: what `scan` yields; pulled lazily.

        Yields:
            Each file with what became of it.

        Raises:
            StoppedError: the loader was closed meanwhile.
        """
        source = iter(jobs)
        ledger = _Ledger()
        waiting: deque[_Task] = deque()
        try:
            while True:
                while len(waiting) < self._look_ahead and (job := next(source, None)) is not None:
                    waiting.append(self._submit(_Task(job, ledger)))
                if not waiting:
                    return
                task = waiting.popleft()
                outcome = _outcome(task)
                ledger.add(-task.n_bytes)
                yield task.found, outcome
        finally:
            for task in waiting:
                task.future.cancel()
            ledger.open()

    def close(self) -> None:
        """End the children at once; files that wait are given up. May be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        for child in self._children:
            child.strike()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout=5)
        self._fetcher.close()
        FORKS.leave()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _submit(self, task: _Task) -> _Task:
        if self._closing.is_set():
            raise _stopped()
        task.ahead = self._fetcher.ahead(task.found)
        self._tasks.put(task)
        return task

    def _serve(self, child: Child) -> None:
        """Feed one child; runs in the child's own thread."""
        while (task := self._tasks.get()) is not None:
            if task.ledger:
                task.ledger.wait_below(_MAX_READY_BYTES, closing=self._closing)
            if not task.future.set_running_or_notify_cancel():
                continue
            if self._closing.is_set():
                task.future.set_exception(_stopped())
                continue
            try:
                loaded = self._load(task, child)
            except CrossfindError as error:
                task.future.set_exception(_stopped() if self._closing.is_set() else error)
            else:
                task.settle(loaded)
            finally:
                if not task.future.done():  # a mistake of ours must not leave the caller waiting
                    task.future.set_exception(
                        CrossfindError(f"the loader failed on {task.found!r}; run with --debug")
                    )
            if child.n_jobs >= _JOBS_PER_CHILD:
                child.end()
        child.end()

    def _load(self, task: _Task, child: Child) -> Loaded:
        """Have a child decode a file, which is fetched before where it lies elsewhere."""
        if not task.found.stamp:
            return child.load(task.found)
        fetched = task.ahead.result() if task.ahead else self._fetcher.fetch(task.found)
        try:
            return fetched.told(child.load(fetched.local))
        except BadMediaError as error:
            raise fetched.blamed(error) from error
        finally:
            fetched.drop()


@dataclass(slots=True)
class _Task:
    """A file on its way, and how much of the ledger its result holds."""

    found: Found
    ledger: _Ledger | None = None
    ahead: Future[Fetched] | None = None
    future: Future[Loaded] = field(default_factory=Future)
    n_bytes: int = 0

    def settle(self, loaded: Loaded) -> None:
        self.n_bytes = sum(_n_bytes(part.payload) for part in loaded.parts)
        if self.ledger:
            self.ledger.add(self.n_bytes)
        self.future.set_result(loaded)


class _Ledger:
    """Counts the decoded bytes that wait for one caller of `load_many`.

    No deadlock: tasks start in order, so the one the caller waits for is never behind the door.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held_bytes = 0
        self._is_open = False

    def add(self, n_bytes: int) -> None:
        with self._changed:
            self._held_bytes += n_bytes
            self._changed.notify_all()

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def wait_below(self, limit_bytes: int, *, closing: threading.Event) -> None:
        with self._changed:
            while not (self._held_bytes < limit_bytes or self._is_open or closing.is_set()):
                self._changed.wait(0.2)


def _outcome(task: _Task) -> Loaded | Failure:
    try:
        return task.future.result()
    except BadMediaError as error:
        return Failure(task.found.path, error.code, str(error))
    except CancelledError as error:
        raise _stopped() from error


def _n_bytes(payload: Payload) -> int:
    return len(payload) if isinstance(payload, str) else payload.nbytes


def _stopped() -> StoppedError:
    return StoppedError("the loader is closed; run the same command again to go on")
