"""A store whose vectors are searched in Milvus answers as it does from its own files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vectors_by_path import vectors_by_path

from index.errors import UnreachableError
from index.remote_server import MilvusServer
from retrieval.config import Settings, load_settings
from retrieval.engine import Engine
from retrieval.remote import pack_labels, read_remote_file, unpack_labels
from retrieval.remote_fields import NO_SCALARS, field_values
from retrieval.types import Hit

N = 40
CONDITIONS = ("path LIKE '%1%'", "size_bytes > 16", "format = 'png' OR id < 20")
QUERIES = ("red", "green grass", "blue sea", "nothing like it")


@pytest.fixture
def in_milvus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    pytest.importorskip("pymilvus", reason="the extra cluster is not installed")
    monkeypatch.setattr("index.remote._ROWS_PER_REQUEST", 0.0)  # ask it, however few rows
    monkeypatch.setattr("index.remote._ROWS_PER_CANDIDATE", 0.0)
    flags = {"workers": 1, "index": "milvus-lite"}
    return load_settings(flags, environment={}, file=tmp_path / "none")


@pytest.fixture
def in_files(in_milvus: Settings) -> Settings:
    return replace(in_milvus, values={**in_milvus.values, "index": "files"})


@pytest.fixture
def store(tmp_path: Path, world: Path, in_milvus: Settings) -> Path:
    for number in range(N):
        colour = ("red", "green", "blue")[number % 3]
        (world / f"{number:02}.txt").write_text(f"{colour} note {number} word{number % 7}")
    with Engine.open(tmp_path / "s", create=True, model="fake", settings=in_milvus) as engine:
        engine.add(world)
        (report,) = engine.build()
    assert report.kind == "milvus"
    return tmp_path / "s"


def answers(folder: Path, settings: Settings) -> list[list[Hit]]:
    with Engine.open(folder, settings=settings) as engine:
        found = [engine.search(text, k=12, modality=m) for text in QUERIES for m in (None, "image")]
        found += [engine.search(text, k=5, where=w) for text in QUERIES for w in CONDITIONS]
        assert not engine.warnings
        return found


def rebuild(folder: Path, settings: Settings) -> str:
    with Engine.open(folder, settings=settings) as engine:
        (report,) = engine.build()
        return report.kind


@pytest.mark.cluster
def test_milvus_and_the_files_give_the_same_answers_and_changing_between_them_loses_nothing(
    store: Path, in_milvus: Settings, in_files: Settings
) -> None:
    there, vectors = answers(store, in_milvus), vectors_by_path(store)
    assert rebuild(store, in_files) != "milvus"
    assert answers(store, in_files) == there
    assert vectors_by_path(store) == vectors
    assert rebuild(store, in_milvus) == "milvus"
    assert answers(store, in_milvus) == there
    assert vectors_by_path(store) == vectors


@pytest.mark.cluster
def test_rows_that_are_dead_already_are_not_written(
    store: Path, world: Path, in_milvus: Settings, in_files: Settings
) -> None:
    rebuild(store, in_files)
    with Engine.open(store, settings=in_milvus) as engine:
        engine.remove(world / "03.txt", world / "red.png")
        engine.build()
        n_parts = engine.status().n_parts
        live = answers(store, in_milvus)
    newest = max((store / "derived").glob("*.milvus.json"), key=lambda p: p.stat().st_mtime_ns)
    assert read_remote_file(newest).n_rows == n_parts
    rebuild(store, in_files)
    assert answers(store, in_files) == live


@pytest.mark.cluster
def test_a_search_answers_from_the_generation_that_the_catalog_has(
    store: Path, world: Path, in_milvus: Settings
) -> None:
    """A reader that stays open sees each commit of a writer at once, and nothing from before."""
    with (
        Engine.open(store, settings=in_milvus) as reading,
        Engine.open(store, settings=in_milvus) as writing,
    ):
        reading.search("red", k=3)
        for number in range(4):
            path = world / f"only{number}.txt"
            path.write_text(f"red note only{number}")
            writing.add(path)
            newest = reading.search(f"red note only{number}", k=40, modality="text", hybrid=False)
            assert newest[0].path == str(path)
            if number % 2:
                writing.build(force=number == 3)  # 3: into a new collection
            writing.remove(path)
            left = reading.search(f"red note only{number}", k=40, modality="text", hybrid=False)
            assert str(path) not in [hit.path for hit in left]
            assert reading.generation == writing.status().generation


@pytest.mark.cluster
def test_a_partition_per_modality_holds_the_parts_of_it(store: Path, in_milvus: Settings) -> None:
    (path,) = (store / "derived").glob("*.milvus.json")
    known = read_remote_file(path)
    assert sorted(known.partitions) == ["audio", "image", "text"]
    server = MilvusServer(str(store / "derived" / "milvus.db"))
    with Engine.open(store, settings=in_milvus) as engine, engine._catalog.reading() as reader:
        space = engine.encoder.spaces[0]
        query = engine.encoder.encode(["red"], modality="text", space=space)
        for name in known.partitions:
            found = server.nearest(
                known.collection, query, n=100, effort={}, partitions=[name]
            )  # fmt: skip
            held = reader.part_ids(part_modalities=(name,))  # type: ignore[arg-type]
            assert sorted(id_ for id_ in found[0].tolist() if id_ >= 0) == held.tolist()


@pytest.mark.cluster
def test_searches_do_ask_milvus(
    store: Path, in_milvus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = MilvusServer.nearest

    def counted(self: MilvusServer, *args: object, **named: object) -> object:
        asked.append(1)
        return real(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(MilvusServer, "nearest", counted)
    answers(store, in_milvus)
    assert len(asked) >= len(QUERIES)


@pytest.mark.cluster
def test_what_came_and_went_since_is_written_to_the_same_collection(
    store: Path, world: Path, in_milvus: Settings, in_files: Settings
) -> None:
    (before,) = (store / "derived").glob("*.milvus.json")
    collection = read_remote_file(before).collection
    (world / "new.txt").write_text("a new red one")
    with Engine.open(store, settings=in_milvus) as engine:
        engine.add(world)
        engine.remove(world / "03.txt")
        live = answers(store, in_milvus)  # with an exact tail, before any build
        engine.build()
        n_parts = engine.status().n_parts
    names = {
        read_remote_file(path).collection for path in (store / "derived").glob("*.milvus.json")
    }
    assert names == {collection}
    newest = max((store / "derived").glob("*.milvus.json"), key=lambda p: p.stat().st_mtime_ns)
    assert read_remote_file(newest).n_rows == n_parts + 1  # the removed one goes with compaction
    assert answers(store, in_milvus) == live
    rebuild(store, in_files)
    assert answers(store, in_files) == live


@pytest.mark.cluster
def test_rows_of_a_build_that_was_broken_off_are_never_answers(
    store: Path, in_milvus: Settings, in_files: Settings
) -> None:
    (path,) = (store / "derived").glob("*.milvus.json")
    known = read_remote_file(path)
    server = MilvusServer(str(store / "derived" / "milvus.db"))
    with Engine.open(store, settings=in_milvus) as engine:
        query = engine.encoder.encode(["red"], modality="text", space=engine.encoder.spaces[0])
    strays = np.repeat(query.astype(np.float32), 3, axis=0)
    server.insert(
        known.collection, strays, ids=np.array([900_001, 900_002, 900_003]),
        values=field_values([NO_SCALARS] * 3),
    )  # fmt: skip
    there = answers(store, in_milvus)
    rebuild(store, in_files)
    assert answers(store, in_files) == there


@pytest.mark.cluster
@pytest.mark.parametrize("case", ["gone", "elsewhere", "no setting", "changed file"])
def test_without_its_milvus_a_store_answers_the_same_from_its_segments_and_says_so(
    store: Path,
    in_milvus: Settings,
    in_files: Settings,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = answers(store, in_milvus)
    (path,) = (store / "derived").glob("*.milvus.json")
    settings = in_milvus
    if case == "gone":
        MilvusServer(str(store / "derived" / "milvus.db")).drop(read_remote_file(path).collection)
    elif case == "elsewhere":
        flags = {"index": "milvus://198.51.100.1:19530"}
        settings = replace(in_milvus, values={**in_milvus.values, **flags})
        monkeypatch.setattr("retrieval.remote.Remote.connect", must_not_be_called)
    elif case == "no setting":
        settings = in_files
        monkeypatch.setattr("retrieval.remote.Remote.connect", must_not_be_called)
    else:
        raw = json.loads(path.read_text())
        path.write_text(json.dumps({**raw, "collection": "other"}))
    with Engine.open(store, settings=settings) as engine:
        found = [engine.search(text, k=12, modality=m) for text in QUERIES for m in (None, "image")]
        (warning,) = engine.warnings
    assert found == there[: len(found)]
    assert "searching exactly" in warning


@pytest.mark.cluster
def test_a_milvus_that_fails_in_the_middle_costs_no_answer(
    store: Path, in_milvus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = answers(store, in_milvus)

    def failing(self: MilvusServer, *_: object, **__: object) -> object:
        raise UnreachableError("it is gone")

    with Engine.open(store, settings=in_milvus) as engine:
        engine.search("red", k=3)
        monkeypatch.setattr(MilvusServer, "nearest", failing)
        assert engine.search(QUERIES[0], k=12) == there[0]
        assert "it is gone" in engine.warnings[0]


@pytest.mark.cluster
def test_compaction_makes_a_new_collection_and_the_last_but_two_is_dropped(
    store: Path, in_milvus: Settings
) -> None:
    server = MilvusServer(str(store / "derived" / "milvus.db"))
    for _ in range(3):
        with Engine.open(store, settings=in_milvus) as engine:
            engine.build(force=True)
    assert len(server.names()) == 2


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_labels_survive_being_packed(n: int) -> None:
    labels = np.random.default_rng(n).integers(-1, 4, n).astype(np.int8)
    assert np.array_equal(unpack_labels(pack_labels(labels)), labels)


def must_not_be_called(*_: object, **__: object) -> object:
    raise AssertionError("no connection may be made")
