"""How bytes reach the disk so that nothing half-written is ever seen, and who may write.

The order of `publish` is the whole trick: create in tmp/, write all, fsync the
file, rename, fsync the directory. A kill between any two steps leaves either nothing or the
complete file. Each step has a failpoint on both sides, so tests can die exactly there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from index.errors import LockedError, StorageError

CHUNK_BYTES = 1 << 20

PUBLISH_STEPS = ("create", "write", "fsync", "rename", "fsync_dir")
PUBLISH_FAILPOINTS = tuple(
    f"publish.{step}.{side}" for step in PUBLISH_STEPS for side in ("before", "after")
)

NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs"}
    | {"fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs"}
)

_failpoint_hits: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Die here, as if by kill -9, when the environment asks for it; otherwise do nothing.

    `CROSSFIND_FAILPOINT=name` dies at the first pass, `name:3` at the third.

    Args:
        name: of this place, e.g. `publish.rename.after`.

    Example:
        >>> failpoint("publish.rename.after")
    """
    wanted = os.environ.get("CROSSFIND_FAILPOINT")
    if wanted is None:
        return
    wanted_name, _, count = wanted.partition(":")
    if wanted_name != name:
        return
    _failpoint_hits[name] = _failpoint_hits.get(name, 0) + 1
    if _failpoint_hits[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def publish(target: Path, *, tmp: Path, write: Callable[[BinaryIO], None]) -> str:
    """Make a complete, durable file appear at `target`, or nothing.

    Args:
        target: final path; its directory exists and is on the file system of `tmp`.
        tmp: directory for the partial file.
        write: called once with a binary stream to write the contents to.

    Returns:
        SHA-256 of what was written, as 64 hex digits.

    Raises:
        StorageError: the disk is full (`disk_full`), cannot be written (`disk_read_only`) or
            failed otherwise (`disk_error`). The partial file is gone; nothing was published
            unless the very last step, the fsync of the directory, is what failed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sha256 = publish(Path(folder, "a"), tmp=Path(folder), write=lambda f: f.write(b"x"))
        ...     sha256 == hash_file(Path(folder, "a"))
        True
    """
    partial = tmp / f"{target.name}.{uuid.uuid4().hex}.part"
    try:
        with _step("create"):
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            sink = _HashingSink(fd)
            with _step("write"):
                write(cast(BinaryIO, sink))
            with _step("fsync"):
                _fsync(fd)
        finally:
            os.close(fd)
        with _step("rename"):
            os.rename(partial, target)
        with _step("fsync_dir"):
            fsync_dir(target.parent)
    except OSError as error:
        raise storage_error(error, doing=f"write {target}") from error
    finally:
        # After the rename there is nothing here any more; before it, half a file of no use, which
        # the next writer deletes where this one cannot: it must not hide what went wrong.
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return sink.sha256


@contextmanager
def _step(name: str) -> Iterator[None]:
    failpoint(f"publish.{name}.before")
    yield
    failpoint(f"publish.{name}.after")


class _HashingSink(io.RawIOBase):
    """A write-only stream that hashes what it writes and never writes half a buffer."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # any buffer, as io says
        self._hash.update(view)
        written = 0
        while written < len(view):  # write(2) may take less than it is given
            written += os.write(self._fd, view[written:])
        return len(view)


def _fsync(fd: int) -> None:
    """Reach the platters. A failed fsync is never retried: Linux drops the dirty pages it could
    not write and a second call reports success (https://lwn.net/Articles/752063/)."""
    full_fsync = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync stops at the drive's cache
    if full_fsync is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full_fsync)


def fsync_dir(path: Path) -> None:
    """Make the names in a directory durable.

    Args:
        path: an existing directory.

    Raises:
        OSError: the disk refused.

    Example:
        >>> fsync_dir(Path("."))
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _fsync(fd)
    finally:
        os.close(fd)


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file, as `sha256sum` prints it.

    Args:
        path: an existing file.

    Returns:
        64 hex digits.

    Raises:
        StorageError: the file cannot be read.

    Example:
        >>> len(hash_file(Path(__file__)))
        64
    """
    with storing(f"read {path}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def storage_error(error: OSError, *, doing: str) -> StorageError:
    """Translate what the operating system said into one of our three codes.

    Args:
        error: as caught.
        doing: verb and path, e.g. `write /store/a.seg`.

    Returns:
        The error to raise, `from error`.

    Example:
        >>> storage_error(OSError(errno.ENOSPC, "No space left"), doing="write a.seg").code
        'disk_full'
    """
    said = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice, code = "free some space, then run the same command again", "disk_full"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        advice, code = "check the permissions and that the disk is writable", "disk_read_only"
    else:
        advice, code = "check the disk, then run the same command again", "disk_error"
    return StorageError(f"could not {doing}: {said}; {advice}", code=code)


@contextmanager
def storing(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into ours.

    Args:
        doing: verb and path, e.g. `write /store/a.seg`.

    Raises:
        StorageError: instead of an OSError, see `storage_error`.

    Example:
        >>> with storing("open the door"):
        ...     raise OSError(errno.ENOSPC, "No space left")
        Traceback (most recent call last):
            ...
        index.errors.StorageError: could not open the door: No space left; ...
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing=doing) from error


class WriterLock:
    """Hold the right to write a store, for as long as this process lives.

    The kernel's flock is the lock and dies with its holder, even by kill -9; the text inside the
    file only serves the message that another writer is shown. The file is never removed:
    unlinking it would let two processes lock two files of the same name.

    Args:
        path: of the lock file; made if absent.

    Raises:
        LockedError: on entering, when another process (or this one) holds it.
        StorageError: on entering, when the file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, WriterLock(Path(folder, "LOCK")) as lock:
        ...     lock.held
        True
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Tell whether this object holds the lock now."""
        return self._fd is not None

    def __enter__(self) -> WriterLock:
        if self._fd is not None:
            raise LockedError(f"{self._path} is already held by this very lock object")
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(error, doing=f"open the lock {self._path}") from error
        try:
            self._lock(fd)
            self._fd = fd
        finally:
            if self._fd is None:
                os.close(fd)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)  # closing the only descriptor releases the flock

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, describe_this_process().encode("utf-8", "backslashreplace"), 0)
        except BlockingIOError as error:
            holder = _printable(os.pread(fd, 400, 0)) or "a process that left no name"
            raise LockedError(
                f"{self._path.parent} is being written by {holder}; wait until it ends or stop it "
                "(the lock goes with the process), then run the same command again"
            ) from error
        except OSError as error:
            raise storage_error(error, doing=f"take the lock {self._path}") from error


