"""Assistants: the tools, asked through the SDK's own client."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from served import TOKEN, Served

from retrieval.errors import BackendMissingError
from retrieval.mcp.tools import make_tools
from retrieval.server.auth import Boundary, make_policy
from retrieval.server.serve import Address, listen_tcp, uvicorn_server

mcp = pytest.importorskip("mcp")


def ask(served: Served, talk: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        tools = make_tools(served.state.engine, settings=served.state.settings)
        async with mcp.Client(tools) as client:
            return await talk(client)

    return asyncio.run(run())


def call(served: Served, name: str, **arguments: object) -> Any:
    return ask(served, lambda client: client.call_tool(name, arguments))


def test_the_four_tools_are_listed_with_what_they_take(served: Served) -> None:
    listed = ask(served, lambda client: client.list_tools())
    taken = {tool.name: set(tool.input_schema["properties"]) for tool in listed.tools}
    assert taken == {
        "search": {"query", "k", "kind", "where"},
        "similar": {"id", "k", "kind"},
        "item": {"id"},
        "classify": {"id", "labels"},
    }
    assert all(tool.description for tool in listed.tools)


def test_search_and_similar_give_the_hits_of_the_engine(served: Served) -> None:
    engine = served.state.engine
    found = call(served, "search", query="red", k=3, kind="image").structured_content["hits"]
    expected = engine.search("red", k=3, modality="image")
    assert [(row["id"], row["score"]) for row in found] == [(h.id, h.score) for h in expected]
    item_id = served.id_of("red.png")
    like = call(served, "similar", id=item_id, k=4).structured_content["hits"]
    assert [row["id"] for row in like] == [hit.id for hit in engine.similar(item_id, k=4)]


def test_item_and_classify_name_an_item_by_its_id(served: Served) -> None:
    item_id = served.id_of("blue.png")
    known = call(served, "item", id=item_id).structured_content
    assert (known["id"], known["format"], known["width_px"]) == (item_id, "png", 640)
    named = call(served, "classify", id=item_id, labels=["red", "blue"]).structured_content
    assert named["label"] == "blue"
    assert sum(named["scores"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("item", {"id": 999_999}), ("search", {"query": "red", "k": 0}), ("search", {"query": ""}),
     ("search", {"query": "red", "where": "colour = 3"}), ("classify", {"id": 1, "labels": ["a"]})],
)  # fmt: skip
def test_what_cannot_be_done_is_an_error_of_the_tool(
    served: Served, name: str, arguments: dict[str, object]
) -> None:
    assert call(served, name, **arguments).is_error


@pytest.fixture(scope="module")
def by_http(served: Served) -> Iterator[str]:
    from mcp.server.transport_security import TransportSecuritySettings

    tools = make_tools(served.state.engine, settings=served.state.settings)
    app = tools.streamable_http_app(
        json_response=True, stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )  # fmt: skip
    listener = listen_tcp(Address(port=0))
    policy = make_policy("127.0.0.1", token=TOKEN)
    server = uvicorn_server(Boundary(app, policy=policy), lifespan="on")
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server.should_exit = True
    thread.join()


def test_over_http_the_tools_stand_behind_the_token(by_http: str) -> None:
    import httpx
    from mcp.client.streamable_http import streamable_http_client

    assert httpx.post(by_http, json={}).status_code == 401

    async def run() -> list[str]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers) as http:
            transport = streamable_http_client(by_http, http_client=http)
            async with mcp.Client(transport) as client:
                return [tool.name for tool in (await client.list_tools()).tools]

    assert asyncio.run(run()) == ["search", "similar", "item", "classify"]


def test_without_the_sdk_the_extra_is_named(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    with pytest.raises(BackendMissingError, match=r"crossfind\[mcp\]"):
        make_tools(served.state.engine, settings=served.state.settings)
