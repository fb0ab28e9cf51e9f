"""The error tree, from its root.

    CrossfindError                    something crossfind refuses or could not do
    ├── InputError                    an argument is wrong (dtype, shape, k, ids)           exit 2
    ├── StorageError                  the disk said no                                      exit 6
    ├── DamagedError                  bytes on disk are not what was written                exit 4
    ├── TooNewError                   a file was written by a newer crossfind               exit 2
    ├── LockedError                   another process is writing                            exit 5
    ├── UnreachableError              an index server does not answer                       exit 6
    └── BackendMissingError           an optional package is not installed                  exit 2

`retrieval.errors` grows the branches that need media, models and catalogs.
"""

from __future__ import annotations

from typing import ClassVar


class CrossfindError(Exception):
    """Be the root of every error that crossfind raises on purpose.

    The message is one line: what failed, which value, which limit, what to do next.

    Attributes:
        code: stable, snake_case; what scripts and tests compare.
        exit_code: what the command line exits with.
        http_status: what the server answers with.

    Example:
        >>> error = InputError("k is 0; it must be at least 1", code="bad_k")
        >>> error.code, error.exit_code
        ('bad_k', 2)
    """

    default_code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class InputError(CrossfindError):
    """An argument is outside its limits."""

    default_code = "bad_input"
    exit_code = 2
    http_status = 422


class StorageError(CrossfindError):
    """A write did not reach the disk; what was there before still serves."""

    default_code = "disk_error"
    exit_code = 6
    http_status = 507


class DamagedError(CrossfindError):
    """Bytes on disk differ from what was written."""

    default_code = "damaged"
    exit_code = 4


class TooNewError(CrossfindError):
    """A file has a format version this crossfind does not know."""

    default_code = "store_too_new"
    exit_code = 2


class LockedError(CrossfindError):
    """Another process holds the writer lock."""

    default_code = "store_locked"
    exit_code = 5
    http_status = 503


class UnreachableError(CrossfindError):
    """A server that holds an index does not answer, or refuses."""

    default_code = "index_unreachable"
    exit_code = 6
    http_status = 503


class BackendMissingError(CrossfindError):
    """An optional package is needed and absent; the message names the extra."""

    default_code = "backend_missing"
    exit_code = 2
