"""The error tree of the retrieval package; root and storage branches come from `index.errors`.

CrossfindError
├── UsageError            wrong option, path or query                     exit 2
│   └── NotFoundError     no such store, item or model                    exit 2
├── BadMediaError         one file cannot be used; the run goes on        exit 3
├── CatalogDamagedError   the catalog is not what was written             exit 4
├── BusyError             more is asked for at once than can be done       exit 5
├── ModelError            model absent, unsafe, altered or mismatched     exit 7
├── StoppedError          the user stopped the run; it can be resumed     exit 130
│   └── TerminatedError   the system did                                  exit 143
└── (index.errors)        InputError StorageError DamagedError TooNewError LockedError
                          UnreachableError BackendMissingError
    └── (Unreachable) ConnectionLostError   the catalog's server is away  exit 6
"""

from __future__ import annotations

from index.errors import (
    BackendMissingError,
    CrossfindError,
    DamagedError,
    InputError,
    LockedError,
    StorageError,
    TooNewError,
    UnreachableError,
)

__all__ = [
    "BackendMissingError",
    "BadMediaError",
    "BusyError",
    "CatalogDamagedError",
    "ConnectionLostError",
    "CrossfindError",
    "DamagedError",
    "InputError",
    "LockedError",
    "ModelError",
    "NotFoundError",
    "StoppedError",
    "StorageError",
    "TerminatedError",
    "TooNewError",
    "UnreachableError",
    "UsageError",
]


class UsageError(CrossfindError):
    """The command or call cannot be carried out as it stands."""

    default_code = "usage"
    exit_code = 2
    http_status = 422


class NotFoundError(UsageError):
    """A named store, item or model does not exist."""

    default_code = "not_found"
    http_status = 404


class BadMediaError(CrossfindError):
    """One file cannot be used; `code` says why (see README, "Files that are skipped")."""

    default_code = "bad_media"
    exit_code = 3
    http_status = 422


class ConnectionLostError(UnreachableError):
    """The server of the catalog does not answer; what was being written was not."""

    default_code = "catalog_unreachable"


class BusyError(CrossfindError):
    """More is asked for at once than can be done; the same again, a little later, is fine."""

    default_code = "busy"
    exit_code = 5
    http_status = 503


class CatalogDamagedError(DamagedError):
    """The catalog cannot be read as a crossfind catalog; it is never recreated over."""

    default_code = "catalog_damaged"


class ModelError(CrossfindError):
    """A model is absent, unsafe, altered, or not the one the store was built with."""

    default_code = "model_unavailable"
    exit_code = 7
    http_status = 503


class StoppedError(CrossfindError):
    """The run was stopped; everything acknowledged is kept and the same command resumes it."""

    default_code = "stopped"
    exit_code = 130
    http_status = 503


class TerminatedError(StoppedError):
    """As StoppedError, by SIGTERM."""

    exit_code = 143
