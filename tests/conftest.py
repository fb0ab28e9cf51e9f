"""Let every test folder import the builders in tests/support, and choose where catalogs are."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--catalog", choices=("sqlite", "postgresql"), default="sqlite",
        help="where the catalogs of the tests' stores are; see tests/support/on_postgres.py",
    )  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--catalog") == "postgresql":
        from on_postgres import reason_to_skip

        for item in items:
            if reason := reason_to_skip(item.nodeid):
                item.add_marker(pytest.mark.skip(reason=f"about SQLite alone: {reason}"))


@pytest.fixture(scope="session", autouse=True)
def _catalogs(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.config.getoption("--catalog") == "sqlite":
        yield
        return
    from on_postgres import catalogs_on
    from postgres import postgres

    with (
        tempfile.TemporaryDirectory(prefix="pg") as folder,
        postgres(Path(folder)) as url,
        catalogs_on(url),
    ):
        yield
