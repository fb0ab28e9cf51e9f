"""One search for many threads: what they look for at the same time is looked for in one call.

A filtered search reads its rows once for a whole batch, so that a batch of 32 costs little more
than two alone. There is no thread in the background: who finds nobody at work searches at once; who
comes meanwhile waits, and then one of those leads all that go together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from index.allowed import Allowed
from index.types import Ids, Neighbors, Vectors
from retrieval.errors import CrossfindError

__all__ = ["SharedSearch"]

Search = Callable[[Vectors, int, "Ids | Allowed | None"], Neighbors]


@dataclass(eq=False, slots=True)
class _Request:
    queries: Vectors
    k: int
    allowed: Ids | Allowed | None
    found: Neighbors | None = None
    error: Exception | None = None
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def is_served(self) -> bool:
        return self.found is not None or self.error is not None

    def goes_with(self, other: _Request) -> bool:
        return self.k == other.k and self.allowed is other.allowed


class SharedSearch:
    """Put the searches of several threads together.

    Args:
        search: of queries float32 [Q, D], k, and the ids allowed.
        max_batch: the most queries of one call.

    Attributes:
        n_calls, n_queries: made and answered so far.

    Example:
        >>> def one(queries, k, allowed):
        ...     shape = (len(queries), k)
        ...     ids, scores = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        ...     return Neighbors(ids, scores, np.zeros(len(queries), np.int64))
        >>> SharedSearch(one)(np.zeros((1, 2), np.float32), k=3, allowed=None).ids.shape
        (1, 3)
    """

    def __init__(self, search: Search, *, max_batch: int = 32) -> None:
        self.n_calls = self.n_queries = 0
        self._search = search
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._is_led = False

    def __call__(self, queries: Vectors, *, k: int, allowed: Ids | Allowed | None) -> Neighbors:
        """Search, perhaps together with others; see `Index.search`."""
        request = _Request(queries, k, allowed)
        with self._lock:
            self._waiting.append(request)
            if not self._is_led:
                self._is_led = True
                request.woken.set()
        request.woken.wait()
        if not request.is_served:
            self._lead(request)
        if request.error is not None:
            raise request.error
        assert request.found is not None  # a leader serves all that it takes
        return request.found

    def _lead(self, leader: _Request) -> None:
        batch = self._take(leader)
        try:
            self._serve(batch)
        except Exception as error:  # each of the batch is told, the leader too
            for request in batch:
                request.error = _own(error)
        finally:
            for request in batch:
                if request is not leader:
                    request.woken.set()
            self._hand_on()

    def _take(self, leader: _Request) -> list[_Request]:
        """Take the leader's request and those that go with it, in the order they came."""
        with self._lock:
            batch, left, n_queries = [leader], [], len(leader.queries)
            for request in self._waiting:
                if request is leader:
                    continue
                fits = n_queries + len(request.queries) <= self._max_batch
                if fits and request.goes_with(leader):
                    batch.append(request)
                    n_queries += len(request.queries)
                else:
                    left.append(request)
            self._waiting = deque(left)
            self.n_calls += 1
            self.n_queries += n_queries
        return batch

    def _serve(self, batch: list[_Request]) -> None:
        first = batch[0]
        stacked = np.concatenate([request.queries for request in batch])
        found = self._search(stacked, first.k, first.allowed)
        start = 0
        for request in batch:
            rows = slice(start, start + len(request.queries))
            request.found = Neighbors(found.ids[rows], found.scores[rows], found.counts[rows])
            start = rows.stop

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting[0].woken.set()
            else:
                self._is_led = False


def _own(error: Exception) -> Exception:
    """Give every waiting thread an error of its own: one object raised twice grows its trace."""
    return type(error)(str(error), code=error.code) if type(error) is CrossfindError else error
