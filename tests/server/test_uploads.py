"""Files that are sent along (row H10 of the bad inputs)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from served import Served, check_error
from starlette.testclient import TestClient


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 points in some 50 kB."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    side = 20_000
    packer = zlib.compressobj(9)
    row = b"\0" * (side // 8 + 1)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def test_a_bomb_costs_its_sender_an_error_with_the_code_of_the_file(
    client: TestClient, served: Served
) -> None:
    before = served.state.engine.generation
    form = {"body": (None, json.dumps({"query": {"file": "f"}})), "f": ("a.png", bomb())}
    message = check_error(client.post("/v1/search", files=form), 422, "too_many_pixels")
    assert "a.png" in message
    form = {"f": ("a.png", bomb())}
    check_error(client.post("/v1/embeddings", files=form), 422, "too_many_pixels")
    assert served.state.engine.generation == before
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [("x.jpg", b"no picture", "not_an_image"), ("x.png", b"\x89PNG\r\n\x1a\n", "corrupt"),
     ("e.txt", b"", "empty_file"), ("a.svg", b"<svg/>", "format_not_enabled"),
     ("a.zip", b"PK\x03\x04", "archive_not_enabled")],
)  # fmt: skip
def test_a_bad_upload_is_named_and_not_kept(
    fresh: Served, name: str, data: bytes, code: str
) -> None:
    with fresh.client() as client:
        answer = client.post("/v1/items", files={"file": (name, data)})
    told = answer.json()
    assert answer.status_code == 422, told
    assert told["code"] in (code, "truncated", "not_an_image")
    assert name in told["message"]
    assert "/tmp" not in told["message"]
    assert not [path for path in fresh.state.uploads.iterdir() if path.name.endswith(name)]


def test_an_upload_over_the_cap_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/items", files={"file": ("a.bin", b"\0" * (21 << 20))})
    check_error(answer, 413, "body_too_large")


def test_an_uploaded_name_cannot_leave_its_folder(fresh: Served) -> None:
    names = [
        "../../evil.txt", "/etc/evil.txt", "..\\..\\evil.txt", "a\x00b.txt", ".hidden.txt",
        "x" * 500 + ".txt", "<img src=x onerror=alert(1)>.txt", "\u202etxt.exe.txt",
    ]  # fmt: skip
    before = {path.name for path in fresh.world.parent.iterdir()}
    with fresh.client() as client:
        sent = [("file", (name, f"text number {n}".encode())) for n, name in enumerate(names)]
        answer = client.post("/v1/items", files=sent)
    assert answer.status_code == 201, answer.text
    kept = [Path(item["path"]) for item in answer.json()["items"]]
    assert [path.read_text() for path in kept] == [f"text number {n}" for n in range(len(names))]
    for path in kept:
        assert path.parent == fresh.state.uploads
        assert len(path.name) < 120
        assert path.name.isascii()
        assert "<" not in path.name
    assert {path.name for path in fresh.world.parent.iterdir()} == before
