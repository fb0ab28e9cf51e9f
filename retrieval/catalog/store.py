"""The Catalog: opened once, read by snapshot, written by one transaction at a time."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

import sqlalchemy as sa

from index.storage import publish
from retrieval.catalog import fulltext, turns
from retrieval.catalog.check import check_rows, check_structure
from retrieval.catalog.connect import connect, reading, sqlite_url, translated, writing
from retrieval.catalog.migrate import copy_sqlite, migrate
from retrieval.catalog.read import Reader
from retrieval.catalog.schema import StoreRow
from retrieval.catalog.seal import sealed
from retrieval.catalog.turns import Lease, Turn
from retrieval.catalog.write import Writer
from retrieval.errors import (
    CatalogDamagedError,
    ConnectionLostError,
    LockedError,
    StorageError,
    UsageError,
)
from retrieval.store import Store

T = TypeVar("T")
_log = logging.getLogger(__name__)
_PAUSE_S = 0.1


class Catalog:
    """The SQL side of a store.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> catalog = Catalog.open(folder / "catalog.sqlite", uuid="u", create=True)
        >>> with catalog.reading() as reader:
        ...     reader.generation()
        0
        >>> catalog.close()
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._turn: Turn | None = None
        self._lease = Lease(engine)
        self._generation = 0  # that this writer, alone, has left

    @classmethod
    def open(cls, path: Path, *, uuid: str, url: str = "", create: bool = False) -> Catalog:
        """Open a store's catalog, and bring it to the newest schema.

        Args:
            path: the SQLite file, used when `url` is empty.
            uuid: the store's identity; must equal the catalog's.
            url: SQLAlchemy URL of another database.
            create: make an empty catalog where there is none.

        Raises:
            CatalogDamagedError: missing, not a database, of another store, or with triggers or
                views (`foreign_objects`), which would run with every statement of ours.
            TooNewError: written by a newer crossfind.
        """
        if not url and not create:
            _check_file(path)
        engine = connect(url or sqlite_url(path))
        catalog = cls(engine)
        backup = None if url else path.with_name(f"{path.name}.before-migration")
        refuse_foreign(engine)
        refuse_encoding(engine)
        with translated(engine):
            migrate(engine, backup=backup)
        catalog._identify(uuid, create=create)
        return catalog

    @classmethod
    def create(cls, path: Path, *, uuid: str, tmp: Path) -> None:
        """Make an empty SQLite catalog that is complete or absent, whenever the process dies.

        Args:
            path: where it goes.
            uuid: the store's identity.
            tmp: directory for the partial file, on the same file system.
        """
        partial = tmp / f"{uuid4().hex}.sqlite"
        cls.open(partial, uuid=uuid, create=True).close()
        publish(path, tmp=tmp, write=lambda sink: _copy(partial, sink))
        with suppress(OSError):  # the next writer deletes it where this one cannot
            partial.unlink()

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open one read transaction."""
        with reading(self._engine) as connection:
            yield Reader(connection)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Open one write transaction; it commits at the end of the block, or changes nothing.

        Raises:
            ConnectionLostError: the server went away; nothing was written, see `write`.
        """
        turn = self._turn
        if turn is not None:
            with translated(self._engine):
                turn.keep()
        with writing(self._engine) as connection:
            writer = Writer(connection)
            if turn is not None and turn.alone:
                self._check_alone(writer.generation())
            yield writer
            generation = writer.generation() if turn is not None and turn.alone else 0
        self._generation = generation

    def write(self, body: Callable[[Writer], T]) -> T:
        """Run a write transaction, once more where the connection is lost before it commits.

        Args:
            body: what is written; it may be called several times, and counts once.

        Raises:
            ConnectionLostError: the server stays away.
        """
        end_s = time.monotonic() + turns.WAIT_S
        while True:
            try:
                with self.writing() as writer:
                    result = body(writer)
            except ConnectionLostError as error:
                if time.monotonic() > end_s:
                    raise
                _log.warning("%s; trying again", error)
                time.sleep(_PAUSE_S)
            else:
                return result

    @contextmanager
    def turn(self, store: Store, *, alone: bool = True) -> Iterator[bool]:
        """Hold the right to write to a store.

        SQLite: the store's lock file; who comes second is refused at once. PostgreSQL: a lock of
        the database, wherever the writers are; who comes second waits a while.

        Args:
            store: whose catalog this is.
            alone: nobody else writes meanwhile. False, on PostgreSQL: others may that are not
                alone either; each commit sees those before it.

        Yields:
            Whether nobody else writes meanwhile: then what no generation names is garbage.

        Raises:
            LockedError: somebody else writes.
        """
        if self._engine.dialect.name == "sqlite":
            with store.lock():
                yield True
            return
        with translated(self._engine):
            turn = Turn(self._engine, alone=alone)
        try:
            with self.reading() as reader:
                self._generation = reader.generation()
            self._turn = turn
            yield alone
        finally:
            self._turn = None
            turn.end()

    def lease(self, generation: int) -> None:
        """Have writers elsewhere keep the files of a generation, and of those after it.

        On SQLite nothing is to be done: a file that is open stays, though its name goes.
        """
        if self._engine.dialect.name != "sqlite":
            with translated(self._engine):
                self._lease.move(generation)

    def check_rows(self) -> tuple[int, list[str]]:
        """Count the protected rows, and name those that are not what was written."""
        n_rows, damaged = 0, []
        with reading(self._engine) as connection:
            for name, intact in check_rows(connection):
                n_rows += 1
                if not intact:
                    damaged.append(name)
        return n_rows, damaged

    def check_structure(self) -> list[str]:
        """Name what the database itself finds wrong with its tables and its index of words."""
        with reading(self._engine) as connection:
            found = check_structure(connection)
        try:
            with writing(self._engine) as connection:
                return found + fulltext.check(connection)
        except StorageError as error:
            if error.code != "disk_read_only":
                raise
            return found  # this look asks for a write transaction, though it writes nothing

    def copy_to(self, path: Path) -> None:
        """Copy an SQLite catalog as one read transaction sees it; a file there is replaced.

        Raises:
            UsageError: the catalog is not SQLite.
        """
        if self._engine.dialect.name != "sqlite":
            raise UsageError(
                "a catalog on PostgreSQL is saved with pg_dump; copy the store's folder beside it",
                code="backup_needs_sqlite",
            )
        with translated(self._engine):
            copy_sqlite(self._engine, path)

    def foreign_objects(self, *, tmp: Path) -> list[str]:
        """Name the tables, views, indexes and triggers that a new catalog would not have.

        Args:
            tmp: directory for a new catalog to compare with.
        """
        path = tmp / f"{uuid4().hex}.sqlite"
        new = Catalog.open(path, uuid="new", create=True)
        ours, theirs = (set(_objects(catalog._engine)) for catalog in (new, self))
        new.close()
        path.unlink()
        return sorted(theirs - ours)

    def close(self) -> None:
        """Close every connection."""
        self._lease.end()
        self._engine.dispose()

    def _check_alone(self, generation: int) -> None:
        """Refuse to write on where somebody else has written while the turn was lost."""
        if generation != self._generation:
            raise LockedError(
                f"catalog {self._engine.url.render_as_string()} was written by another process "
                "while the connection that held the right to write was lost; run the same command "
                "again",
                code="turn_lost",
            )

    def _identify(self, uuid: str, *, create: bool) -> None:
        own = sa.select(StoreRow.uuid)
        with reading(self._engine) as connection:
            found = connection.execute(own).scalar()
        if found is None and create:
            with writing(self._engine) as connection:
                found = connection.execute(own).scalar()  # another process may have been faster
                if found is None:
                    row = {"id": 1, "uuid": uuid, "generation": 0}
                    row |= {"next_item_id": 1, "next_part_id": 1}
                    connection.execute(sa.insert(StoreRow), [sealed(StoreRow, row)])
                    found = uuid
        if found != uuid:
            raise CatalogDamagedError(
                f"the catalog belongs to store {found}, not to {uuid}; "
                "name the right --store or CROSSFIND_CATALOG"
            )


