"""The Python clients give what the Engine gives, over TCP and over the store's socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from served import COLOURS, Served

import retrieval
from retrieval.client import AsyncClient, Client
from retrieval.errors import CrossfindError, NotFoundError, UsageError
from retrieval.query.parse import parse
from retrieval.server.auth import Boundary, Policy
from retrieval.server.local import connect_local, listen_local
from retrieval.server.serve import uvicorn_server


@pytest.fixture(scope="module")
def by_tcp(port: int) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{port}") as client:
        yield client


@pytest.fixture(scope="module")
def local(served: Served) -> Iterator[Path]:
    """The store, served by its socket."""
    root = served.state.engine.store.root
    listener = listen_local(root)
    assert listener is not None
    server = uvicorn_server(Boundary(served.app, policy=Policy(local=True)))  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield root
    server.should_exit = True
    thread.join()
    listener.close()


def test_a_search_gives_the_hits_of_the_engine(by_tcp: Client, served: Served) -> None:
    engine = served.state.engine
    for query in ("red", 1, served.world / "blue.png"):
        for options in ({"k": 3}, {"k": 2, "modality": "image"}, {"where": "format = 'png'"}):
            assert by_tcp.search(query, **options) == engine.search(query, **options)  # type: ignore[arg-type]
    pages = [by_tcp.search("red", k=3, offset=offset) for offset in (0, 3, 6)]
    assert [hit for page in pages for hit in page] == engine.search("red", k=9)


def test_a_composed_search_sends_its_files_along(by_tcp: Client, served: Served) -> None:
    composed = parse(f'"2:red" + {served.world / "blue.png"}')
    found = {hit.id: hit.score for hit in by_tcp.search(composed, k=8)}
    expected = {hit.id: hit.score for hit in served.state.engine.search(composed, k=8)}
    # The engine knows the file by its path and leaves it out; the server knows its bytes alone.
    assert {id_: found[id_] for id_ in expected} == pytest.approx(expected)


def test_many_searches_go_in_one_request(by_tcp: Client, served: Served) -> None:
    engine = served.state.engine
    found = by_tcp.search_many(list(COLOURS), k=2)
    assert found == [engine.search(colour, k=2) for colour in COLOURS]


def test_items_vectors_classes_and_facets(by_tcp: Client, served: Served) -> None:
    engine, encoder = served.state.engine, served.state.engine.encoder
    item_id = served.id_of("red.png")
    assert by_tcp.item(item_id) == engine.item(item_id)
    expected = encoder.encode(["red", "blue"], modality="text")
    assert np.array_equal(by_tcp.encode(["red", "blue"]), expected)
    named = by_tcp.classify([item_id, served.world / "blue.png"], labels=["red", "blue"])
    assert [row["label"] for row in named] == ["red", "blue"]
    assert named[0]["id"] == item_id
    assert by_tcp.facets("modality = 'image'")["modality"] == {"image": 4}
    assert by_tcp.status()["model"] == "fake"
    assert by_tcp.explain("red", item_id)["id"] == item_id
    assert item_id not in [hit.id for hit in by_tcp.similar(item_id, k=8)]


def test_errors_are_those_of_the_engine(by_tcp: Client) -> None:
    with pytest.raises(UsageError) as usage:
        by_tcp.search("red", where="colour = 3")
    assert usage.value.code == "unknown_field"
    with pytest.raises(NotFoundError) as missing:
        by_tcp.item(999_999)
    assert missing.value.code == "no_such_item"


def test_the_asynchronous_client_answers_the_same(port: int, served: Served) -> None:
    async def ask() -> list[list[retrieval.Hit]]:
        async with AsyncClient(f"http://127.0.0.1:{port}") as client:
            return list(await asyncio.gather(*(client.search(c, k=3) for c in COLOURS)))

    assert asyncio.run(ask()) == [served.state.engine.search(c, k=3) for c in COLOURS]


def test_the_socket_of_a_store_is_for_its_owner_and_may_name_files(
    local: Path, served: Served
) -> None:
    assert (local / "serve.sock").stat().st_mode & 0o777 == 0o600
    with Client(store=local) as client:
        assert client.search("red", k=3) == served.state.engine.search("red", k=3)
    link = connect_local(local)
    assert link is not None
    link.close()
    assert listen_local(local) is None  # one server a store


def test_files_and_errors_are_refused_off_the_socket(by_tcp: Client, served: Served) -> None:
    path = str(served.world / "red.png")
    with pytest.raises(CrossfindError) as caught:
        by_tcp._do(_raw({"query": {"file": path}}))
    assert caught.value.code == "file_not_sent"
    as_text = by_tcp._do(_raw({"query": path, "k": 1}))
    assert as_text["hits"] == [] or as_text["hits"][0]["score"] < 0.99  # words, not the file


def _raw(body: dict[str, object]):  # type: ignore[no-untyped-def]
    from retrieval.client.calls import plain_call

    return plain_call("POST", "/v1/search", body=body)


def test_a_store_that_nobody_serves_says_so(tmp_path: Path) -> None:
    assert connect_local(tmp_path) is None
    with Client("http://127.0.0.1:1", timeout_s=2) as client, pytest.raises(CrossfindError) as no:
        client.status()
    assert no.value.code == "no_server"


def test_a_socket_path_may_be_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    listener = listen_local(deep)
    assert listener is not None
    link = connect_local(deep)
    assert link is not None
    link.close()
    listener.close()
    assert connect_local(deep) is None  # left over: nobody answers
