"""The child of `Loader`: decodes one file after the other under hard limits, and may die of any.

Forked by `fork_server.py`, in a clean environment; talks over its standard input and output. It
imports no torch, faiss or SQL.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
from dataclasses import replace

from retrieval.errors import BadMediaError
from retrieval.media.load import load_file
from retrieval.media.scan import Found
from retrieval.media.wire import SHARED_BYTES, pack_header, pack_loaded, read_header, unpack_job
from retrieval.types import MediaSpec

SHARED_FD = 3
"""Descriptor of the memory shared with the parent."""

_MAX_OPEN_FILES = 64
_NICE = 10  # the encoder's threads wait for each other: a decoder must not hold one of them up
_SPARE_S = 5  # the parent's clock strikes first; ours is for a parent that is gone

Buffers = list[bytes | memoryview]


def main(*, shares: bool) -> None:
    """Serve jobs until the parent closes the pipe.

    Args:
        shares: pixels go through memory shared with the parent, given as `SHARED_FD`.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.nice(_NICE)
    out = _claim_stdout()
    config = read_header(_read_into)
    spec = MediaSpec(**config["spec"])  # type: ignore[arg-type]
    timeout_s = int(config["timeout_s"])  # type: ignore[call-overload]
    patience_s = int(config["patience_s"])  # type: ignore[call-overload]
    memory_bytes = int(config["memory_bytes"])  # type: ignore[call-overload]
    faults_on = config["faults"] is True
    shared = mmap.mmap(SHARED_FD, SHARED_BYTES) if shares else None
    _limit(memory_bytes)
    _write(out, [pack_header({"ready": True})])
    while True:
        try:
            job, listens = unpack_job(read_header(_read_into))
        except EOFError:
            return
        _limit_time(timeout_s + _SPARE_S, by_clock_s=patience_s + _SPARE_S)
        wanted = spec if listens else replace(spec, speech="")
        _write(out, _answer(job, spec=wanted, shared=shared, faults_on=faults_on))
        signal.alarm(0)


def _answer(job: Found, *, spec: MediaSpec, shared: mmap.mmap | None, faults_on: bool) -> Buffers:
    # Anything but these two ends the child: the parent reports `decoder_crashed` and goes on.
    try:
        if faults_on:
            from retrieval.media.faults import misbehave

            lie = misbehave(job.path)
            if lie is not None:
                return [lie]
        return pack_loaded(load_file(job, spec=spec), shared=shared)
    except BadMediaError as error:
        return [pack_header({"bad": [error.code, str(error)]})]
    except MemoryError:
        return [pack_header({"bad": ["decoder_memory", ""]})]


def _claim_stdout() -> int:
    """Keep the pipe for ourselves, so that a chatty library cannot write into it."""
    out = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return out


def _limit(memory_bytes: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (value, value))


def _limit_time(seconds: int, *, by_clock_s: int) -> None:
    signal.alarm(by_clock_s)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_s = int(usage.ru_utime + usage.ru_stime)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (used_s + seconds, hard))


def _read_into(view: memoryview) -> None:
    while view:
        n_read = os.readv(0, [view])
        if n_read == 0:
            raise EOFError
        view = view[n_read:]


def _write(descriptor: int, buffers: Buffers) -> None:
    for buffer in buffers:
        view = memoryview(buffer)
        while view:
            view = view[os.write(descriptor, view) :]
