"""A small world of colours behind a server, in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import media_files
import numpy as np
from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

from retrieval.config import Settings, load_settings
from retrieval.engine import Engine
from retrieval.server.app import make_app
from retrieval.server.auth import Boundary, Policy, make_policy
from retrieval.server.serve import Address, listen_tcp, uvicorn_server
from retrieval.server.state import Options, State

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}
TOKEN = "a-token-of-more-than-sixteen"
HERE = "http://127.0.0.1:8765"


@dataclass
class Served:
    """A server in this process."""

    state: State
    app: object
    world: Path

    def client(self, *, policy: Policy | None = None, base_url: str = HERE) -> TestClient:
        """Ask it through a boundary."""
        guarded = Boundary(
            self.app,  # type: ignore[arg-type]
            policy=policy or make_policy("127.0.0.1"),
            body_seconds=1.0,
            is_full=self.state.turns_away,
        )
        return TestClient(guarded, base_url=base_url, raise_server_exceptions=False)

    def id_of(self, name: str) -> int:
        """Find an item by its file's name."""
        item = self.state.engine.item(self.world / name)
        assert item is not None
        return item.id


def make_world(folder: Path) -> Path:
    """Four pictures, a sound, a text, a table of two rows."""
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (640, 320), colour).save(folder / f"{name}.png")
    time_s = np.arange(32_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 100.0 * time_s)).astype(np.float32)
    media_files.wav(folder / "low.wav", samples=tone[:, None], rate_hz=16_000)
    (folder / "day.txt").write_text("a red day")
    (folder / "rows.csv").write_text("text\nblue sea\ngreen grass\n")
    return folder


@contextmanager
def serving(folder: Path, *, options: Options | None = None) -> Iterator[Served]:
    """Serve a new store of the world."""
    settings: Settings = load_settings(
        {"workers": 1, "decode_timeout_s": 5.0}, environment={}, file=folder / "none"
    )
    world = make_world(folder / "world")
    with Engine.open(folder / "store", create=True, model="fake", settings=settings) as engine:
        engine.add(world)
        state = State(engine=engine, settings=settings, options=options or Options())
        engine.reload()
        state.is_ready = True
        try:
            yield Served(state, make_app(state), world)
        finally:
            state.close()


@contextmanager
def listening(served: Served) -> Iterator[int]:
    """Let a server listen on a real socket of this machine; gives its port."""
    listener = listen_tcp(Address(port=0))
    guarded = Boundary(served.app, policy=make_policy("127.0.0.1"), body_seconds=1.0)  # type: ignore[arg-type]
    server = uvicorn_server(guarded)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def ask(client: TestClient, **body: object) -> Response:
    return client.post("/v1/search", json={"query": "red", **body})


def check_error(answer: Response, status: int, code: str | None = None) -> str:
    """An error says what it is, and nothing of where the server keeps things."""
    told = answer.json()
    assert answer.status_code == status, told
    assert set(told) == {"code", "message", "request_id"}
    assert told["request_id"] == answer.headers["x-request-id"]
    assert "/tmp" not in told["message"]
    assert "SELECT" not in told["message"]
    if code is not None:
        assert told["code"] == code
    return str(told["message"])


def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send raw bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        for piece in pieces:
            try:
                raw.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(pause_s)
        answer = b""
        try:
            while piece := raw.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def head(port: int, *lines: str) -> bytes:
    common = (f"Host: 127.0.0.1:{port}", "Content-Type: application/json")
    return "\r\n".join(["POST /v1/search HTTP/1.1", *common, *lines, "", ""]).encode()
