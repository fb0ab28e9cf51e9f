"""Work that comes together is done together: a batch at a time, in a thread, never held back.

Who finds the lane idle goes at once. What comes while a batch of its kind runs waits for its end,
and goes as one batch then: the more there is to do, the larger the batches and the less each piece
costs. There is no clock to wait for company by. Batches of different kinds run side by side, and
one that takes very long does not block the road: after `patience_s` the next of its kind starts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from starlette.types import Receive

from retrieval.errors import CrossfindError
from retrieval.server.limits import busy, gone, hang_up, too_slow

__all__ = ["Lane"]

P = TypeVar("P")
A = TypeVar("A")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[P, A]):
    """A piece of work, and where its answer goes."""

    piece: P
    key: Hashable
    answer: asyncio.Future[A]


class Lane(Generic[P, A]):
    """Do pieces of work of many requests in common batches; for one event loop.

    Args:
        work: does a batch, in a thread; gives for each piece its answer or its error.
        name: of the kind of work, for messages and threads.
        width: how many batches run at once.
        depth: how many pieces may be inside, running and waiting.
        seconds: the longest that a caller waits for an answer.
        max_batch: the most pieces of a batch; 1: each by itself.
        patience_s: for so long a running batch keeps others of its key from starting.

    Attributes:
        n_inside, n_shed: pieces that run or wait, and refused so far.
        n_batches, n_pieces: begun so far.

    Example:
        >>> async def two():
        ...     lane = Lane(lambda pieces: [2 * one for one in pieces], name="double")
        ...     return await asyncio.gather(lane.run(1), lane.run(2))
        >>> asyncio.run(two())
        [2, 4]
    """

    def __init__(
        self,
        work: Callable[[Sequence[P]], Sequence[A | CrossfindError]],
        *,
        name: str,
        width: int = 4,
        depth: int = 128,
        seconds: float = 30.0,
        max_batch: int = 32,
        patience_s: float = 0.5,
    ) -> None:
        self.name = name
        self.n_inside = self.n_shed = self.n_batches = self.n_pieces = 0
        self._work = work
        self._width, self._depth, self._max_batch = width, depth, max_batch
        self._seconds, self._patience_s = seconds, patience_s if max_batch > 1 else 0.0
        self._pool = ThreadPoolExecutor(width, thread_name_prefix=f"crossfind-{name}")
        self._waiting: deque[_Waiting[P, A]] = deque()
        self._n_running = 0
        self._running: dict[Hashable, list[float]] = {}  # by key, until when others wait for each
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more is let in."""
        return self.n_inside >= self._depth

    async def run(self, piece: P, *, key: Hashable = None, receive: Receive | None = None) -> A:
        """Do a piece of work, perhaps together with others.

        Work that waits is given up when its caller goes; work that runs is finished, once.

        Args:
            piece: what to do.
            key: only pieces of one key go together, so that quick ones need not wait for slow ones.
            receive: of the request; tells when the caller has gone.

        Raises:
            BusyError: too many are inside.
            RequestError: it took too long (`timeout`), or nobody waits any more (`gone`).
        """
        if self.is_full:
            self.n_shed += 1
            raise busy(self.name)
        loop = asyncio.get_running_loop()
        waiting = _Waiting[P, A](piece, key, loop.create_future())
        self.n_inside += 1
        self._waiting.append(waiting)
        self._start()
        late = loop.call_later(self._seconds, _fail, waiting.answer, too_slow(self._seconds))
        left = asyncio.ensure_future(hang_up(receive)) if receive is not None else None
        if left is not None:
            left.add_done_callback(lambda _: _fail(waiting.answer, gone()))
        try:
            return await waiting.answer
        finally:
            late.cancel()
            if left is not None:
                left.cancel()
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self.n_inside -= 1

    def _start(self) -> None:
        """Start as many batches as may run now."""
        loop = asyncio.get_running_loop()
        wait_s = self._patience_s
        for key in dict.fromkeys(one.key for one in self._waiting):
            held_s = max(self._running.get(key, ()), default=0.0) - loop.time()
            while held_s <= 0 and self._n_running < self._width and (batch := self._next(key)):
                self._begin(batch, key)
                held_s = self._patience_s
            wait_s = min(wait_s, max(held_s, 0.0))
        if self._waiting and self._timer is None and self._n_running < self._width:
            self._timer = loop.call_later(wait_s, self._again)

    def _begin(self, batch: list[_Waiting[P, A]], key: Hashable) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience_s
        self._n_running += 1
        self._running.setdefault(key, []).append(until_s)
        self.n_batches, self.n_pieces = self.n_batches + 1, self.n_pieces + len(batch)
        done = loop.run_in_executor(self._pool, self._work, [one.piece for one in batch])
        done.add_done_callback(partial(self._ended, batch, key, until_s))

    def _again(self) -> None:
        self._timer = None
        self._start()

    def _next(self, key: Hashable) -> list[_Waiting[P, A]]:
        """Take what waits with a key, the oldest first."""
        batch = [one for one in self._waiting if one.key == key][: self._max_batch]
        taken = {id(one) for one in batch}
        self._waiting = deque(one for one in self._waiting if id(one) not in taken)
        return batch

    def _ended(
        self,
        batch: list[_Waiting[P, A]],
        key: Hashable,
        until_s: float,
        done: asyncio.Future[Sequence[A | CrossfindError]],
    ) -> None:
        self._n_running -= 1
        self._running[key].remove(until_s)
        if not self._running[key]:
            del self._running[key]
        error = None if done.cancelled() else done.exception()
        if error is not None and len(batch) > 1:  # one of them did it, and costs only itself
            for one in batch:
                self._begin([one], key)
            return
        self.n_inside -= len(batch)
        failed = gone() if done.cancelled() else error
        outcomes = done.result() if failed is None else [failed] * len(batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                _fail(one.answer, outcome)
            elif not one.answer.done():
                one.answer.set_result(outcome)
        self._start()

    def close(self) -> None:
        """Finish what runs, give up what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _fail(answer: asyncio.Future[A], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
