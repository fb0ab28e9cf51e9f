"""Meeting one fault in a fork: everything is imported once, only the step that suffers is traced.

A fork waits on a pipe until strace has attached to it, lives one step, and leaves with what the
command line would have left with. So a fault costs a tenth of a second and not two.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

from retrieval.errors import CrossfindError

INTERNAL_ERROR = 1
_PR_SET_PTRACER = 0x59616D61
_ANYBODY = -1


def in_fork(
    job: Callable[[], None], *, strace: tuple[str, ...] = (), kill_after_s: float | None = None
) -> int:
    """Do a job in a fork of this process, under strace where options are given.

    Args:
        job: what to do; an error of ours ends the fork with its exit code.
        strace: e.g. `("-e", "inject=write:signal=KILL:when=3")`.
        kill_after_s: when to send SIGKILL; None for never.

    Returns:
        The exit status, negative for a signal, as `subprocess` has it.
    """
    wait_fd, release_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release_fd)
        _live(job, wait_fd)
    os.close(wait_fd)
    tracer = _attach(pid, strace) if strace else None
    os.close(release_fd)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)  # of no effect where it has ended
    _, status = os.waitpid(pid, 0)
    if tracer is not None:
        tracer.communicate(timeout=60)
    return os.waitstatus_to_exitcode(status)


def _live(job: Callable[[], None], wait_fd: int) -> None:
    """Be the fork: wait, do, end; never return."""
    code = INTERNAL_ERROR
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANYBODY), 0, 0, 0)
        os.read(wait_fd, 1)
        job()
        code = 0
    except CrossfindError as error:
        code = error.exit_code
    except BaseException:  # whatever it is, this process ends here
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _attach(pid: int, options: tuple[str, ...]) -> subprocess.Popen[str]:
    tracer = subprocess.Popen(
        ["strace", "-p", str(pid), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()  # the fork is stopped before this line is written
    if "attached" not in said:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(f"strace could not attach: {said}")
    return tracer
