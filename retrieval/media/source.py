"""Open a file that may be anything, hash it, and notice when it changes under our hands."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from retrieval.errors import BadMediaError
from retrieval.media.kinds import HEAD_BYTES
from retrieval.media.scan import os_failure

SMALL_BYTES = 64 << 20
"""Files up to this size are read once, into memory; larger ones are streamed."""
SAMPLED_HASH_BYTES = 4 << 30
"""Larger files are hashed by samples: reading 200 GB would take minutes (flag `sampled_hash`)."""

_BLOCK = 1 << 20
_N_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Source:
    """An open, hashed, regular file.

    Attributes:
        file: positioned anywhere; decoders seek.
        data: all its bytes, or None where it is larger than `SMALL_BYTES`.
        head: its first `HEAD_BYTES` bytes.
        content_hash: SHA-256, hex.
        stamp: fstat before reading.
        is_sampled: the hash covers the size and samples only.
    """

    file: io.BufferedReader
    data: bytes | None
    head: bytes
    content_hash: str
    stamp: os.stat_result
    is_sampled: bool


class ChangedError(Exception):
    """The file's stamp after reading differs from the one before."""


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open a file for decoding and check on leaving that it stayed the same.

    Args:
        path: absolute; links are not followed and nothing that could block is opened.

    Yields:
        The open file with its hash.

    Raises:
        BadMediaError: `vanished`, `unreadable`, `symlink_not_followed`, `not_regular_file`,
            `empty_file`.
        ChangedError: it was written to meanwhile; also raised in place of an error of the body,
            because half-written bytes explain any error.
    """
    with _open_regular(path) as file:
        before = os.fstat(file.fileno())
        try:
            yield _read(file, before)
        except (BadMediaError, OSError):
            _check_same(before, os.fstat(file.fileno()))
            raise
        _check_same(before, os.fstat(file.fileno()))


def read_small(path: str, *, limit_bytes: int) -> bytes:
    """Read the beginning of a small regular file, such as a caption.

    Args:
        path: absolute.
        limit_bytes: the most that is read.

    Returns:
        Its first `limit_bytes` bytes.

    Raises:
        BadMediaError: as for `open_source`.
    """
    with _open_regular(path) as file:
        return file.read(limit_bytes)


def _open_regular(path: str) -> io.BufferedReader:
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _open_error(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular()
    return os.fdopen(descriptor, "rb")


def _open_error(error: OSError) -> BadMediaError:
    if error.errno == errno.ELOOP:
        return BadMediaError(
            "it has become a symbolic link; links are not followed: name its target instead",
            code="symlink_not_followed",
        )
    if error.errno in (errno.ENXIO, errno.ENODEV):
        return _not_regular()
    failure = os_failure("the file", error)
    return BadMediaError(failure.reason, code=failure.code)


def _not_regular() -> BadMediaError:
    return BadMediaError(
        "it is a pipe, socket, device or system file; only regular files can be added",
        code="not_regular_file",
    )


def _read(file: io.BufferedReader, stamp: os.stat_result) -> Source:
    try:
        if stamp.st_size == 0 and file.read(1):
            raise _not_regular()  # /proc and /sys: no size, yet something to read
        if stamp.st_size <= SMALL_BYTES:
            data = file.read(SMALL_BYTES + 1)
            digest = hashlib.sha256(data).hexdigest()
            return Source(file, data, data[:HEAD_BYTES], digest, stamp, is_sampled=False)
        head = file.read(HEAD_BYTES)
        file.seek(0)
        sampled = stamp.st_size > SAMPLED_HASH_BYTES
        digest = _hash_samples(file, stamp.st_size) if sampled else _hash_all(file)
    except OSError as error:
        raise _open_error(error) from error
    return Source(file, None, head, digest, stamp, is_sampled=sampled)


def _hash_all(file: io.BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_samples(file: io.BufferedReader, size_bytes: int) -> str:
    digest = hashlib.sha256(f"sampled {size_bytes}".encode())
    for position in range(_N_SAMPLES):
        file.seek((size_bytes - _BLOCK) * position // (_N_SAMPLES - 1))
        digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _check_same(before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ChangedError
