"""`search` and `similar` ask a running server of their store, and do without one as well."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest
from cli import crossfind
from PIL import Image
from served import Served

from retrieval.engine import Engine
from retrieval.server.auth import Boundary, Policy
from retrieval.server.local import listen_local
from retrieval.server.serve import uvicorn_server


@pytest.fixture(scope="module")
def running(fresh: Served) -> Iterator[Served]:
    listener = listen_local(fresh.state.engine.store.root)
    assert listener is not None
    server = uvicorn_server(Boundary(fresh.app, policy=Policy(local=True)))  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield fresh
    server.should_exit = True
    thread.join()
    listener.close()


_QUERIES: tuple[tuple[str, ...], ...] = (
    ("red",), ("./red.png",), ("#1",), ('"2:red" + ./blue.png',), ("day", "--for", "text"),
    ("red", "--where", "format = 'png'", "-k", "2"), ("red", "--more-like", "2"),
    ("red", "--vectors-only"), ("./red - (blue).png",),
    ("./red - (blue).png", "--more-like", "2"),
)  # fmt: skip


def test_a_search_prints_the_same_with_a_server_and_without(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64), (120, 5, 130)).save(running.world / "red - (blue).png")
    store = str(running.state.engine.store.root)
    asked = [("search", *query, "--store", store, "--json") for query in _QUERIES]
    with monkeypatch.context() as patch:
        patch.setattr("retrieval.cli.search.ask_server", lambda *_, **__: None)
        cold = [crossfind(*arguments, cwd=running.world) for arguments in asked]
        people = crossfind("search", "red", "--store", store, cwd=running.world)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "open", lambda *_, **__: pytest.fail("the server was not asked"))
        warm = [crossfind(*arguments, cwd=running.world) for arguments in asked]
        assert crossfind("search", "red", "--store", store, cwd=running.world) == people
    for query, one, other in zip(_QUERIES, cold, warm, strict=True):
        assert (one.code, one.err) == (other.code, other.err) == (0, ""), query
        assert json.loads(one.out) == json.loads(other.out), query


_TARGETS: tuple[tuple[str, ...], ...] = (
    ("red.png",), ("#2",), ("./low.wav", "--for", "image"),
    ("red.png", "--where", "format = 'png'"),
    ("#1", "--more-like", "2", "--less-like", "3"), ("blue.png", "--less-like", "1", "-k", "3"),
    ("../other.png", "-k", "2"),
)  # fmt: skip


def test_similar_prints_the_same_with_a_server_and_without(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64), (250, 5, 5)).save(running.world.parent / "other.png")
    store = str(running.state.engine.store.root)
    asked = [("similar", *target, "--store", store, "--json") for target in _TARGETS]
    with monkeypatch.context() as patch:
        patch.setattr("retrieval.cli.similar.ask_server", lambda *_, **__: None)
        cold = [crossfind(*arguments, cwd=running.world) for arguments in asked]
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "open", lambda *_, **__: pytest.fail("the server was not asked"))
        warm = [crossfind(*arguments, cwd=running.world) for arguments in asked]
    for target, one, other in zip(_TARGETS, cold, warm, strict=True):
        assert (one.code, one.err) == (other.code, other.err) == (0, ""), target
        assert json.loads(one.out)["hits"], target
        assert json.loads(one.out) == json.loads(other.out), target
    gone = crossfind("similar", "#9999", "--store", store, cwd=running.world)
    assert gone.code == 2
    assert "no item #9999" in gone.err


def test_nobody_else_may_name_a_path(running: Served) -> None:
    with running.client() as client:
        for body in ({"like": "red.png"}, {"query": "red", "folder": "/"}):
            assert client.post("/v1/search", json=body).status_code == 422


def test_what_the_server_refuses_is_explained_in_full_by_the_command(running: Served) -> None:
    store = str(running.state.engine.store.root)
    done = crossfind("search", "red", "--where", "colour = 3", "--store", store, cwd=running.world)
    assert done.code == 2
    assert "unknown field 'colour'" in done.err


def test_a_socket_left_over_by_a_killed_server_is_no_obstacle(fresh: Served) -> None:
    root = fresh.state.engine.store.root
    left = listen_local(root)
    if left is not None:
        left.close()
    done = crossfind("search", "red", "--store", str(root), "-k", "1", cwd=fresh.world)
    assert done.code == 0


def test_serve_refuses_to_be_reached_by_others_without_a_token(fresh: Served) -> None:
    store = str(fresh.state.engine.store.root)
    done = crossfind("serve", "--host", "0.0.0.0", "--store", store, cwd=fresh.world)
    assert done.code == 2
    assert "[token_missing]" in done.err
    short = crossfind(
        "serve", "--host", "0.0.0.0", "--store", store, cwd=fresh.world, CROSSFIND_TOKEN="short"
    )
    assert short.code == 2
    assert "[token_too_short]" in short.err
