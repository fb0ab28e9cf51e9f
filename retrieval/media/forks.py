"""The parent's end of the fork server: one warm process from which every decoding child is forked.

A fresh interpreter with numpy and the decoders costs 0.2 s of a core, a fork of a warm one about a
hundredth of that. So a decoder that dies is replaced for less than a photo costs, and one warm
process serves all the loaders of a program; it ends with the last of them.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from retrieval.errors import CrossfindError
from retrieval.media.fork_server import FORK, KILL, READY, WORD

_START_TIMEOUT_S = 60.0
_FORKS_PER_SERVER = 256  # then memory is laid out anew: who crashes children learns little of it

# -I: no PYTHON* variables, no user site, no current folder. -S: no .pth files, which run code and
# cost time; the parent's own search path is handed over instead. -B: nothing is written.
_PYTHON = (sys.executable, "-I", "-S", "-B", "-c")
_BOOT = (
    "import sys; sys.path[:] = sys.argv[1:]; from retrieval.media.fork_server import main; main()"
)
# Nothing of the user's environment: a decoder that is taken over finds no secrets.
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Forked:
    """A decoding child: the pipes to it, and a line to the fork server, whose child it is.

    The server alone signals it and waits for it, so that its number cannot mean another process.
    """

    def __init__(self, *, line: socket.socket, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self._line = line
        self._status: int | None = None

    def kill(self) -> None:
        """Kill it and all it has started, from any thread; it may be dead already."""
        try:
            self._line.send(KILL)
        except OSError:
            return  # it has ended, or the server has: then its closed pipe ends it

    def wait(self, *, timeout_s: float) -> int:
        """Wait for its end.

        Returns:
            Its exit code, or the negative number of the signal that ended it.

        Raises:
            TimeoutError: it still runs.
        """
        if self._status is None:
            self._line.settimeout(timeout_s)
            said = _read_word(self._line)
            self._status = -signal.SIGKILL if said is None else said
        return self._status

    def close(self) -> None:
        """Close everything between us and it; the server kills it if it still runs."""
        self._line.close()
        os.close(self.stdin)
        os.close(self.stdout)


class Forks:
    """Forks decoding children, for as many loaders as there are.

    Example:
        >>> forks = Forks()
        >>> forks.join()
        >>> child = forks.fork(shared=None)
        >>> child.kill()
        >>> child.wait(timeout_s=5)
        -9
        >>> child.close()
        >>> forks.leave()
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._n_forks = 0
        self._server: _Server | None = None
        self._retired: list[_Server] = []

    def join(self) -> None:
        """Be one more user of the server."""
        with self._lock:
            self._n_users += 1

    def leave(self) -> None:
        """Be one user less; the last one ends the server, once its own children have ended."""
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                self._retire()
                for server in self._retired:
                    server.wait()
                self._retired.clear()

    def fork(self, *, shared: int | None) -> Forked:
        """Make a child that serves as `worker_main` says.

        Args:
            shared: descriptor of the memory it shares with us; None for none.

        Raises:
            CrossfindError: no child can be started (`workers_unavailable`).
        """
        with self._lock:
            if self._n_forks >= _FORKS_PER_SERVER:
                self._retire()
            self._n_forks += 1
            if self._server is not None:
                try:
                    return self._server.fork(shared=shared)
                except OSError:  # somebody killed it
                    self._retire()
            self._server = _Server()
            try:
                return self._server.fork(shared=shared)
            except OSError as error:
                self._retire()
                raise no_child(str(error)) from error

    def _retire(self) -> None:
        if self._server is not None:
            self._server.close()
            self._retired.append(self._server)
        self._retired = [server for server in self._retired if not server.is_gone()]
        self._server, self._n_forks = None, 0


FORKS = Forks()
"""The one of this program."""


class _Server:
    """The process that forks, and the socket on which it is asked to."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [*_PYTHON, _BOOT, *_search_path()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
        except OSError as error:
            self._socket.close()
            raise no_child(str(error)) from error
        finally:
            theirs.close()
        self._wait_until_ready()

    def fork(self, *, shared: int | None) -> Forked:
        line, theirs = socket.socketpair()
        stdin, to_child = os.pipe()
        from_child, stdout = os.pipe()
        try:
            given = [theirs.fileno(), stdin, stdout, *([] if shared is None else [shared])]
            with theirs:  # closed here: else its end could not be seen
                socket.send_fds(self._socket, [FORK], given)
            line.settimeout(_START_TIMEOUT_S)
            pid = _read_word(line)
            if pid is None:
                raise ConnectionResetError("the process that forks decoders has ended")
        except OSError:
            for end in (to_child, from_child):
                os.close(end)
            line.close()
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        return Forked(line=line, pid=pid, stdin=to_child, stdout=from_child)

    def close(self) -> None:
        """Ask for no more; the process ends when its last child has."""
        self._socket.close()

    def wait(self) -> None:
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def _wait_until_ready(self) -> None:
        ready, _, _ = select.select([self._socket], [], [], _START_TIMEOUT_S)
        if ready and self._socket.recv(len(READY)) == READY:
            if self._process.stderr is not None:
                self._process.stderr.close()
            return
        self._process.kill()
        said = self._process.communicate()[1].decode("utf-8", "replace")
        self._socket.close()
        raise no_child(said.strip().rpartition("\n")[2])


def no_child(why: str) -> CrossfindError:
    """Make the error of a machine on which nothing can be decoded."""
    return CrossfindError(
        f"no decoding process can be started ({why or 'it ended without a word'}); "
        "check the installation with: python -m pip check",
        code="workers_unavailable",
    )


def _search_path() -> list[str]:
    root = str(Path(__file__).resolve().parents[2])
    return [root, *(p for p in sys.path if os.path.isabs(p) and p != root)]


def _read_word(line: socket.socket) -> int | None:
    """Read one number; None where the other end has gone."""
    try:
        said = line.recv(WORD.size, socket.MSG_WAITALL)
    except ConnectionError:
        return None
    return int(WORD.unpack(said)[0]) if len(said) == WORD.size else None
