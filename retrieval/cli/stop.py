"""Ctrl-C and SIGTERM: the first asks for a durable stop, the second ends the process at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from retrieval.cli.output import say
from retrieval.errors import StoppedError, TerminatedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Give an event that the first signal sets; restore the handlers afterwards."""
    stop = Event()
    received = [signal.SIGINT.value]

    def handle(signum: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + signum)
        received[0] = signum
        say("stopping: keeping what is done (once more to leave at once)")
        stop.set()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    except StoppedError as error:
        if received[0] != signal.SIGINT:
            raise TerminatedError(str(error)) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
