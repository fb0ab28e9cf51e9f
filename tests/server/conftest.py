"""A server asked in this process, and the same one over a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from served import Served, serving
from starlette.testclient import TestClient

from retrieval.server.auth import Boundary, make_policy
from retrieval.server.serve import Address, listen_tcp, uvicorn_server


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
    listener = listen_tcp(Address(port=0))
    server = uvicorn_server(
        Boundary(served.app, policy=make_policy("127.0.0.1"), body_seconds=1.0)  # type: ignore[arg-type]
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    listener.close()
