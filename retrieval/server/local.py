"""The socket in a store's directory, by which programs of its owner reach a running server.

Only the standard library, and little of it: `crossfind search` imports this first of all.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SOCKET_NAME", "connect_local", "listen_local", "socket_address"]

SOCKET_NAME = "serve.sock"
_MAX_ADDRESS_BYTES = 100  # the kernel takes 108


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give an address that the kernel takes for a socket, however long its path is.

    Example:
        >>> with socket_address(Path("/short/serve.sock")) as address:
        ...     address
        '/short/serve.sock'
    """
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect_local(store: Path, *, timeout_s: float = 60.0) -> socket.socket | None:
    """Connect to the server of a store; None where none runs.

    Args:
        store: the store directory.
        timeout_s: of every send and receive.
    """
    path = store / SOCKET_NAME
    if not path.exists():
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(timeout_s)
    try:
        with socket_address(path) as address:
            found.connect(address)
    except OSError:  # left over from a server that was killed, or not ours to open
        found.close()
        return None
    return found


def listen_local(store: Path) -> socket.socket | None:
    """Listen in a store's directory, for its owner alone; None where another server does.

    Raises:
        OSError: the directory cannot be written.
    """
    other = connect_local(store, timeout_s=1.0)
    if other is not None:
        other.close()
        return None
    path = store / SOCKET_NAME
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # 0600 from its first moment on
    try:
        with socket_address(path) as address:
            made.bind(address)
        made.listen(128)
    finally:
        os.umask(before)
    return made
