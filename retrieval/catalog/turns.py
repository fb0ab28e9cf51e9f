"""Whose turn it is to write where the catalog is on PostgreSQL, and what became of a cut COMMIT.

Two advisory locks of the database, which the server itself takes back when their holder is gone:
every write transaction holds `commit` from its first statement on, so commits come one after the
other and each sees the one before; a session holds `writer` for as long as a command writes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import exc

from retrieval.errors import LockedError, StorageError

_log = logging.getLogger(__name__)

WAIT_S = 30.0
"""How long one waits for another's turn to end, and for a lost server to come back."""

_COMMIT, _WRITER = "1668444019, 1", "1668444019, 2"  # 0x63726f73 reads "cros"
_READERS = 1668444020  # and the generation that is read
_PAUSE_S = 0.1

# A server that may forget the last commits in a power cut keeps ours all the same.
_BEGIN = sa.text(
    "SELECT pg_backend_pid(), CAST(pg_current_xact_id() AS text),"
    " CASE WHEN current_setting('synchronous_commit') = 'off'"
    f" THEN set_config('synchronous_commit', 'on', true) END, pg_advisory_xact_lock({_COMMIT})"
)
# Whoever holds the transaction is dead to us: it may sit on the lock till a time-out of TCP.
_END_OTHER = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid = :pid AND backend_xid = xid(CAST(:xid AS xid8))"
)
_STATUS = sa.text("SELECT pg_xact_status(CAST(:xid AS xid8))")
_HOLDER = sa.text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid()"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (l.classid, l.objid) = (1668444019, 2) ORDER BY a.backend_start LIMIT 1"
)


_OLDEST = sa.text(
    "SELECT min(CAST(objid AS bigint)) FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid = {_READERS}"
)


@dataclass(frozen=True, slots=True)
class _Transaction:
    """What tells a transaction from all others: its number, and who runs it."""

    pid: int
    xid: str


@contextmanager
def committing(connection: sa.Connection) -> Iterator[None]:
    """Run a write transaction on PostgreSQL; it commits at the end, or changes nothing.

    Where the connection is lost during COMMIT the server is asked what became of it, by the
    transaction's own number: nothing is assumed.

    Args:
        connection: without a transaction.

    Raises:
        StorageError: the server cannot be asked (`commit_unknown`).
    """
    with connection.begin() as transaction:
        own = take_commit(connection)
        yield
        try:
            transaction.commit()
        except exc.DBAPIError as error:
            if not error.connection_invalidated or not _has_come_to_be(connection.engine, own):
                raise
            _log.warning("the connection was lost during a commit, which has come to be")


def take_commit(connection: sa.Connection) -> _Transaction:
    """Wait until no other transaction writes; the turn ends with this one."""
    _bound_waiting(connection, "SET LOCAL")
    pid, xid, *_ = connection.execute(_BEGIN).one()
    return _Transaction(int(pid), str(xid))


def _has_come_to_be(engine: sa.Engine, cut: _Transaction) -> bool:
    """Ask until an answer comes; the turn of the cut transaction is over once ours begins."""
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            with engine.connect() as connection, connection.begin():
                connection.execute(_END_OTHER, {"pid": cut.pid, "xid": cut.xid})
                take_commit(connection)
                status = connection.execute(_STATUS, {"xid": cut.xid}).scalar()
        except exc.DBAPIError as error:
            if time.monotonic() > end_s:
                raise _unknown(engine, str(error.orig).splitlines()[0]) from error
            time.sleep(_PAUSE_S)
            continue
        if status not in ("committed", "aborted"):
            raise _unknown(engine, f"it says of transaction {cut.xid}: {status}")
        return bool(status == "committed")


def _unknown(engine: sa.Engine, why: str) -> StorageError:
    return StorageError(
        f"the connection to catalog {engine.url.render_as_string()} was lost during a commit and "
        f"the server cannot say what became of it ({why}); run the same command again: it goes on "
        "from what is there",
        code="commit_unknown",
    )


def _bound_waiting(connection: sa.Connection, how: str) -> None:
    connection.exec_driver_sql(f"{how} lock_timeout = {int(WAIT_S * 1000)}")


class Turn:
    """The right to write to a catalog on PostgreSQL, held by a session of its own.

    Args:
        engine: of the catalog.
        alone: nobody else writes meanwhile; False lets others that are not alone write too.

    Raises:
        LockedError: it does not come within `WAIT_S`.
    """

    def __init__(self, engine: sa.Engine, *, alone: bool) -> None:
        self._engine = engine
        self.alone = alone
        self._session = self._take()

    def keep(self) -> None:
        """Take the turn again where its session was lost; others may have had it meanwhile."""
        try:
            self._session.exec_driver_sql("SELECT 1")
        except exc.DBAPIError:
            _log.warning("the session that held the right to write was lost; taking it again")
            self._session = self._take()

    def end(self) -> None:
        """Give the turn back."""
        _close(self._session)

    def _take(self) -> sa.Connection:
        # It leaves the pool: closing it ends the session, and the lock with it.
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        session.detach()
        shared = "" if self.alone else "_shared"
        try:
            _bound_waiting(session, "SET")
            session.exec_driver_sql(f"SELECT pg_advisory_lock{shared}({_WRITER})")
        except exc.DBAPIError as error:
            with session:
                if error.connection_invalidated:
                    raise
                raise self._refused(session) from error
        return session

    def _refused(self, session: sa.Connection) -> LockedError:
        holder = session.execute(_HOLDER).scalar() or "another session"
        return LockedError(
            f"catalog {self._engine.url.render_as_string()} is being written by {holder}; waited "
            f"{WAIT_S:g} s; wait until it ends or stop it (its turn goes with it), then run the "
            "same command again"
        )


class Lease:
    """Keep the files of a generation from the garbage of writers on other machines.

    It is a lock of a session of its own, which nobody waits for and which ends with the reader.

    Args:
        engine: of the catalog.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._session: sa.Connection | None = None
        self._held: int | None = None

    def move(self, generation: int) -> None:
        """Hold a generation, and no other any more."""
        if generation == self._held:
            return
        before, self._held = self._session, generation
        self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._session.detach()
        self._session.exec_driver_sql(f"SELECT pg_advisory_lock_shared({_READERS}, {generation})")
        _close(before)

    def end(self) -> None:
        """Hold nothing."""
        _close(self._session)
        self._session = self._held = None


def oldest_read(connection: sa.Connection) -> int | None:
    """Tell the oldest generation that a reader holds; None for none, and always on SQLite."""
    if connection.dialect.name == "sqlite":
        return None
    oldest = connection.execute(_OLDEST).scalar()
    return None if oldest is None else int(oldest)


def _close(session: sa.Connection | None) -> None:
    with suppress(exc.DBAPIError):  # it may be lost already
        if session is not None:
            session.close()
