"""A network of the starter whose threads take shares of a batch side by side.

Threads within one run wait for each other at each of some sixty layers, and a decoder that holds up
one of them holds up all. With a share of the batch for each they wait once. A lone input is run by
all threads together, since nothing else shortens the way of a query.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import session

Array = npt.NDArray[Any]  # Any: pictures are uint8, all else float32


class Trunk:
    """Run one network; safe to use from several threads.

    Args:
        data: the ONNX file's bytes, already checked.
        given: name of its input [N, ...].
        wanted: names of its outputs [N, ...].
        threads: CPU threads it may use.

    Raises:
        ModelError: at the first run: onnxruntime cannot run it (`model_unavailable`).
    """

    def __init__(self, data: bytes, *, given: str, wanted: Sequence[str], threads: int) -> None:
        self._data, self._given, self._wanted = data, given, list(wanted)
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: dict[int, Any] = {}  # Any: onnxruntime ships no types
        self._pool: ThreadPoolExecutor | None = None

    def run(self, batch: Array) -> list[Array]:
        """Run a batch [N, ...]; the outputs, N rows each."""
        if len(batch) < self._threads or self._threads == 1:
            return self._ask(self._session(self._threads), batch)
        shares = self.run_each(np.array_split(batch, self._threads))
        return [np.concatenate(parts) for parts in zip(*shares, strict=True)]

    def run_each(self, batches: Sequence[Array]) -> list[list[Array]]:
        """Run several batches, which need not be of one shape; the outputs of each."""
        if len(batches) == 1 or self._threads == 1:
            one = self._session(self._threads)
            return [self._ask(one, batch) for batch in batches]
        return list(self._side_by_side().map(partial(self._ask, self._session(1)), batches))

    def _ask(self, opened: Any, batch: Array) -> list[Array]:
        found: list[Array] = opened.run(self._wanted, {self._given: batch})
        return found

    def _session(self, threads: int) -> Any:
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = session(self._data, threads=threads)
            return self._sessions[threads]

    def _side_by_side(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="encode")
            return self._pool
