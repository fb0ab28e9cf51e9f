"""A server that lives: new generations, slow clients, a stop that drops nothing, no calls home."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from cli import environment
from served import Served, ask, listening, serving

from retrieval.client import Client
from retrieval.engine import Engine
from retrieval.media import find_file, load_file
from retrieval.server import protocol
from retrieval.types import MediaSpec


def test_a_new_generation_takes_over_without_dropping_a_request(tmp_path: Path) -> None:
    with serving(tmp_path) as served, listening(served) as port:
        served.state.start()
        stop, failures, counts = Event(), [], []

        def hammer() -> None:
            with Client(f"http://127.0.0.1:{port}") as client:
                while not stop.is_set():
                    try:
                        counts.append(len(client.search("red", k=50)))
                    except Exception as error:  # whatever it is, it is a dropped request
                        failures.append(error)

        threads = [Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        with Engine.open(served.state.engine.store.root) as writer:  # another process would
            for number in range(4):
                path = served.world / f"late-{number}.txt"
                path.write_text(f"a red text number {number}")
                writer.add(path)
        deadline_s = time.monotonic() + 20
        while (not counts or counts[-1] < 12) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert counts[0] == 8
    assert counts[-1] == 12
    assert set(counts) <= set(range(8, 13))


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_a_head_that_never_ends_is_hung_up_on(
    port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(sent)
        started_s = time.monotonic()
        assert raw.recv(100) == b""
        assert time.monotonic() - started_s < 3


def test_a_kept_connection_may_ask_again(port: int) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    link.connect()
    first = link.sock
    for _ in range(3):
        link.request("GET", "/health")
        assert link.getresponse().read() == b'{"status":"ok"}'
        assert link.sock is first
    link.close()


def test_requests_make_the_server_call_nobody(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []
    connect = socket.socket.connect

    def noting(self: socket.socket, address: object) -> None:
        called.append(address)
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", noting)
    item_id = served.id_of("red.png")
    with served.client() as client:
        for query in ("http://example.org/a.jpg", "file:///etc/passwd", "//host/share", "red"):
            assert ask(client, query=query).status_code == 200
        client.get(f"/v1/items/{item_id}/thumbnail")
        client.post("/v1/classify", json={"labels": ["red", "blue"], "ids": [item_id]})
        client.post("/v1/explain", json={"query": "red", "id": item_id})
        client.post("/v1/embeddings", json={"input": "http://example.org"})
        other = client.post("/v1/embeddings", json={"input": "red", "model": "clap:any/other"})
    assert other.json()["code"] == "model_not_served"
    assert called == []


def test_thumbnails_keep_the_shape_and_are_made_once(served: Served) -> None:
    import io

    from PIL import Image

    item_id = served.id_of("green.png")
    with served.client() as client:
        first = client.get(f"/v1/items/{item_id}/thumbnail")
        kept = [path.stat().st_mtime_ns for path in _thumbs(served)]
        again = client.get(f"/v1/items/{item_id}/thumbnail")
        none = client.get(f"/v1/items/{served.id_of('low.wav')}/thumbnail")
    picture = Image.open(io.BytesIO(first.content))
    assert picture.size == (320, 160)
    red, green, blue = picture.getpixel((160, 80))  # type: ignore[misc]
    assert (red < 20, green > 200, blue < 20) == (True, True, True)
    assert again.content == first.content
    assert [path.stat().st_mtime_ns for path in _thumbs(served)] == kept
    assert none.json()["code"] == "no_thumbnail"


def _thumbs(served: Served) -> list[Path]:
    return sorted((served.state.engine.store.derived / "thumbs").iterdir())


def test_moments_are_cut_out_of_a_sound(served: Served, tmp_path: Path) -> None:
    item_id = served.id_of("low.wav")
    with served.client() as client:
        cut = client.get(f"/v1/items/{item_id}/moment", params={"start_s": 0.5, "end_s": 1.0})
        for times in ({"start_s": 1, "end_s": 1}, {"start_s": 0, "end_s": 61}):
            refused = client.get(f"/v1/items/{item_id}/moment", params=times)
            assert refused.json()["code"] == "bad_times"
    assert cut.status_code == 200
    assert cut.headers["content-type"] == "audio/mpeg"
    (tmp_path / "cut.mp3").write_bytes(cut.content)
    loaded = load_file(find_file(tmp_path / "cut.mp3"), spec=MediaSpec())
    assert (loaded.format, loaded.modality) == ("mp3", "audio")
    assert loaded.duration_s == pytest.approx(0.5, abs=0.1)


def test_metrics_count_by_route(served: Served) -> None:
    with served.client() as client:
        ask(client, k=1)
        client.get(f"/v1/items/{served.id_of('red.png')}")
        text = client.get("/metrics").text
    assert 'crossfind_requests_total{route="/v1/search",status="200"}' in text
    assert 'route="/v1/items/{item_id}"' in text
    for step in ("wait", "search", "details"):
        assert f'crossfind_step_seconds_count{{step="{step}"}}' in text
    assert "crossfind_generation" in text


def test_a_signal_stops_the_server_and_takes_its_socket_away(
    served: Served, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    with Engine.open(root, create=True, model="fake") as engine:
        engine.add(served.world / "day.txt")
    command = [sys.executable, "-c", "from retrieval.cli import main; main()", "serve"]
    with subprocess.Popen(
        [*command, "--port", "0", "--store", str(root)], env=environment(), cwd=tmp_path,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        url = process.stderr.readline().split()[2]
        assert (root / "serve.sock").exists()
        with Client(url) as client:
            deadline_s = time.monotonic() + 30
            while not client.status()["ready"] and time.monotonic() < deadline_s:
                assert client.status()["model"] == "fake"
                time.sleep(0.05)
            assert client.search("red", k=1)[0].path.endswith("day.txt")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert not (root / "serve.sock").exists()


def test_a_head_without_end_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())
        n_sent = 0
        try:
            while n_sent < 8 << 20:
                raw.sendall(b"X-More: " + b"x" * 8000 + b"\r\n")
                n_sent += 8010
            answer = raw.recv(100)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
