"""Hostile requests (rows H1 to H6 of the bad inputs), and what they may not do."""

from __future__ import annotations

import time

import pytest
from served import Served, ask, check_error, head, talk
from starlette.testclient import TestClient

# H1, H2


@pytest.mark.parametrize("k", [0, -1, 10**9, 2**64, 1.5, "ten", None, True, [3]])
def test_a_k_outside_its_range_is_refused_with_the_range(client: TestClient, k: object) -> None:
    assert "from 1 to 1000" in check_error(ask(client, k=k), 422)


def test_a_cursor_cannot_reach_deeper_than_the_limit(client: TestClient) -> None:
    first = ask(client, k=1).json()
    assert first["next_cursor"]
    import base64

    _, _, digest = base64.urlsafe_b64decode(first["next_cursor"]).decode().split(":")
    for offset in ("9999", "10000", "99999", str(2**64)):
        forged = base64.urlsafe_b64encode(f"1:{offset}:{digest}".encode()).decode()
        answer = ask(client, k=2, cursor=forged)
        assert answer.status_code == 422
        assert answer.json()["code"] in ("bad_offset", "bad_cursor")
    for cursor in ("", "x", "AAAA", first["next_cursor"][:-4], "é"):
        check_error(ask(client, k=2, cursor=cursor), 422, "bad_cursor")
    check_error(
        client.post("/v1/search", json={"query": "blue", "cursor": first["next_cursor"]}),
        422, "bad_cursor",
    )  # fmt: skip


@pytest.mark.parametrize("offset", [-1, 10_001, 2**64, 1.5, "1", None])
def test_an_offset_outside_its_range_is_refused(client: TestClient, offset: object) -> None:
    assert "from 0 to 10000" in check_error(ask(client, offset=offset), 422)


def test_offset_and_k_together_have_a_limit(client: TestClient) -> None:
    check_error(ask(client, offset=9_001, k=1000), 422, "bad_offset")
    assert ask(client, offset=9_000, k=1000).json()["hits"] == []
    whole = ask(client, k=7).json()["hits"]
    assert ask(client, offset=4, k=3).json()["hits"] == whole[4:7]


def test_a_batch_has_at_most_64_queries_and_a_bounded_sum(client: TestClient) -> None:
    one = {"query": "red", "k": 1}
    assert len(client.post("/v1/search", json={"queries": [one] * 64}).json()["results"]) == 64
    check_error(client.post("/v1/search", json={"queries": [one] * 65}), 422)
    check_error(client.post("/v1/search", json={"queries": []}), 422)
    many = {"queries": [{"query": "red", "k": 1000}] * 11}
    check_error(client.post("/v1/search", json=many), 422, "batch_too_large")


# H3


def test_a_declared_body_over_the_cap_is_refused_unread(port: int) -> None:
    answer = talk(port, head(port, f"Content-Length: {1 << 30}"))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_over_the_cap_is_cut_off(port: int) -> None:
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    answer = talk(
        port, head(port, "Transfer-Encoding: chunked", "Connection: close"), *[chunk] * 24
    )
    assert b"HTTP/1.1 413 " in answer[:100] or answer == b""  # it may hang up on who goes on


@pytest.mark.parametrize("sent", [b"", b'{"query":'])
def test_a_body_that_never_comes_is_timed_out(port: int, sent: bytes) -> None:
    started_s = time.monotonic()
    answer = talk(port, head(port, "Content-Length: 500", "Connection: close"), sent)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 30])
def test_a_content_length_that_is_no_number_is_refused(port: int, length: str) -> None:
    answer = talk(port, head(port, f"Content-Length: {length}", "Connection: close"))
    assert answer.split(b" ")[1] in (b"400", b"413")


# H4


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"query": ' + b'{"sum": [[1, ' * 40 + b'{"text": "a"}' + b"]]}" * 40 + b"}",
        b'{"query": "red", "query": "blue"}',
        b'{"query": "red", "k": NaN}',
        b'{"query": "red", "min_confidence": Infinity}',
        b'{"query": "red", "min_confidence": 1e999}',
        b'{"query": "red", "k": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{}",
        b"",
        b"{",
        b"query=red",
    ],
)
def test_what_is_not_strictly_json_is_a_bad_request(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    check_error(answer, 400, "bad_json")


@pytest.mark.parametrize("body", [[], "red", 3, {"query": {"text": 3}}, {"query": 5}, {}])
def test_json_of_another_shape_is_unprocessable(client: TestClient, body: object) -> None:
    check_error(client.post("/v1/search", json=body), 422)


# H5: a request carries no vector, so none can be wrong


@pytest.mark.parametrize("vector", [[0.1] * 3, [1e300] * 64, ["NaN"], "x"])
def test_a_vector_in_a_request_is_an_unknown_field(client: TestClient, vector: object) -> None:
    assert "vector" in check_error(ask(client, vector=vector), 422)
    check_error(client.post("/v1/search", json={"query": {"vector": vector}}), 422, "bad_query")


# H6

_INJECTIONS = [
    start + word + end
    for start in ("'", '"', "')", "x' ", "%' ", "\\'", "`", "];", "0 ")
    for word in (
        "OR 1=1", "OR '1'='1", "UNION SELECT * FROM items", "; DROP TABLE items", "AND sleep(9)",
        "OR path LIKE '%", "::text OR true", "|| (SELECT uuid FROM store)", "\x00OR 1=1",
    )
    for end in ("", " --", "/*", "#", ";", "\n--", "')")
]  # fmt: skip


def test_an_injection_in_a_filter_value_matches_literally(
    served: Served, client: TestClient
) -> None:
    everything = served.state.facets("")
    assert sum(everything["modality"].values()) == 8
    for text in _INJECTIONS:
        quoted = text.replace("'", "''")
        answer = client.get("/v1/facets", params={"where": f"path = '{quoted}'"})
        assert answer.status_code in (200, 422), text
        assert answer.json().get("total", 0) == 0, text
    assert served.state.facets("") == everything


def test_an_injection_in_a_filter_key_is_an_unknown_field(client: TestClient) -> None:
    assert len(_INJECTIONS) >= 500
    keys = ["x')::text OR 1=1 --", "1=1 OR path", "items.id", "rowid", "sqlite_master", "caption;"]
    for key in keys + _INJECTIONS[:60]:
        answer = ask(client, where=f"{key} = 'a'")
        assert answer.status_code in (200, 422), key
        if answer.status_code == 200:
            assert answer.json()["hits"] == [], key
        else:
            assert answer.json()["code"] in ("unknown_field", "bad_filter")