def refuse_foreign(engine: sa.Engine) -> None:
    """Refuse an SQLite catalog in which somebody has left code.

    Raises:
        CatalogDamagedError: there are triggers or views (`foreign_objects`).
    """
    if engine.dialect.name != "sqlite":
        return
    planted = "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') LIMIT 5"
    with reading(engine) as connection:
        found = [f"{kind} {name}" for kind, name in connection.exec_driver_sql(planted)]
    if found:
        raise CatalogDamagedError(
            f"the catalog has a {', a '.join(found)}, which no crossfind makes; restore it from a "
            "backup, or drop what does not belong there",
            code="foreign_objects",
        )


def refuse_encoding(engine: sa.Engine) -> None:
    """Refuse a PostgreSQL database that cannot hold every text.

    Raises:
        UsageError: its encoding is not UTF8 (`catalog_encoding`).
    """
    if engine.dialect.name != "postgresql":
        return
    with reading(engine) as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise UsageError(
            f"the catalog's database has encoding {encoding}, which cannot hold every name and "
            "text; make one with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
            code="catalog_encoding",
        )


def _objects(engine: sa.Engine) -> list[str]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master")
        return [f"{kind} {name}: {' '.join((sql or '').split())}" for kind, name, sql in rows]


def _copy(source: Path, sink: BinaryIO) -> None:
    with source.open("rb") as file:
        shutil.copyfileobj(file, sink)


def _check_file(path: Path) -> None:
    """Refuse a catalog file that is missing or not SQLite, before SQLite makes an empty one."""
    try:
        with path.open("rb") as file:
            magic = file.read(16)
    except FileNotFoundError as error:
        raise CatalogDamagedError(
            f"{path} is missing; restore it from a backup, or delete the store and build again"
        ) from error
    # A power cut may tear the first page in mid-commit; SQLite mends it from its journal.
    journal = path.with_name(f"{path.name}-journal")
    is_torn = journal.exists() and journal.stat().st_size > 0
    if magic != b"SQLite format 3\x00" and not is_torn:
        raise CatalogDamagedError(
            f"{path} is not a SQLite database; restore it from a backup, "
            "or move the store away and build again"
        )
