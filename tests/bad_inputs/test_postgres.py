"""Databases of PostgreSQL that cannot be a catalog (row D9; run with -m postgres)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import postgres

from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import UsageError

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
