"""A network of the starter whose threads take shares of a batch side by side.

Threads within one run wait for each other at each of some sixty layers, and a decoder that holds up
one of them holds up all. With a share of the batch for each they wait once. A lone input is run by
all threads together, since nothing else shortens the way of a query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import session

Array = npt.NDArray[Any]  # Any: pictures are uint8, all else float32
T = TypeVar("T")
R = TypeVar("R")


class Threads:
    """Threads that work side by side, started when there is something to share.

    Args:
        n: how many, at least 1.

    Example:
        >>> Threads(2).map(abs, [-1, 2, -3])
        [1, 2, 3]
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[T], R], values: Sequence[T]) -> list[R]:
        """Apply a function, which must not share work itself, to each value, in their order."""
        if self.n == 1 or len(values) < 2:
            return [function(value) for value in values]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.n, thread_name_prefix="encode")
            pool = self._pool
        return list(pool.map(function, values))


class Trunk:
    """Run one network; safe to use from several threads.

    Args:
        data: the ONNX file's bytes, already checked.
        given: name of its input [N, ...].
        wanted: names of its outputs [N, ...].
        threads: that it may use.

    Raises:
        ModelError: at the first run: onnxruntime cannot run it (`model_unavailable`).
    """

    def __init__(self, data: bytes, *, given: str, wanted: Sequence[str], threads: Threads) -> None:
        self._data, self._given, self._wanted = data, given, list(wanted)
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: dict[int, Any] = {}  # Any: onnxruntime ships no types

    def run(self, batch: Array) -> list[Array]:
        """Run a batch [N, ...]; the outputs, N rows each."""
        n_shares = self._threads.n if len(batch) >= self._threads.n else 1
        shares = self.run_each(np.array_split(batch, n_shares))
        return [np.concatenate(parts) for parts in zip(*shares, strict=True)]

    def run_each(self, batches: Sequence[Array]) -> list[list[Array]]:
        """Run several batches, which need not be of one shape; the outputs of each."""
        opened = self._session(self._threads.n if len(batches) == 1 else 1)
        return self._threads.map(partial(self._ask, opened), batches)

    def _ask(self, opened: Any, batch: Array) -> list[Array]:
        found: list[Array] = opened.run(self._wanted, {self._given: batch})
        return found

    def _session(self, threads: int) -> Any:
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = session(self._data, threads=threads)
            return self._sessions[threads]