def describe_this_process() -> str:
    """Say who holds a lock, for the message that another process shows.

    Example:
        >>> describe_this_process().startswith(f"pid {os.getpid()} on host ")
        True
    """
    # Only the program and its command: later arguments may hold a secret or a long list.
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"
    return f"pid {os.getpid()} on host {socket.gethostname()} ({command})"


def _printable(raw: bytes) -> str:
    """Show what another process wrote without letting it drive the terminal."""
    text = raw.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()


def is_network_filesystem(path: Path, *, mounts: Path = Path("/proc/mounts")) -> bool:
    """Tell whether a path lies on a network file system, where locks and fsync may lie.

    Args:
        path: existing or not.
        mounts: the kernel's list; where there is none (not Linux) the answer is False.

    Example:
        >>> is_network_filesystem(Path("/"), mounts=Path("/nonexistent"))
        False
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    where = path.resolve()
    best_length, best_type = -1, ""
    for line in lines:
        _, mount_point, filesystem, *_ = line.split(" ")
        mounted_at = Path(_unescape(mount_point))
        # Of equal mount points the later line lies on top of the earlier one.
        if where.is_relative_to(mounted_at) and len(mounted_at.parts) >= best_length:
            best_length, best_type = len(mounted_at.parts), filesystem
    return best_type in NETWORK_FILESYSTEMS


def _unescape(mount_point: str) -> str:
    for char in " \t\n\\":
        mount_point = mount_point.replace(f"\\{ord(char):03o}", char)
    return mount_point
