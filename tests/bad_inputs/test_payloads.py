"""Loading never runs code: payloads planted into every loader, and no socket when offline."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from cli import crossfind

from retrieval.errors import CrossfindError
from tests.bad_inputs.payloads import PLANTS, explode
from tests.support import media_files

# Measured again; left aside; never imported.
QUIET = {"arrays kept beside the store", "shards of webdataset", "a tokenizer of CLAP"}


def test_the_payload_works_where_it_is_unpickled(tmp_path: Path) -> None:
    explode(tmp_path, tmp_path / "canary")
    assert (tmp_path / "canary").exists()


def cases() -> list[object]:
    """List the plants; those that need torch are slow (`test_pretrained.py` has two of them)."""
    slow = [name for name in PLANTS if "open_clip" in name or "CLAP" in name]
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in PLANTS]


@pytest.mark.parametrize("name", cases())
def test_a_planted_payload_is_refused_and_runs_nothing(name: str, tmp_path: Path) -> None:
    if "CLAP" in name:
        pytest.importorskip("transformers", reason="pip install 'crossfind[clap]'")
    if "own columns" in name:
        pytest.importorskip("pyarrow", reason="pip install 'crossfind[parquet]'")
    canary = tmp_path / "canary"
    if name in QUIET:
        PLANTS[name](tmp_path, canary)
    else:
        with pytest.raises(CrossfindError) as caught:
            PLANTS[name](tmp_path, canary)
        assert len(str(caught.value).splitlines()) == 1
    assert not canary.exists()


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse, and count, every connection and every look-up of a host."""
    tried: list[str] = []

    def refuse(*args: object, **_: object) -> None:
        tried.append(repr(args)[:100])
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return tried


def test_adding_and_searching_open_no_socket(tmp_path: Path, no_sockets: list[str]) -> None:
    (tmp_path / "m").mkdir()
    media_files.picture(tmp_path / "m" / "a.png")
    media_files.wav(tmp_path / "m" / "a.wav")
    for args in (
        ("index", "build", "m", "--model", "fake"), ("search", "red"), ("search", "./m/a.png"),
        ("index", "verify"), ("models", "list"),
    ):  # fmt: skip
        done = crossfind(*args, cwd=tmp_path)
        assert done.code == 0, (args, done.err)
    assert no_sockets == []


def test_a_model_that_is_not_there_asks_nobody_and_names_the_command(
    tmp_path: Path, no_sockets: list[str]
) -> None:
    done = crossfind(
        "index", "build", tmp_path, "--model", "open_clip:ViT-B-32/laion2b_s34b_b79k",
        cwd=tmp_path, CROSSFIND_MODELS_DIR=str(tmp_path / "none"),
    )  # fmt: skip
    assert done.code == 7
    assert "crossfind models fetch open_clip:ViT-B-32/laion2b_s34b_b79k" in done.err
    assert no_sockets == []
