"""Who may ask, from where (rows H11 and H12 of the bad inputs)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from served import HERE, TOKEN, Served
from starlette.testclient import TestClient

from retrieval.server.auth import make_policy


def flat(known: list[object]) -> Iterator[object]:
    """Walk routes, also those of included routers."""
    for route in known:
        inner = getattr(route, "original_router", None)
        yield from flat(inner.routes) if inner is not None else [route]


def routes(served: Served) -> list[tuple[str, str]]:
    """Every method and path that the application knows."""
    found = []
    for route in flat(served.app.routes):  # type: ignore[attr-defined]
        for method in route.methods:  # type: ignore[attr-defined]
            path = str(route.path)  # type: ignore[attr-defined]
            found.append((method, path.replace("{item_id}", "1").replace("{name}", "app.js")))
    return found


def test_every_route_refuses_without_the_token_off_loopback(served: Served) -> None:
    policy = make_policy("0.0.0.0", token=TOKEN)
    wrong = [
        {}, {"Authorization": "Bearer " + TOKEN[:-1]}, {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer"}, {"Cookie": f"token={TOKEN}"}, {"X-Token": TOKEN},
    ]  # fmt: skip
    known = routes(served)
    assert len(known) >= 20
    paths = sorted({path for _, path in known})
    assert {"/", "/metrics", "/docs.json", "/health", "/web/app.js"} <= set(paths)
    methods = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
    with served.client(policy=policy, base_url="http://192.0.2.1:8765") as client:
        places = [*paths, "/nowhere", "/v1/"]
        walks = [*itertools.product(methods, places, wrong[:1])]
        walks += itertools.product(("GET", "POST"), places, wrong[1:])
        for method, path, headers in walks:
            answer = client.request(method, f"{path}?token={TOKEN}", headers=headers)
            assert answer.status_code == 401, (method, path, headers)
            assert "basic" in answer.headers["www-authenticate"].lower()


def test_the_token_opens_as_bearer_and_as_password(served: Served) -> None:
    policy = make_policy("0.0.0.0", token=TOKEN)
    with served.client(policy=policy, base_url="http://192.0.2.1:8765") as client:
        bearer = client.get("/health", headers={"Authorization": f"Bearer {TOKEN}"})
        password = client.get("/", auth=("anyone", TOKEN))
    assert (bearer.status_code, password.status_code) == (200, 200)


def test_a_token_is_compared_in_constant_time() -> None:
    import ast
    import inspect

    from retrieval.server import auth

    tree = ast.parse(inspect.getsource(auth))
    compared = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and "token" in ast.unparse(node).lower()
    ]
    assert compared == ["len(token) < MIN_TOKEN_CHARACTERS"]
    assert "compare_digest" in inspect.getsource(auth.Boundary)


_OTHER_SITES = (
    [{"Host": host} for host in (
        "evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example",
        "127.0.0.1@evil.example", "", "[::1].evil", "0.0.0.0:8765", "2130706433", "127.1",
        "10.0.0.7",
    )]
    + [{"Origin": origin} for origin in (
        "http://evil.example", "https://evil.example:8765", "null", "file://", "http://127.0.0.1:1",
        "http://127.0.0.1", "http://localhost:8765", "http://127.0.0.1:8765.evil.example",
        "chrome-extension://abc", "", "HTTP://127.0.0.1:8765/",
    )]
    + [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
       {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
       {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}]
    + [{"Content-Type": kind} for kind in (
        "text/plain", "application/x-www-form-urlencoded", "", "text/plain; application/json",
        "application/jsonx", "application/csp-report",
    )]
)  # fmt: skip


@pytest.mark.parametrize("headers", _OTHER_SITES, ids=str)
def test_another_sites_page_changes_nothing(fresh: Served, headers: dict[str, str]) -> None:
    assert len(_OTHER_SITES) >= 30
    before = fresh.state.generation()
    item_id = fresh.id_of("day.txt")
    upload = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nx\r\n--b--'
    )
    sent = {"Content-Type": "multipart/form-data; boundary=b", **headers}
    with fresh.client() as client:
        answers = [client.post("/v1/items", content=upload, headers=sent)]
        if "Content-Type" not in headers:
            answers.append(client.delete(f"/v1/items/{item_id}", headers=headers))
    for answer in answers:
        assert answer.status_code in (400, 403, 421), answer.text
    assert fresh.state.generation() == before


@pytest.mark.parametrize("origin", [HERE, HERE.replace("http", "https")])
def test_its_own_page_may_ask(client: TestClient, origin: str) -> None:
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/v1/search", json={"query": "red"}, headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
