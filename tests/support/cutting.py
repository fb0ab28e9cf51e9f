"""A stand-in for a network that fails: it passes PostgreSQL's bytes on, and cuts at a COMMIT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

How = Literal["before", "after", "ended first", "ended meanwhile"]
HOWS: tuple[How, ...] = ("before", "after", "ended first", "ended meanwhile")
"""Where a COMMIT is lost: on its way, on the answer's way, its session ended before or while."""

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # a simple query, as psycopg sends it
_SOCKET = ".s.PGSQL.5432"


class Cutter:
    """Pass connections on to a server, and cut the next COMMIT once armed.

    Args:
        server: folder with the server's socket.
        folder: where this one's socket goes.

    Attributes:
        end: ends a session of the server by its process id.
        n_cut: how many COMMITs were cut.
    """

    end: Callable[[int], None]

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server / _SOCKET
        self._links: list[_Link] = []
        self._armed: How | None = None
        self.n_cut = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, how: How) -> None:
        """Cut the next COMMIT."""
        self._armed = how

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut_all(self) -> None:
        """Cut every connection."""
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                self._links.append(_Link(self, client, server))
                self._links[-1].start()

    def take_order(self, data: bytes) -> How | None:
        """Tell how to cut, if these bytes are the COMMIT to be cut."""
        if self._armed is None or _COMMIT not in data:
            return None
        how, self._armed = self._armed, None
        self.n_cut += 1
        return how


class _Link:
    """One connection: two threads that pass bytes on."""

    def __init__(self, cutter: Cutter, client: socket.socket, server: socket.socket) -> None:
        self._cutter, self._client, self._server = cutter, client, server
        self._pid = 0
        self._is_deaf = False

    def start(self) -> None:
        for run in (self._to_server, self._to_client):
            threading.Thread(target=run, daemon=True).start()

    def _to_server(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(65536):
                how = self._cutter.take_order(data)
                if how == "before":
                    break
                if how == "after":
                    self._is_deaf = True
                if how == "ended first":
                    self._cutter.end(self._pid)
                self._server.sendall(data)
                if how == "ended meanwhile":
                    self._cutter.end(self._pid)
        if not self._is_deaf:
            self.close()

    def _to_client(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(65536):
                if self._pid == 0:
                    self._pid = _pid_of(data)
                if self._is_deaf:
                    break
                self._client.sendall(data)
        self.close()

    def close(self) -> None:
        """Cut it at both ends."""
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _pid_of(data: bytes) -> int:
    """Find the server's process id in its greeting: BackendKeyData, `K` of 12 bytes."""
    at = data.find(b"K\x00\x00\x00\x0c")
    return int.from_bytes(data[at + 5 : at + 9], "big") if at >= 0 else 0


@contextmanager
def cutting(server: Path, folder: Path) -> Iterator[Cutter]:
    """Stand between a server's socket and those who connect to `folder`."""
    cutter = Cutter(server, folder)
    try:
        yield cutter
    finally:
        cutter.close()
