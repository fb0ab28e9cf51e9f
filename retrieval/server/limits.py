"""How much one request may ask for, and how many may ask at once."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.types import Message, Receive

from retrieval.errors import BusyError, UsageError
from retrieval.query.grammar import MAX_DEPTH, MAX_K

__all__ = [
    "MAX_BATCH",
    "MAX_BODY_BYTES",
    "MAX_DEPTH",
    "MAX_K",
    "Body",
    "Budget",
    "Gate",
    "RequestError",
    "hang_up",
    "read_json",
]

T = TypeVar("T")

MAX_BATCH = 64
"""Queries, texts or files of one request."""
MAX_BODY_BYTES = 20 << 20
MAX_BODIES_BYTES = 256 << 20
"""Of all requests together."""
MAX_JSON_LEVELS = 64
BODY_SECONDS = 30.0
"""The longest a body may take to arrive."""


class RequestError(UsageError):
    """A request is refused before the engine sees it.

    Attributes:
        status: what HTTP answers.
    """

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message, code=code)
        self.status = status


def read_json(body: bytes) -> object:
    """Read JSON as RFC 8259 means it: no NaN, no key twice, no abyss of brackets.

    Raises:
        RequestError: it is not (`bad_json`, 400).

    Example:
        >>> read_json(b'{"k": 3}')
        {'k': 3}
    """
    try:
        value = json.loads(
            body, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise _bad_json(f"it is nested more than {MAX_JSON_LEVELS} deep") from error
    except ValueError as error:  # also UnicodeDecodeError and JSONDecodeError
        raise _bad_json(str(error)) from error
    _check_levels(value)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has one key twice")
    return made


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _check_levels(value: object) -> None:
    level = [value]
    for _ in range(MAX_JSON_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise _bad_json(f"it is nested more than {MAX_JSON_LEVELS} deep")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _bad_json(why: str) -> RequestError:
    return RequestError(f"the body is not JSON: {why}", code="bad_json", status=400)


class Budget:
    """The bytes of all bodies that are being read or worked on at one time."""

    def __init__(self, limit_bytes: int = MAX_BODIES_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class Body:
    """Gives a request's body; ends it with an error when it is too large or too slow.

    Args:
        receive: of the request.
        budget: shared by all requests.
        seconds: the longest the body may take to arrive.
        limit_bytes: the most it may have.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        budget: Budget,
        seconds: float = BODY_SECONDS,
        limit_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._receive = receive
        self._budget = budget
        self._seconds = seconds
        self._limit_bytes = limit_bytes
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._n_bytes = 0
        self._is_complete = False

    async def __call__(self) -> Message:
        """Receive the next piece.

        Raises:
            RequestError: `body_timeout` (408), or `body_too_large` (413).
            BusyError: too much is being received from all together.
        """
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestError(
                f"the body took longer than {self._seconds:g} s; send it faster or less of it",
                code="body_timeout",
                status=408,
            ) from error
        self._hold(len(message.get("body", b"")))
        self._is_complete = not message.get("more_body", False)
        return message

    def _hold(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        self._budget.held_bytes += n_bytes
        if self._n_bytes > self._limit_bytes:
            raise too_large()
        if self._budget.held_bytes > self._budget.limit_bytes:
            raise BusyError("the server is receiving too much at once; ask again in a moment")

    def close(self) -> None:
        """Give back what was held."""
        self._budget.held_bytes -= self._n_bytes
        self._n_bytes = 0


def too_large() -> RequestError:
    """Make the error of a body over the limit."""
    return RequestError(
        f"the body is larger than {MAX_BODY_BYTES >> 20} MiB; send less, or add large files with "
        "'crossfind index add' on the server's machine",
        code="body_too_large",
        status=413,
    )


def too_slow(seconds: float) -> RequestError:
    """Make the error of an answer that took too long."""
    return RequestError(
        f"it took longer than {seconds:g} s; ask for less", code="timeout", status=503
    )


def gone() -> RequestError:
    """Make the error of a caller who waits no more."""
    return RequestError("the client has gone", code="gone", status=499)


def busy(name: str) -> BusyError:
    """Make the error of a kind of work of which there is too much."""
    return BusyError(f"the server is busy ({name}); ask again in a moment")


class Gate:
    """Lets so many pieces of work run, so many wait, and sheds the rest.

    Args:
        name: of the kind of work, for messages and threads.
        width: how many run at once, each in a thread of its own.
        depth: how many may wait.
        seconds: the longest that a caller waits for an answer.
    """

    def __init__(self, *, name: str, width: int, depth: int, seconds: float) -> None:
        self.name = name
        self._limit = width + depth
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(width, thread_name_prefix=f"crossfind-{name}")
        self.n_inside = 0
        self.n_shed = 0

    @property
    def is_full(self) -> bool:
        """Tell whether nothing more is let in."""
        return self.n_inside >= self._limit

    async def run(self, work: Callable[[], T], *, receive: Receive | None = None) -> T:
        """Do a piece of work in a thread.

        Work that waits is given up when its caller goes; work that runs is finished, once.

        Args:
            work: what to do.
            receive: of the request; tells when the caller has gone.

        Raises:
            BusyError: too many are inside.
            RequestError: it took too long (`timeout`), or nobody waits any more (`gone`).
        """
        if self.is_full:
            self.n_shed += 1
            raise busy(self.name)
        loop = asyncio.get_running_loop()
        self.n_inside += 1
        job = self._pool.submit(work)
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await self._answer(job, receive)

    async def _answer(self, job: Future[T], receive: Receive | None) -> T:
        answer = asyncio.wrap_future(job)
        watched: set[asyncio.Future[Any]] = {answer}  # Any: of different kinds
        left = asyncio.ensure_future(hang_up(receive)) if receive is not None else None
        if left is not None:
            watched.add(left)
        try:
            await asyncio.wait(watched, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            job.cancel()
            if left is not None:
                left.cancel()
        raise gone() if left is not None and left.done() else too_slow(self._seconds)

    def _leave(self) -> None:
        self.n_inside -= 1

    def close(self) -> None:
        """Finish what runs, give up what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def hang_up(receive: Receive) -> None:
    """Wait until the client of a request has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
