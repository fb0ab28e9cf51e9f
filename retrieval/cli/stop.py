"""Ctrl-C and SIGTERM: the first asks for a durable stop, the second ends the process at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from retrieval.cli.output import say
from retrieval.errors import StoppedError, TerminatedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals() -> Iterator[Event]:
    """Give an event that the first signal sets; restore the handlers afterwards."""
    stop = Event()
    received = [signal.SIGINT.value]

    def take(signum: int) -> None:
        if stop.is_set():
            os._exit(128 + signum)
        received[0] = signum
        say("stopping: keeping what is done (once more to leave at once)")
        stop.set()

    try:
        with _told_of_signals(take):
            yield stop
    except StoppedError as error:
        if received[0] != signal.SIGINT:
            raise TerminatedError(str(error)) from error
        raise


@contextmanager
def _told_of_signals(take: Callable[[int], None]) -> Iterator[None]:
    """Call `take` with each signal, in a thread of its own.

    Python's own handlers wait until the main thread comes back from what it does in C, an encoder's
    batch perhaps, and two signals that wait there count as one.
    """
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)

    def listen() -> None:
        while signums := os.read(read_fd, 16):
            for signum in filter(_SIGNALS.__contains__, signums):
                take(signum)

    thread = Thread(target=listen, name="crossfind-signals", daemon=True)
    thread.start()
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    fd_before = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(write_fd)
        thread.join()
        os.close(read_fd)
