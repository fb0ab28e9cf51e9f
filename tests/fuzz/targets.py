"""Readers, each as a function of bytes that must return or raise one of our errors."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.segments import open_segment, write_segment
from retrieval.backup import restore
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import CrossfindError
from retrieval.query.json_form import expression_to_json, read_expression
from retrieval.query.parse import parse
from retrieval.query.where import parse_where

Target = Callable[[bytes], None]
_TEMPORARY = tempfile.TemporaryDirectory(prefix="crossfind-fuzz-")  # gone when the process ends
_FOLDER = Path(_TEMPORARY.name)


def query(data: bytes) -> None:
    """The composed query: what is understood can be written as JSON and read again."""
    expression = parse(data.decode("utf-8", "surrogateescape"))
    assert read_expression(expression_to_json(expression)) == expression


def query_json(data: bytes) -> None:
    """The JSON form of a query."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    read_expression(value)


def where(data: bytes) -> None:
    """The filter."""
    parse_where(data.decode("utf-8", "surrogateescape"))


def config(data: bytes) -> None:
    """The settings file."""
    path = _FOLDER / "config.toml"
    path.write_bytes(data)
    load_settings({}, environment={}, file=path)


def segment(data: bytes) -> None:
    """A file of vectors, as its own footer vouches for it."""
    path = _FOLDER / f"{'0' * 32}.seg"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    opened = open_segment(path)
    assert len(opened.vectors()) == len(opened.ids)


def backup(data: bytes) -> None:
    """An archive that claims to be a backup."""
    path = _FOLDER / "backup.tar"
    path.write_bytes(data)
    before = sorted(_FOLDER.iterdir())
    try:
        restore(path, root=_FOLDER / "restored")
    except CrossfindError:
        assert sorted(_FOLDER.iterdir()) == before
        raise


TARGETS: dict[str, Target] = {
    f.__name__: f for f in (query, query_json, where, config, segment, backup)
}


def seeds(name: str) -> list[bytes]:
    """Give inputs that are fine, to be changed."""
    if name == "segment":
        vectors = np.eye(4, dtype=np.float32)
        info = write_segment(_FOLDER, vectors, ids=np.arange(4), fingerprint="a", tmp=_FOLDER)
        return [(_FOLDER / info.name).read_bytes()]
    if name == "backup":
        archive = _FOLDER / "good.tar"
        if not archive.exists():
            with Engine.open(_FOLDER / "store", create=True, model="fake") as engine:
                engine.backup(archive)
        return [archive.read_bytes()]
    return [text.encode() for text in _TEXTS[name]]


_TEXTS = {
    "query": (
        '"2:beach" + ./dog.ogg - people',
        '"rain" AND "piano" OR #12',
        "./a.jpg[0.1,0.2,0.6,0.9] + ./a.wav[3s:8s]",
        '(0.5:"a" - "b") AND c',
    ),
    "query_json": (
        '{"sum": [[1, {"text": "beach"}], [-0.5, {"item": 12}]]}',
        '{"all": [{"text": "a"}, {"any": [{"text": "b"}, {"file": "c", "crop": [0, 0, 1, 1]}]}]}',
    ),
    "where": (
        "year>=2020 AND duration_s<30 AND path LIKE 'holiday/%'",
        "NOT (modality IN ('image', 'video') OR caption IS NOT NULL)",
        "modified >= '2020-05-31' AND id != 7",
    ),
    "config": ('workers = 2\ncatalog = "sqlite"\n', "[settings]\nthreads = 1\n", "commit_s = 0.5"),
}
