"""A server asked in this process, and the same one over a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import Served, listening, serving
from starlette.testclient import TestClient


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that no test changes."""
    with serving(tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture(scope="package")
def client(served: Served) -> Iterator[TestClient]:
    with served.client() as made:
        yield made


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that the tests of a file may change."""
    with serving(tmp_path_factory.mktemp("fresh")) as made:
        yield made


@pytest.fixture(scope="package")
def port(served: Served) -> Iterator[int]:
    """The same server on a real socket of this machine."""
    with listening(served) as number:
        yield number
