"""Too many at once, and those who do not wait (rows H13 and H14 of the bad inputs)."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from threading import Event, Thread

import pytest
from httpx import Response
from served import HERE, Served, ask, check_error, head, talk
from starlette.testclient import TestClient

from retrieval.errors import BusyError
from retrieval.server.auth import Boundary, make_policy
from retrieval.server.limits import Budget, Gate, RequestError


def test_a_full_gate_sheds_at_once_and_says_when_to_come_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Event()
    search = served.state.engine.search_each
    monkeypatch.setattr(
        served.state.engine, "search_each", lambda queries: (hold.wait(25), search(queries))[1]
    )
    n_inside = served.state.options.search_width + served.state.options.search_depth
    answers: list[Response] = []
    with served.client() as client:
        threads = [
            Thread(target=lambda: answers.append(ask(client, k=1))) for _ in range(n_inside + 40)
        ]
        for thread in threads:
            thread.start()
        while len(answers) < 40:
            time.sleep(0.01)
        started_s = time.perf_counter()
        assert client.get("/health").status_code == 200
        assert time.perf_counter() - started_s < 1.0
        shed = list(answers)
        hold.set()
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in shed] == [503] * len(shed)
    assert {answer.headers["retry-after"] for answer in shed} == {"1"}
    assert {answer.json()["code"] for answer in shed} == {"busy"}
    assert served.state.searches.n_shed >= 40
    assert sum(answer.status_code == 200 for answer in answers) >= n_inside
    assert served.state.searches.n_inside == 0


def test_work_that_waits_is_dropped_when_its_client_goes() -> None:
    done: list[str] = []
    hold = Event()

    async def scene() -> None:
        gate = Gate(name="test", width=1, depth=4, seconds=5.0)
        first = asyncio.create_task(gate.run(lambda: (hold.wait(5), done.append("first"))))
        await asyncio.sleep(0.05)

        async def gone() -> dict[str, object]:
            return {"type": "http.disconnect"}

        with pytest.raises(RequestError) as caught:
            await gate.run(lambda: done.append("second"), receive=gone)
        assert caught.value.code == "gone"
        hold.set()
        await first
        await asyncio.sleep(0.05)
        assert gate.n_inside == 0
        gate.close()

    asyncio.run(scene())
    assert done == ["first"]


def test_a_gate_refuses_what_it_has_no_room_for() -> None:
    hold = Event()

    async def scene() -> None:
        gate = Gate(name="test", width=1, depth=1, seconds=5.0)
        waiting = [asyncio.create_task(gate.run(lambda: hold.wait(5))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError):
            await gate.run(lambda: None)
        hold.set()
        await asyncio.gather(*waiting)
        gate.close()

    asyncio.run(scene())


def test_a_client_that_hangs_up_leaves_nothing_behind(port: int, served: Served) -> None:
    body = json.dumps({"query": "red"}).encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(head(port, f"Content-Length: {len(body)}") + body)
    deadline_s = time.monotonic() + 5
    while served.state.searches.n_inside and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert served.state.searches.n_inside == 0
    asked = f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    assert talk(port, asked.encode()).startswith(b"HTTP/1.1 200 ")


def test_all_bodies_together_have_a_limit_and_give_back_what_they_held(served: Served) -> None:
    budget = Budget(1000)
    guarded = Boundary(served.app, policy=make_policy("127.0.0.1"), budget=budget)  # type: ignore[arg-type]
    with TestClient(guarded, base_url=HERE) as client:
        for _ in range(5):
            assert ask(client, where=" " * 600).status_code == 200
            assert budget.held_bytes == 0
        check_error(ask(client, where=" " * 2000), 503, "busy")
        assert budget.held_bytes == 0
