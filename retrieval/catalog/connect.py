"""Database connections, and what SQLite must be told so that a commit survives power loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from retrieval.errors import (
    CatalogDamagedError,
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


_POOL_SIZE = 40


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
        # One writer and short reads: a small pool, and a check that a connection still lives.
        driver = "postgresql+psycopg" if parsed.drivername == "postgresql" else parsed.drivername
        try:
            return sa.create_engine(parsed.set(drivername=driver), pool_pre_ping=True, pool_size=4)
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
    # A server reads in as many threads: a connection beyond the pool would be opened each time.
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
    """Open one write transaction; it commits at the end, or changes nothing."""
    with (
        translated(engine),
        engine.connect().execution_options(write=True) as connection,
        connection.begin(),
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


def _ours(engine: sa.Engine, error: exc.DBAPIError) -> CrossfindError:
    where = engine.url.render_as_string()
    text = str(error.orig).splitlines()[0] if str(error.orig) else type(error.orig).__name__
    lowered = text.lower()
    if any(sign in lowered for sign in _DAMAGE):
        return _damaged(engine, text)
    if "permission denied" in lowered:
        return UsageError(
            f"the user of catalog {where} lacks rights ({text}); as its owner run: "
            "GRANT ALL ON SCHEMA public, GRANT ALL ON ALL TABLES IN SCHEMA public",
            code="catalog_rights",
        )
    if "locked" in lowered:
        return LockedError(
            f"catalog {where} stayed locked for 30 s ({text}); try again", code="catalog_locked"
        )
    if "full" in lowered:
        return StorageError(
            f"no space left for catalog {where} ({text}); free some and run again", code="disk_full"
        )
    if "readonly" in lowered or "read-only" in lowered:
        return StorageError(f"catalog {where} cannot be written ({text})", code="disk_read_only")
    return StorageError(f"catalog {where} failed: {text}", code="catalog_error")


def _damaged(engine: sa.Engine, what: str) -> CatalogDamagedError:
    return CatalogDamagedError(
        f"catalog {engine.url.render_as_string()} is damaged ({what}); restore it from a backup, "
        "or move it away and build again"
    )
