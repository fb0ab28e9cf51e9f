"""Verifying: vectors against their sources, and the last result remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli import crossfind

from retrieval.config import Settings
from retrieval.engine import Engine
from retrieval.errors import ModelError, StorageError
from tests.faults.plants import planted
from tests.faults.subject import in_process


def codes(engine: Engine, **options: bool | int) -> list[str]:
    return sorted(finding.code for finding in engine.verify(**options).findings)  # type: ignore[arg-type]


def test_a_sample_of_every_modality_is_encoded_again_from_its_source(
    engine: Engine, world: Path
) -> None:
    engine.add(world)
    report = engine.verify()
    assert report.findings == ()
    assert (report.n_encoded, report.n_unknown) == (4 + 2 + 3, 0)
    assert engine.verify(n_sample=2).n_encoded == 2 + 2 + 2
    assert engine.verify(n_sample=0).n_encoded == 0


def test_vectors_that_lie_with_other_ids_are_found_and_made_again(
    engine: Engine, world: Path
) -> None:
    with planted("ids_by_position"):
        engine.add(world)
    assert codes(engine, n_sample=0) == []  # every checksum is right
    report = engine.verify()
    # Nine vectors in reverse: all but the one in the middle are another's.
    assert [finding.code for finding in report.findings] == ["vector_misplaced"] * 8
    assert "cosine" in report.findings[0].detail
    repaired = engine.verify(repair=True)
    assert all(finding.repaired for finding in repaired.findings)
    assert len(repaired.findings) == 8
    engine.add(world)
    assert codes(engine) == []
    for name in ("red", "green", "blue", "white"):
        assert engine.search(name, k=1, modality="image")[0].path == str(world / f"{name}.png")


def test_sources_that_are_gone_or_changed_are_counted_and_no_finding(
    engine: Engine, world: Path
) -> None:
    engine.add(world)
    (world / "red.png").unlink()
    (world / "green.png").write_bytes((world / "blue.png").read_bytes())
    (world / "low.wav").write_bytes(b"no sound")
    report = engine.verify()
    assert report.findings == ()
    assert (report.n_encoded, report.n_unknown) == (9 - 3, 3)


def test_a_missing_segment_is_told_as_missing(engine: Engine, world: Path) -> None:
    engine.add(world)
    for path in engine.store.segments.iterdir():
        path.unlink()
    assert codes(engine) == ["segment_missing"]
    assert codes(engine, repair=True) == ["segment_missing"]
    engine.add(world)
    assert codes(engine) == []
    assert len(engine.search("red", k=20)) == 9


def test_a_damaged_index_is_dropped_and_the_next_build_makes_it_again(
    engine: Engine, world: Path
) -> None:
    with in_process():  # which plans an index file however small the store
        engine.add(world)
        engine.build()
        expected = engine.search("red", k=20)
        (path,) = engine.store.derived.glob("*.faiss")
        path.write_bytes(path.read_bytes()[:-1])
        assert codes(engine) == codes(engine, repair=True) == ["index_damaged"]
        assert codes(engine) == []
        with Engine.open(engine.store.root) as other:
            assert other.search("red", k=20) == expected
            assert other.warnings == ()
            assert [report.kind for report in other.build()] == ["flat"]
            assert other.search("red", k=20) == expected
            assert codes(other) == []


def test_bytes_are_verified_where_the_model_cannot_be_had(
    engine: Engine, world: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add(world)

    def gone(*_: object, **__: object) -> None:
        raise ModelError("the weights are gone", code="model_missing")

    monkeypatch.setattr("retrieval.engine_serving.open_own_encoder", gone)
    with Engine.open(engine.store.root, settings=settings) as other:
        report = other.verify()
    assert report.findings == ()
    assert report.n_rows > 0
    assert report.n_encoded == 0
    assert report.unencoded == "the weights are gone"


def test_status_tells_the_last_verification(engine: Engine, world: Path) -> None:
    engine.add(world)
    assert engine.status().verified is None
    engine.verify()
    first = engine.status().verified
    assert first is not None
    assert (first.n_findings, first.n_encoded, first.generation) == (0, 9, 1)
    segment = next(engine.store.segments.iterdir())
    data = segment.read_bytes()
    segment.write_bytes(data[:300] + bytes([data[300] ^ 1]) + data[301:])
    engine.verify(repair=True)
    second = engine.status().verified
    assert second is not None
    assert (second.n_findings, second.n_repaired) == (1, 1)
    assert second.at >= first.at


def test_a_store_that_takes_no_record_is_verified_all_the_same(
    engine: Engine, world: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine.add(world)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space", code="disk_full")

    monkeypatch.setattr("retrieval.verify_record.publish", full)
    assert engine.verify().findings == ()
    assert "not remembered" in caplog.text
    engine.store.verified.write_text("{")
    assert engine.status().verified is None


def test_the_commands_tell_what_was_verified(tmp_path: Path, world: Path) -> None:
    assert crossfind("index", "build", world, "--model", "fake", cwd=tmp_path).code == 0
    assert "verified    never" in crossfind("index", "status", cwd=tmp_path).out
    done = crossfind("index", "verify", "--sample", "1", cwd=tmp_path)
    assert (done.code, done.out) == (0, "")
    assert "3 vectors encoded again: nothing damaged" in done.err
    told = crossfind("index", "status", cwd=tmp_path).out
    assert " UTC, generation " in told
    assert "nothing damaged (" in told
