"""Vectors and the slow, obvious search that every kind of index is compared with."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from index import Neighbors
from index.remote import MilvusIndex
from index.remote_server import MilvusServer
from index.types import Ids, Vectors


def _unit_vectors(n: int, dim: int, *, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _slow_search(vectors: Vectors, ids: Ids, queries: Vectors, k: int) -> list[list[int]]:
    """Sort everything by (-score, id); scores summed in float64, rounded to float32 once."""
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    scores = np.clip(scores, -1, 1)
    return [ids[np.lexsort((ids, -row))[:k]].tolist() for row in scores]


def _answers(found: Neighbors) -> list[list[int]]:
    return [row[:count].tolist() for row, count in zip(found.ids, found.counts, strict=True)]


@pytest.fixture(scope="session")
def unit_vectors() -> Callable[..., Vectors]:
    return _unit_vectors


@pytest.fixture(scope="session")
def slow_search() -> Callable[..., list[list[int]]]:
    return _slow_search


@pytest.fixture(scope="session")
def answers() -> Callable[[Neighbors], list[list[int]]]:
    return _answers


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> MilvusServer:
    """The server that CROSSFIND_TEST_MILVUS names, or Milvus Lite in a file."""
    pytest.importorskip("pymilvus", reason="the extra cluster is not installed")
    address = os.environ.get("CROSSFIND_TEST_MILVUS", "")
    return MilvusServer(address or str(tmp_path_factory.mktemp("milvus") / "lite.db"))


@pytest.fixture
def make_collection(
    milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., MilvusIndex]]:
    """Make indexes in Milvus that ask it even where comparing a few rows here would be quicker."""
    monkeypatch.setattr("index.remote._ROWS_PER_REQUEST", 0.0)
    monkeypatch.setattr("index.remote._ROWS_PER_CANDIDATE", 0.0)
    names: list[str] = []

    def make(dim: int, **parameters: object) -> MilvusIndex:
        names.append(f"test_{uuid.uuid4().hex}")
        return MilvusIndex(dim, server=milvus, collection=names[-1], **parameters)

    yield make
    for name in names:
        milvus.drop(name)
