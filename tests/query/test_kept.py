"""Calibration on disk: read instead of measured, never when anything else, mended when damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from colour_media import make_media

from retrieval.config import load_settings
from retrieval.encoders.fake import FakeEncoder
from retrieval.engine import Engine
from retrieval.query.bank import TEXTS
from retrieval.query.kept import Kept


@pytest.fixture
def store(tmp_path: Path) -> Path:
    settings = load_settings({"workers": 1}, environment={}, file=tmp_path / "none")
    with Engine.open(tmp_path / "s", create=True, model="fake", settings=settings) as engine:
        engine.add(make_media(tmp_path / "media", n_files=40))
    return tmp_path / "s"


@pytest.fixture
def n_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the texts that are encoded, a list entry per call."""
    counts: list[int] = []
    encode = FakeEncoder.encode

    def counting(self: FakeEncoder, inputs: list[str], **options: object) -> np.ndarray:
        if options["modality"] == "text":
            counts.append(len(inputs))
        return encode(self, inputs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeEncoder, "encode", counting)
    return counts


def search(store: Path, query: str = "red") -> list[tuple[int, float | None, float | None]]:
    with Engine.open(store) as engine:
        hits = engine.search(query, k=9, modality="image")
    assert all(hit.confidence is not None for hit in hits)
    return [(hit.id, hit.z, hit.confidence) for hit in hits]


def test_a_second_process_reads_what_the_first_measured(store: Path, n_encoded: list[int]) -> None:
    first = search(store)
    assert len(TEXTS) in n_encoded
    n_encoded.clear()
    assert search(store) == first
    assert len(TEXTS) not in n_encoded
    assert sorted(p.name.split("-")[0] for p in (store / "derived").glob("*.kept")) == [
        "bank", "calibration",
    ]  # fmt: skip


def test_other_vectors_are_measured_again_with_the_same_bank(
    store: Path, n_encoded: list[int]
) -> None:
    first = search(store)
    with Engine.open(store) as engine:
        engine.remove(engine.search("red", k=1, modality="image")[0].id)
        engine.add(make_media(store.parent / "more", n_files=12, seed=8))
    n_encoded.clear()
    changed = search(store)
    assert changed != first
    assert len(TEXTS) not in n_encoded
    shutil.rmtree(store / "derived")
    (store / "derived").mkdir()
    assert search(store) == changed


@pytest.mark.parametrize("kind", ["bank", "calibration"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "magic"])
def test_a_damaged_file_is_measured_again_and_mended(store: Path, kind: str, damage: str) -> None:
    first = search(store)
    (path,) = (store / "derived").glob(f"{kind}-*")
    raw = path.read_bytes()
    middle = len(raw) // 2
    flipped = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
    broken = {"flip": flipped, "cut": raw[:-1], "empty": b"", "magic": b"XXXX" + raw[4:]}[damage]
    path.write_bytes(broken)
    if kind == "bank":
        next((store / "derived").glob("calibration-*")).unlink()
    assert search(store) == first
    assert path.read_bytes() == raw


def test_a_store_that_cannot_be_written_is_searched_as_well(store: Path) -> None:
    expected = search(store)
    shutil.rmtree(store / "derived")
    assert search(store) == expected


def test_the_same_key_only_gives_the_same_arrays(tmp_path: Path) -> None:
    kept = Kept(tmp_path, tmp=tmp_path)
    one = {"x": np.arange(4, dtype=np.float32), "n": np.asarray(2.5)}
    assert kept.get("a", (1, "b"), lambda: one) is one
    again = kept.get("a", (1, "b"), dict)
    assert {name: (v.dtype, v.tolist()) for name, v in again.items()} == {
        name: (v.dtype, v.tolist()) for name, v in one.items()
    }
    for other in (("a", (1, "c")), ("a", (2, "b")), ("b", (1, "b"))):
        assert kept.get(*other, dict) == {}
        assert kept.get(*other, lambda: one) == {}  # nothing is kept like anything else
