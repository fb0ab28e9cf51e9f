"""A PostgreSQL server of our own for tests: Debian's package, a fresh cluster, a Unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    return found[-1].parent


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a server in `folder` and give the URL of an empty database.

    The server refuses to run as root, so root runs it as the user `postgres`.
    """
    binaries = _binaries()
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    prefix = as_user if os.geteuid() == 0 else []
    if prefix:
        shutil.chown(folder, "postgres", "postgres")
        for parent in (folder, *folder.parents):
            if parent.stat().st_mode & 0o001 == 0 and parent != folder:
                parent.chmod(parent.stat().st_mode | 0o001)
    data = folder / "data"
    options = ["-U", "crossfind", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
    _run([*prefix, str(binaries / "initdb"), "-D", str(data), *options])
    server = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"), "-w"]
    _run([*control, "-o", server, "start"])
    try:
        yield f"postgresql+psycopg://crossfind@/postgres?host={folder}"
    finally:
        _run([*control, "-m", "immediate", "stop"])


def fresh_database(root: str, *, like: str = "") -> str:
    """Make a database on the server of a URL, empty or a copy of another, and give its own URL."""
    name = f"d{uuid4().hex}"
    engine = sa.create_engine(root, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        copied = f" TEMPLATE {sa.make_url(like).database}" if like else ""
        connection.exec_driver_sql(f"CREATE DATABASE {name}{copied}")
    engine.dispose()
    return sa.make_url(root).set(database=name).render_as_string(hide_password=False)


def _run(command: list[str]) -> None:
    # The server inherits the pipes, so they go nowhere: reading them would wait for its end.
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, cwd="/", stdout=quiet, stderr=quiet)
