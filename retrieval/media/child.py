"""The parent's end of one decoding child: have it forked, ask it, time it, bury it."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import threading
import time
from dataclasses import asdict, replace

from retrieval.errors import BadMediaError
from retrieval.media.forks import FORKS, Forked, no_child
from retrieval.media.scan import Found
from retrieval.media.speech import UNHEARD_FLAG
from retrieval.media.wire import (
    SHARED_BYTES,
    WireError,
    pack_header,
    pack_job,
    read_header,
    read_reply,
)
from retrieval.types import Loaded, MediaSpec

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 60.0  # of a process that was killed: it only hangs with the disk
_DEATHS = frozenset({"decoder_crashed", "decoder_timeout", "decoder_memory"})
_PATIENCE = 10  # times its limit a file may take by the clock, on a machine that is busy
_F_SETPIPE_SZ = 1031  # Linux; a picture fits into the pipe, so the child need not wait for us
_PIPE_BYTES = 1 << 20


class Child:
    """One decoding process, started on first use and again after each death.

    Args:
        spec: the form the encoder wants.
        timeout_s: the longest one file may take.
        memory_bytes: the most address space.
        faults_on: obey `faults.py`; tests only.
    """

    def __init__(
        self, *, spec: MediaSpec, timeout_s: float, memory_bytes: int, faults_on: bool
    ) -> None:
        self.n_jobs = 0
        self._spec = spec
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._config: dict[str, object] = {
            "spec": asdict(spec),
            "timeout_s": int(timeout_s) + 1,
            "patience_s": int(timeout_s * _PATIENCE) + 1,
            "memory_bytes": memory_bytes,
            "faults": faults_on,
        }
        self._shared: mmap.mmap | None = None
        self._process: Forked | None = None
        self._is_struck = False
        self._lock = threading.Lock()  # `strike` comes from another thread

    def load(self, found: Found) -> Loaded:
        """Have one file decoded; a child that died of listening is asked once more without it.

        Args:
            found: the file.

        Returns:
            The decoded file.

        Raises:
            BadMediaError: it cannot be used, or it cost the child its life.
            CrossfindError: no child can be started (`workers_unavailable`).
        """
        try:
            return self._ask(found, listens=True)
        except BadMediaError as error:
            if not self._spec.speech or error.code not in _DEATHS:
                raise
        loaded = self._ask(found, listens=False)
        return replace(loaded, flags=tuple(sorted({*loaded.flags, UNHEARD_FLAG})))

    def _ask(self, found: Found, *, listens: bool) -> Loaded:
        process = self._process or self._start()
        self.n_jobs += 1
        pipe = _Pipe(process, limit_s=self._timeout_s)
        try:
            pipe.write(pack_job(found, listens=listens))
            return read_reply(pipe.read_into, spec=self._spec, shared=self._shared)
        except BadMediaError as error:
            if error.code != "decoder_memory":
                raise
            self.end()  # its heap is in shreds
            raise self._too_big(found) from error
        except TimeoutError as error:
            self.end()
            raise self._too_slow(found) from error
        except (WireError, EOFError, BrokenPipeError) as error:
            raise self._bury(process, found, error) from error

    def end(self) -> None:
        """End the process and close its pipes; the next `load` starts another.

        Only for the thread that calls `load`: another could close a pipe that is being read.
        """
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout_s=_END_TIMEOUT_S)
            process.close()
            if self._shared is not None:
                self._shared.close()
            self._shared = None

    def strike(self) -> None:
        """Kill the process from any thread, for good; a `load` that waits fails at once."""
        with self._lock:
            self._is_struck = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> Forked:
        shared = self._share()
        try:
            process = FORKS.fork(shared=shared)
        finally:
            if shared is not None:
                os.close(shared)
        with self._lock:
            self._process, self.n_jobs = process, 0
            if self._is_struck:  # between the start and here
                process.kill()
        pipe = _Pipe(process, limit_s=_START_TIMEOUT_S)
        _widen(pipe.out)
        try:
            pipe.write(pack_header(self._config))
            read_header(pipe.read_into)
        except (WireError, EOFError, BrokenPipeError, TimeoutError) as error:
            self.end()
            raise no_child(f"{error}" or "the new process ended at once") from error
        return process

    def _share(self) -> int | None:
        """Make fresh memory that the next child will share; None where the system has none.

        Without it, pixels travel through the pipe. A limit on file sizes counts it as a file.
        """
        if not hasattr(os, "memfd_create"):
            return None
        descriptor = os.memfd_create("crossfind")
        try:
            os.ftruncate(descriptor, SHARED_BYTES)
            self._shared = mmap.mmap(descriptor, SHARED_BYTES)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _bury(self, process: Forked, found: Found, error: Exception) -> BadMediaError:
        """Say what a child died of. One that is still alive lied, and dies now."""
        alive = isinstance(error, WireError)
        try:
            status = 0 if alive else process.wait(timeout_s=1)
        except TimeoutError:
            status = 0
        self.end()
        if status in (-signal.SIGALRM, -signal.SIGXCPU):
            return self._too_slow(found)
        if status == -signal.SIGKILL:  # not ours: the system ran out of memory
            return self._too_big(found)
        how = signal.Signals(-status).name if status < 0 else f"exit {status}"
        how = "an impossible answer" if alive else how
        return BadMediaError(
            f"{found.path}: the decoder crashed on it ({how}); other files are not affected: "
            "re-encode this one or leave it out",
            code="decoder_crashed",
        )

    def _too_slow(self, found: Found) -> BadMediaError:
        return BadMediaError(
            f"{found.path}: decoding took longer than the limit of {self._timeout_s:g} s and was "
            "stopped; re-encode the file or leave it out",
            code="decoder_timeout",
        )

    def _too_big(self, found: Found) -> BadMediaError:
        return BadMediaError(
            f"{found.path}: decoding needs more memory than the limit of "
            f"{self._memory_bytes / (1 << 30):.1f} GiB; make the file smaller or leave it out",
            code="decoder_memory",
        )


class _Pipe:
    """Both pipes of a child, with one limit of time.

    Time in which the child could run and got no core does not count, up to `_PATIENCE` limits: a
    busy machine is no fault of the file.
    """

    def __init__(self, process: Forked, *, limit_s: float) -> None:
        self._in, self.out = process.stdin, process.stdout
        self._pid, self._limit_s = process.pid, limit_s
        self._started_s, self._queued_s = time.monotonic(), _queued_s(process.pid)

    def write(self, data: bytes) -> None:
        # A job is shorter than a pipe, and the child is waiting for it: this never blocks.
        view = memoryview(data)
        while view:
            view = view[os.write(self._in, view) :]

    def read_into(self, view: memoryview) -> None:
        poll = select.poll()
        poll.register(self.out, select.POLLIN)
        while view:
            if not poll.poll(self._left_ms()):
                continue
            n_read = os.readv(self.out, [view])
            if n_read == 0:
                raise EOFError
            view = view[n_read:]

    def _left_ms(self) -> float:
        spent_s = time.monotonic() - self._started_s
        if spent_s >= self._limit_s:
            queued_s = _queued_s(self._pid) - self._queued_s
            spent_s -= min(queued_s, (_PATIENCE - 1) * self._limit_s)
            if spent_s >= self._limit_s:
                raise TimeoutError
        return max(1.0, (self._limit_s - spent_s) * 1000)


def _queued_s(pid: int) -> float:
    """Tell how long a process has waited for a core in its life; 0 where nobody counts."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _widen(descriptor: int) -> None:
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # not Linux, or the user's share is used up: slower, not wrong
