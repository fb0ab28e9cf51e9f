"""Bring a catalog to the newest schema, or refuse one that is newer."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa

from retrieval.catalog import fulltext
from retrieval.catalog.schema import Base
from retrieval.catalog.turns import take_commit
from retrieval.errors import CatalogDamagedError, TooNewError

_log = logging.getLogger(__name__)

# The numbered migrations, oldest first. Alembic knows them too, but importing Alembic costs
# more than a whole search; it is imported only when there is something to migrate.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")


def current_revision(connection: sa.Connection) -> str | None:
    """Read the schema's revision; None for an empty database.

    Raises:
        CatalogDamagedError: there are tables, but no revision among them.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if "alembic_version" in tables:
        row = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return None if row is None else str(row)
    if tables & {"store", "files", "items"}:
        raise CatalogDamagedError(
            "the catalog has tables but no schema revision; restore it from a backup"
        )
    return None


def migrate(engine: sa.Engine, *, backup: Path | None) -> None:
    """Apply the missing migrations in one transaction; make an empty database what they make.

    Args:
        engine: of the catalog.
        backup: where a copy of an older SQLite catalog is put first; None for none.

    Raises:
        TooNewError: the schema is newer than this crossfind; nothing is changed.
    """
    with engine.connect() as connection:
        found = current_revision(connection)
    if found == REVISIONS[-1]:
        return
    if found is not None and found not in REVISIONS:
        raise TooNewError(
            f"the catalog has schema {found}; this crossfind knows up to {REVISIONS[-1]}; "
            "upgrade crossfind"
        )
    if found is not None and backup is not None:
        copy_sqlite(engine, backup)
        _log.info("catalog of schema %s copied to %s before migrating", found, backup)
    _upgrade(engine)


def _upgrade(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # another process may have begun to: it goes first
            take_commit(connection)
        if current_revision(connection) is None:
            _create(connection)
        else:
            _apply(connection)


def _create(connection: sa.Connection) -> None:
    """Make all tables at once, in less than half the time that the migrations take.

    Source: Alembic's cookbook, "Building an Up to Date Database from Scratch".
    """
    Base.metadata.create_all(connection, checkfirst=False)
    fulltext.create(connection)
    version = sa.Table(
        "alembic_version",
        sa.MetaData(),
        sa.Column("version_num", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    )
    version.create(connection)
    connection.execute(version.insert().values(version_num=REVISIONS[-1]))


def _apply(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def copy_sqlite(engine: sa.Engine, target: Path) -> None:
    """Copy a live SQLite database through its own backup interface."""
    import sqlite3

    with engine.connect() as connection, sqlite3.connect(target) as copy:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(copy)
    copy.close()
