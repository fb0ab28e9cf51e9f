"""Filters in Milvus's words let through what they must, and Milvus then finds what faiss finds."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from item_rows import COLUMNS, condition, file_records, item_record, make_rows

from index.allowed import Allowed
from index.faiss_index import FaissIndex
from index.remote import MilvusIndex
from index.remote_server import MilvusServer
from index.row_blocks import ArrayBlock
from index.types import Vectors
from retrieval.catalog.conditions import AllOf, AnyOf, Comparison, Like, Member, Not, Within
from retrieval.catalog.read import Reader
from retrieval.catalog.records import Batch
from retrieval.catalog.store import Catalog
from retrieval.query.where import parse_where
from retrieval.remote_fields import FIELDS, field_values, of_modality, to_expression

N, DIM = 60, 8
SMALL, NAMED = Comparison("width_px", "<", 100), Like("path", "%/a/%")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    path = tmp_path_factory.mktemp("fields") / "catalog.sqlite"
    catalog = Catalog.open(path, uuid="u", create=True)
    rows = make_rows(N, seed=3)
    with catalog.writing() as writer:
        writer.apply(Batch(files=tuple(file_records(rows)), items=tuple(map(item_record, rows))))
        writer.put_columns(
            COLUMNS, [(r.id, {name: getattr(r, name) for name in COLUMNS}) for r in rows]
        )
    with catalog.reading() as opened:
        yield opened
    catalog.close()


@pytest.fixture(scope="module")
def table(reader: Reader) -> Iterator[sqlite3.Connection]:
    """The fields of the parts in SQL: an independent reading of the expressions."""
    scalars = reader.part_scalars(range(1, N + 1))
    values = field_values([scalars[id_] for id_ in range(1, N + 1)])
    assert values.keys() == FIELDS.keys()
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"create table parts (id, {', '.join(FIELDS)})")
        rows = zip(range(1, N + 1), *values.values(), strict=True)
        marks = ",".join("?" * (1 + len(FIELDS)))
        connection.executemany(f"insert into parts values ({marks})", rows)
        yield connection


def let_through(expression: str, table: sqlite3.Connection) -> list[int]:
    words = expression.replace("==", "=").replace('"', "'")
    words = re.sub(r"\[([^]]*)\]", r"(\1)", words)
    return [id_ for (id_,) in table.execute(f"select id from parts where {words} order by id")]


def test_an_expression_lets_through_all_that_fits_and_seldom_more(
    reader: Reader, table: sqlite3.Connection
) -> None:
    rng, n_told, n_exact = random.Random(5), 0, 0
    for _ in range(600):
        text, _ = condition(rng, rng.choice([0, 0, 1, 2, 3]))
        wanted = parse_where(text, columns=COLUMNS)
        expression = to_expression(wanted)
        if expression:
            fitting = set(reader.part_ids_where(wanted).tolist())
            found = set(let_through(expression, table))
            assert fitting <= found, text
            n_told, n_exact = n_told + 1, n_exact + (fitting == found)
    assert n_told > 100
    assert n_exact > 0.5 * n_told


@pytest.mark.parametrize("modality", ["image", "audio", "text", "video"])
def test_a_modality_is_told_exactly(
    reader: Reader, table: sqlite3.Connection, modality: str
) -> None:
    expected = reader.part_ids(modality=modality)  # type: ignore[arg-type]
    assert let_through(of_modality(modality), table) == expected.tolist()


@pytest.mark.parametrize(
    "untold",
    [
        NAMED,
        Not(AllOf((SMALL, NAMED))),
        AnyOf((SMALL, NAMED)),
        Member("tag", ("pets",)),
        Within("modified", 0, 10),
        Comparison("caption", "=", "a"),
        Comparison("format", "=", 'png" or id > 0 or format == "'),
        Comparison("size_bytes", "=", 2**53 + 1),
        Comparison("rating", ">", 1),
    ],
)
def test_what_can_change_or_cannot_be_written_plainly_is_not_told(untold: object) -> None:
    assert to_expression(untold) == ""  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    rows = np.random.default_rng(4).standard_normal((N, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def in_milvus(
    tmp_path_factory: pytest.TempPathFactory, reader: Reader, vectors: Vectors
) -> Iterator[MilvusIndex]:
    pytest.importorskip("pymilvus", reason="the extra cluster is not installed")
    ids = np.arange(1, N + 1)
    scalars = reader.part_scalars(ids.tolist())
    ix = MilvusIndex(
        DIM, server=MilvusServer(str(Path(tmp_path_factory.mktemp("m")) / "lite.db")),
        collection="fields", algorithm="FLAT", fields=FIELDS,
    )  # fmt: skip
    values = field_values([scalars[int(id_)] for id_ in ids])
    ix.add_block(ArrayBlock(vectors), ids=ids, values=values)
    yield ix
    ix.close()


@pytest.mark.cluster
def test_milvus_told_of_random_conditions_finds_what_faiss_finds(
    reader: Reader, in_milvus: MilvusIndex, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cost in ("_ROWS_PER_REQUEST", "_ROWS_PER_CANDIDATE", "_ROWS_PER_ID"):
        monkeypatch.setattr(f"index.remote.{cost}", 0.0)
    monkeypatch.setattr("index.remote.SPARE", 2)
    monkeypatch.setattr("index.remote.MOST_NEAREST", 20)  # ids are told where fields cannot be
    told: list[str] = []
    nearest = MilvusServer.nearest

    def noted(self: MilvusServer, *args: object, **named: object) -> object:
        told.append(str(named["expression"]))
        return nearest(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(MilvusServer, "nearest", noted)
    plain = FaissIndex(DIM, kind="hnsw", m=16, ef_search=N)
    plain.add(vectors, ids=np.arange(1, N + 1))
    rng = random.Random(8)
    queries = vectors[:3] * np.float32(-1)
    for number in range(200):
        text, _ = condition(rng, rng.choice([0, 0, 1, 2]))
        wanted = parse_where(text, columns=COLUMNS)
        ids = reader.part_ids_where(wanted)
        here = plain.search(queries, k=5, allowed=Allowed(ids))
        there = in_milvus.search(
            queries, k=5, allowed=Allowed(ids, expression=to_expression(wanted))
        )
        assert there.counts.tolist() == here.counts.tolist(), text
        for a, b, n in zip(here.ids, there.ids, here.counts, strict=True):
            assert a[:n].tolist() == b[:n].tolist(), f"{number}: {text}"
        np.testing.assert_array_equal(here.scores, there.scores)
    by_ids = [one for one in told if one.startswith("id in")]
    by_fields = [one for one in told if one and not one.startswith("id in")]
    assert len(by_ids) > 20
    assert len(by_fields) > 25
