"""A store built on a cluster of Ray is the store built here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from elsewhere import files_of, http_server, shard
from vectors_by_path import vectors_by_path

from retrieval.cluster.encoded import EncodedElsewhere, encode_files, from_row, to_row
from retrieval.config import Settings
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.errors import ModelError, UsageError
from retrieval.media import Loader, scan
from retrieval.types import Failure, Loaded

QUERIES = ("red", "green grass", "blue sea", "nothing like it")


@pytest.fixture
def many(world: Path) -> Path:
    """Two hundred texts in a few blocks, and bad files among the good ones."""
    for number in range(200):
        colour = ("red", "green", "blue")[number % 3]
        (world / f"{number:03}.txt").write_text(f"{colour} note {number}")
    (world / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (world / "empty.txt").write_bytes(b"")
    return world


@pytest.fixture(scope="module")
def two_workers() -> Iterator[object]:
    """One local cluster for the module: it takes seconds to start."""
    ray = pytest.importorskip("ray", reason="the extra cluster is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def build(folder: Path, settings: Settings, media: Path, *, on: str) -> Engine:
    engine = Engine.open(folder, create=True, model="fake", settings=settings)
    engine.add(media, on=on)
    engine.build()
    return engine


@pytest.mark.cluster
def test_the_store_of_a_cluster_has_the_items_vectors_failures_and_answers_of_one_made_here(
    tmp_path: Path,
    settings: Settings,
    many: Path,
    two_workers: object,
) -> None:
    here = build(tmp_path / "here", settings, many, on="")
    there = build(tmp_path / "there", settings, many, on="ray")
    with here, there:
        assert there.failures() == here.failures()
        assert len(here.failures()) == 2
        for number in range(1, 1 + sum(here.status().n_items.values())):
            assert there.item(number) == here.item(number)
        for text in QUERIES:
            assert there.search(text, k=20) == here.search(text, k=20)
        assert there.add(many, on="ray").n_loaded == 0
    assert vectors_by_path(tmp_path / "there") == vectors_by_path(tmp_path / "here")


@pytest.mark.cluster
def test_workers_fetch_members_of_shards_at_urls_themselves(
    tmp_path: Path,
    settings: Settings,
    world: Path,
    two_workers: object,
) -> None:
    pytest.importorskip("aiohttp", reason="the extra urls is not installed")
    (world / "red.txt").write_text("a fire engine")
    (tmp_path / "shards").mkdir()
    for number in range(3):
        every = files_of(world)
        shard(tmp_path / "shards" / f"{number:02}.tar", every[3 * number : 3 * number + 3])
    with http_server(tmp_path / "shards") as (url, _):
        engines = [
            Engine.open(tmp_path / name, create=True, model="fake", settings=settings)
            for name in ("here", "there")
        ]
        for engine, on in zip(engines, ("", "ray"), strict=True):
            engine.add(f"{url}/{{00..02}}.tar", on=on)
            assert engine.add(f"{url}/{{00..02}}.tar", on=on).n_loaded == 0
        here, there = engines
        for text in QUERIES:
            assert there.search(text, k=20) == here.search(text, k=20)
            assert {hit.path.rpartition("/")[0] for hit in here.search(text, k=20)} == {
                f"{url}/{number:02}.tar" for number in range(3)
            }
        assert vectors_by_path(tmp_path / "there") == vectors_by_path(tmp_path / "here")
        for engine in engines:
            engine.close()


@pytest.mark.cluster
def test_a_worker_that_is_killed_costs_nothing(
    tmp_path: Path,
    settings: Settings,
    many: Path,
    two_workers: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file kills the actor that first meets it; Ray starts another, which takes the block."""
    fuse = tmp_path / "fuse"
    fuse.touch()
    monkeypatch.setattr("retrieval.cluster.ray_loader.FileEncoder", dies_once(str(fuse)))
    here = build(tmp_path / "here", settings, many, on="")
    there = build(tmp_path / "there", settings, many, on="ray")
    with here, there:
        assert not fuse.exists()
        assert there.status().n_parts == here.status().n_parts
        assert there.failures() == here.failures()
        for text in QUERIES:
            assert there.search(text, k=20) == here.search(text, k=20)


def dies_once(fuse: str) -> type:
    """Make an actor class whose first block takes the fuse away and kills its process."""
    from retrieval.cluster.ray_loader import FileEncoder

    class Dying(FileEncoder):
        def __call__(self, block: dict[str, object]) -> dict[str, object]:
            import os
            import signal

            try:
                os.unlink(fuse)
            except FileNotFoundError:
                return super().__call__(block)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("still alive")

    return Dying


@pytest.mark.parametrize("address", ["spark", "http://x", "milvus://x:1"])
def test_an_address_that_is_no_cluster_is_refused(
    tmp_path: Path, settings: Settings, world: Path, address: str
) -> None:
    with (
        Engine.open(tmp_path / "s", create=True, model="fake", settings=settings) as engine,
        pytest.raises(UsageError, match="no cluster") as caught,
    ):
        engine.add(world, on=address)
    assert caught.value.code == "bad_address"


# How files travel, without Ray


@pytest.fixture
def outcomes(many: Path) -> list[Loaded | Failure]:
    with Loader(spec=FakeEncoder().media, n_workers=1) as loader:
        found = list(scan([many], exclude=[], on_skip=lambda _: None))
        return [outcome for _, outcome in loader.load_many(found)]


def payload_free(one: Loaded | Failure) -> Loaded | Failure:
    if isinstance(one, Failure):
        return one
    texts = [str(p.payload) if isinstance(p.payload, str) else "" for p in one.parts]
    parts = [replace(p, payload=text) for p, text in zip(one.parts, texts, strict=True)]
    return replace(one, parts=tuple(parts))


def test_a_file_and_its_vectors_come_back_as_they_went(outcomes: list[Loaded | Failure]) -> None:
    encoder = FakeEncoder()
    elsewhere = EncodedElsewhere(encoder)
    for one, vectors in encode_files(outcomes, encoder=encoder):
        back = from_row(to_row(one, vectors), encoder=encoder)
        assert payload_free(back) == payload_free(one)
        if not isinstance(one, Loaded) or not isinstance(back, Loaded):
            continue
        for sent, got in zip(one.parts, back.parts, strict=True):
            alone = encoder.encode([sent.payload], modality=sent.modality)
            taken = elsewhere.encode([got.payload], modality=got.modality)
            np.testing.assert_allclose(taken, alone, atol=1e-6)


def test_a_worker_with_another_model_is_refused(outcomes: list[Loaded | Failure]) -> None:
    encoder = FakeEncoder()
    good = next(one for one in outcomes if isinstance(one, Loaded))
    short: npt.NDArray[np.float32] = np.zeros(3, np.float32)
    with pytest.raises(ModelError, match="same crossfind and model"):
        from_row(to_row(good, short), encoder=encoder)


def test_what_travels_is_text_and_bytes(outcomes: list[Loaded | Failure]) -> None:
    for one, vectors in encode_files(outcomes, encoder=FakeEncoder()):
        row = to_row(one, vectors)
        assert type(row["vectors"]) is bytes
        assert isinstance(json.loads(row["head"]), dict)
