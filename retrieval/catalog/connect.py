"""Database connections, and what SQLite must be told so that a commit survives power loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from index.storage import describe_this_process
from retrieval.catalog import turns
from retrieval.catalog.turns import committing
from retrieval.errors import (
    CatalogDamagedError,
    ConnectionLostError,
    CrossfindError,
    LockedError,
    StorageError,
    UsageError,
)

# TRUNCATE + FULL lost none of 157 worst-case power-loss states; WAL + NORMAL and DELETE did.
_PRAGMAS = (
    "journal_mode=TRUNCATE",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=30000",
    "trusted_schema=OFF",
    "cell_size_check=ON",
)

# A server reads in as many threads: a connection beyond the pool would be opened each time.
_POOL_SIZE = 40
# PostgreSQL's server has 100 connections for everybody: few are kept, more opened when needed.
_PG_POOL = {"pool_size": 8, "max_overflow": 32, "pool_timeout": turns.WAIT_S, "pool_recycle": 1800}
# What the URL does not say. A server that has gone silent is noticed within a minute.
_PG_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def connect(url: str) -> sa.Engine:
    """Make the engine of a catalog.

    Args:
        url: any SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        UsageError: not a URL of a database crossfind knows (`bad_catalog_url`).
    """
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise UsageError(
            f"catalog URL {url!r} is not a SQLAlchemy URL", code="bad_catalog_url"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        driver = "postgresql+psycopg" if parsed.drivername == "postgresql" else parsed.drivername
        own = {**_PG_CONNECTION, "application_name": describe_this_process()[:63]}
        own = {name: value for name, value in own.items() if name not in parsed.query}
        try:
            return sa.create_engine(
                parsed.set(drivername=driver), pool_pre_ping=True, connect_args=own, **_PG_POOL
            )
        except ModuleNotFoundError as error:
            raise UsageError(
                f"a PostgreSQL catalog needs {error.name}: pip install 'crossfind[postgres]'",
                code="backend_missing",
            ) from error
    if backend != "sqlite":
        raise UsageError(
            f"catalog URL names {backend}; crossfind keeps its catalog in sqlite or postgresql",
            code="bad_catalog_url",
        )
    engine = sa.create_engine(parsed, pool_size=_POOL_SIZE)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_url(path: Path) -> str:
    """Write the URL of a SQLite file.

    Example:
        >>> sqlite_url(Path("/a/catalog.sqlite"))
        'sqlite:////a/catalog.sqlite'
    """
    return sa.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # Any: the driver's own object
    # The driver must not begin transactions by itself; `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its lock at once: two writers that both began reading would deadlock.
    mode = "IMMEDIATE" if connection.get_execution_options().get("write") else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {mode}")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open one read transaction: everything read in it belongs to one generation."""
    with translated(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open one write transaction; it commits at the end, or changes nothing.

    Raises:
        ConnectionLostError: a server went away before the commit; nothing was written.
        StorageError: it went away during the commit and cannot say what became of it
            (`commit_unknown`).
    """
    with (
        translated(engine),
        engine.connect().execution_options(write=True) as connection,
        connection.begin() if engine.dialect.name == "sqlite" else committing(connection),
    ):
        yield connection


@contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """Turn database errors into ours."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _ours(engine, error) from error
    except UnicodeDecodeError as error:  # SQLite's own words about a name that is no text
        raise _damaged(engine, str(error)) from error


# What SQLite says of a file whose bytes are not what it wrote.
_DAMAGE = (
    "not a database", "malformed", "no such table", "no such column", "no such module",
    "unsupported file format", "could not decode", "disk image", "corrupt",
)  # fmt: skip


# What other errors say of themselves: their signs, ours, its code, and what to do.
_SAID: tuple[tuple[tuple[str, ...], type[CrossfindError], str, str], ...] = (
    (
        ("permission denied",), UsageError, "catalog_rights",
        "the user of catalog {where} lacks rights ({text}); as its owner run: "
        "GRANT ALL ON SCHEMA public, GRANT ALL ON ALL TABLES IN SCHEMA public",
    ),
    (
        ("locked", "lock timeout"), LockedError, "catalog_locked",
        "catalog {where} stayed locked for {wait_s:g} s ({text}); try again",
    ),
    (
        ("full",), StorageError, "disk_full",
        "no space left for catalog {where} ({text}); free some and run again",
    ),
    (
        ("readonly", "read-only"), StorageError, "disk_read_only",
        "catalog {where} cannot be written ({text})",
    ),
    (("",), StorageError, "catalog_error", "catalog {where} failed: {text}"),
)  # fmt: skip
_UNREACHABLE = (
    "catalog {where} cannot be reached ({text}); see that its server runs, then run the same "
    "command again"
)


def _ours(engine: sa.Engine, error: exc.DBAPIError) -> CrossfindError:
    where = engine.url.render_as_string()
    text = str(error.orig).splitlines()[0] if str(error.orig) else type(error.orig).__name__
    lowered = text.lower()
    # PostgreSQL gives each of its errors a number; the driver's own, of no connection, have none.
    if error.connection_invalidated or getattr(error.orig, "sqlstate", "") is None:
        return ConnectionLostError(_UNREACHABLE.format(where=where, text=text))
    if any(sign in lowered for sign in _DAMAGE):
        return _damaged(engine, text)
    kind, code, words = next(row[1:] for row in _SAID if any(sign in lowered for sign in row[0]))
    return kind(words.format(where=where, text=text, wait_s=turns.WAIT_S), code=code)


def _damaged(engine: sa.Engine, what: str) -> CatalogDamagedError:
    return CatalogDamagedError(
        f"catalog {engine.url.render_as_string()} is damaged ({what}); restore it from a backup, "
        "or move it away and build again"
    )
