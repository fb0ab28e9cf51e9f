"""PostgreSQL that cannot be a catalog, or goes away (rows D8, D9; run with -m postgres)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import sqlalchemy as sa
from colour_media import make_media
from postgres import postgres

from retrieval.catalog.records import Batch
from retrieval.catalog.write import Writer
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import CrossfindError, UsageError

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pg") as folder, postgres(Path(folder)) as found:
        engine = sa.create_engine(found, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE ROLE guest LOGIN")
            connection.exec_driver_sql(
                "CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
            )
        engine.dispose()
        yield found


def refusal(url: str, store: Path) -> UsageError:
    settings = load_settings({"workers": 1, "catalog": url}, environment={})
    with pytest.raises(UsageError) as caught:
        Engine.open(store, create=True, model="fake", settings=settings)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_user_without_rights_is_told_the_grant(url: str, tmp_path: Path) -> None:
    error = refusal(url.replace("crossfind@", "guest@"), tmp_path / "store")
    assert error.code == "catalog_rights"
    assert "GRANT ALL ON SCHEMA public" in str(error)


def test_a_database_that_cannot_hold_every_text_is_refused(url: str, tmp_path: Path) -> None:
    error = refusal(url.replace("/postgres?", "/old?"), tmp_path / "store")
    assert error.code == "catalog_encoding"
    assert "ENCODING 'UTF8'" in str(error)


# D8
def test_a_connection_lost_before_a_commit_loses_and_doubles_nothing(
    url: str, tmp_path: Path
) -> None:
    media = make_media(tmp_path / "media", n_files=12)
    settings = load_settings({"workers": 1, "catalog": url}, environment={})
    apply, n_calls = Writer.apply, 0

    def cut_off(self: Writer, batch: Batch) -> int:
        nonlocal n_calls
        n_calls += 1
        done = apply(self, batch)
        if n_calls == 1:  # all is written and nothing committed
            (pid,) = self._connection.exec_driver_sql("SELECT pg_backend_pid()").one()
            other = sa.create_engine(url, isolation_level="AUTOCOMMIT")
            with other.connect() as connection:
                connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
            other.dispose()
        return done

    with Engine.open(tmp_path / "store", create=True, model="fake", settings=settings) as engine:
        with mock.patch.object(Writer, "apply", cut_off):
            with pytest.raises(CrossfindError) as caught:
                engine.add(media)
            assert caught.value.exit_code == 6
            assert engine.search("red", k=50) == []
            report = engine.add(media)
        assert (report.n_added, n_calls) == (12, 2)
        assert len(engine.search("red", k=50)) == 12
        assert engine.verify().findings == ()
