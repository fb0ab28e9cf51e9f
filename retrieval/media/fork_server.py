"""The process that forks decoding children, ends them, and tells what they ended of.

Started by `forks.py` with a clean environment; it opens no file of the user's and decodes nothing
itself. It has one thread and imports no torch, faiss or SQL, so that a fork of it is sound.

On its socket it is asked for a child by one byte, with the descriptors of the child's line, its
standard input and output, and maybe shared memory. On the line it says the child's number, and at
the end how the child ended; a byte on the line, or its end, kills the child. So no child outlives
the program that wanted it, however that one ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import struct

READY, FORK, KILL = b"R", b"F", b"K"
WORD = struct.Struct(">i")

_MAX_DESCRIPTORS = 4
_DECODERS = ("image", "audio", "video", "text")


def main() -> None:
    """Serve until the parent closes the socket and no child is left."""
    from retrieval.media import worker_main  # noqa: F401  every child needs it: loaded once, here

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    requests = socket.socket(fileno=os.dup(0))
    requests.send(READY)
    os.dup2(1, 2)  # until now it told the parent of a failed start; from here on only chatter
    os.dup2(1, 0)
    _Server(requests).serve()
    os._exit(0)  # nothing is left to be put in order: an interpreter's end takes 15 ms


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests: socket.socket | None = requests
        self._lines: dict[int, socket.socket] = {}  # by the child's number
        self._replaces = False  # a child has ended: the next one takes its place
        self._is_warm = False
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        self._woken, wake = os.pipe()
        for end in (self._woken, wake):
            os.set_blocking(end, False)
        self._poll.register(self._woken, select.POLLIN)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        while self._requests is not None or self._lines:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            for pid, line in self._lines.items():
                if line.fileno() in ready:
                    self._kill(pid, line)
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._bury()
            if self._requests is not None and self._requests.fileno() in ready:
                self._answer(self._requests)  # last: a new child's line may have a number of above

    def _answer(self, requests: socket.socket) -> None:
        asked, descriptors, _, _ = socket.recv_fds(requests, 1, _MAX_DESCRIPTORS)
        if asked:
            self._fork(*descriptors)
            return
        self._poll.unregister(requests)
        requests.close()
        self._requests = None

    def _fork(self, line: int, stdin: int, stdout: int, shared: int | None = None) -> None:
        if self._replaces and not self._is_warm:
            self._warm_up()
        pid = os.fork()
        if pid == 0:
            _become_child(stdin, stdout, shared)
        _lead_group(pid)
        for descriptor in (stdin, stdout, *([] if shared is None else [shared])):
            os.close(descriptor)
        self._lines[pid] = socket.socket(fileno=line)
        self._poll.register(line, select.POLLIN)
        self._say(pid, pid)

    def _warm_up(self) -> None:
        """Import all decoders: of the first children each has imported what its files need."""
        for name in _DECODERS:
            importlib.import_module(f"retrieval.media.{name}")
        gc.freeze()  # else the first collection in a child copies every page
        self._is_warm = True

    def _kill(self, pid: int, line: socket.socket) -> None:
        self._poll.unregister(line)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # not yet waited for: the number is still this child's

    def _bury(self) -> None:
        for pid in list(self._lines):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended == 0:
                continue
            self._replaces = True
            self._say(pid, os.waitstatus_to_exitcode(status))
            line = self._lines.pop(pid)
            with contextlib.suppress(KeyError):  # of a killed one nothing is listened to any more
                self._poll.unregister(line)
            line.close()

    def _say(self, pid: int, word: int) -> None:
        with contextlib.suppress(OSError):  # nobody may listen any more
            self._lines[pid].send(WORD.pack(word))


def _become_child(stdin: int, stdout: int, shared: int | None) -> None:
    """Turn this fork into a decoding child; never returns."""
    from retrieval.media.worker_main import SHARED_FD, main

    status = 1
    try:
        _lead_group(0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        if shared is not None:
            os.dup2(shared, SHARED_FD)
        os.closerange(SHARED_FD + (shared is not None), os.sysconf("SC_OPEN_MAX"))
        main(shares=shared is not None)
        status = 0
    finally:
        os._exit(status)


def _lead_group(pid: int) -> None:
    """Give a child a group of its own; both sides do it, as either may come first."""
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
