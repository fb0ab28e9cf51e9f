"""Pairs become vectors once; a second run and a second row cost nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_worlds import DirectLoader

from retrieval.encoders.fake import FakeEncoder
from retrieval.media import Loader
from retrieval.training.features import Features, encode_pairs
from retrieval.training.pairs import Pair

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    for name, rgb in COLOURS.items():
        Image.new("RGB", (16, 16), rgb).save(tmp_path / f"{name}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "red.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return [
        Pair("0", image=tmp_path / "red.png", text="red"),
        Pair("1", image=tmp_path / "green.png", text="green"),
        Pair("2", image=tmp_path / "copy.png", text="RED"),
        Pair("3", image=tmp_path / "bad.png", text="blue"),
        Pair("4", image=tmp_path / "gone.png", text="blue"),
        Pair("5", text="violet"),
    ]


def _encode(pairs: list[Pair], *, cache: Path, loader: DirectLoader | Loader) -> Features:
    encoder = FakeEncoder()
    return encode_pairs(pairs, encoder=encoder, space=encoder.spaces[0], loader=loader, cache=cache)


def test_rows_hold_the_vectors_of_their_own_content(pairs: list[Pair], tmp_path: Path) -> None:
    features = _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    encoder = FakeEncoder()
    for row, word in enumerate(["red", "green", "red", "blue", "blue", "violet"]):
        alone = encoder.encode([word], modality="text")[0]
        np.testing.assert_allclose(features.vectors["text"][row], alone, atol=1e-6)
    flat = np.full((32, 32, 3), COLOURS["green"], dtype=np.uint8)
    green = encoder.encode([flat], modality="image")[0]
    np.testing.assert_allclose(features.vectors["image"][1], green, atol=1e-6)
    assert features.present["image"].tolist() == [True, True, True, False, False, False]
    assert features.present["text"].all()
    assert not features.present["audio"].any()
    assert not features.vectors["image"][3:].any()


def test_equal_content_is_one_group_and_is_encoded_once(pairs: list[Pair], tmp_path: Path) -> None:
    loader = DirectLoader(FakeEncoder().media)
    features = _encode(pairs, cache=tmp_path / "cache", loader=loader)
    image, text = features.groups["image"], features.groups["text"]
    assert image[0] == image[2] != image[1]
    assert text[0] == text[2]
    assert text[3] == text[4]
    assert len(set(image.tolist())) == 5
    assert sorted(Path(p).name for p in loader.paths) == ["bad.png", "green.png", "red.png"]
    assert features.n_encoded == 2 + 4


def test_files_that_cannot_be_used_are_named_with_a_code(pairs: list[Pair], tmp_path: Path) -> None:
    features = _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    codes = {Path(f.path).name: f.code for f in features.failures}
    assert codes["gone.png"] == "unreadable"
    assert set(codes) == {"gone.png", "bad.png"}


def test_a_second_run_takes_everything_from_the_cache(pairs: list[Pair], tmp_path: Path) -> None:
    first = _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    loader = DirectLoader(FakeEncoder().media)
    again = _encode(pairs, cache=tmp_path / "cache", loader=loader)
    assert [Path(p).name for p in loader.paths] == ["bad.png"]
    assert again.n_encoded == 0
    assert again.fingerprint == first.fingerprint


def test_a_changed_file_is_encoded_again(pairs: list[Pair], tmp_path: Path) -> None:
    _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    Image.new("RGB", (16, 16), COLOURS["blue"]).save(tmp_path / "green.png")
    features = _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    assert features.n_encoded == 1
    blue = FakeEncoder().encode(["blue"], modality="text")[0]
    assert features.vectors["image"][1] @ blue > 0.9


def test_a_damaged_cache_block_is_encoded_again(pairs: list[Pair], tmp_path: Path) -> None:
    first = _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    (block,) = (tmp_path / "cache").rglob("image-*.safetensors")
    raw = bytearray(block.read_bytes())
    raw[-3] ^= 4
    block.write_bytes(raw)
    again = _encode(pairs, cache=tmp_path / "cache", loader=DirectLoader(FakeEncoder().media))
    assert again.n_encoded == 2
    assert again.fingerprint == first.fingerprint


def test_the_guarded_loader_gives_the_same_vectors(pairs: list[Pair], tmp_path: Path) -> None:
    direct = _encode(pairs, cache=tmp_path / "one", loader=DirectLoader(FakeEncoder().media))
    with Loader(spec=FakeEncoder().media) as loader:
        guarded = _encode(pairs, cache=tmp_path / "two", loader=loader)
    assert guarded.fingerprint == direct.fingerprint
    assert {f.code for f in guarded.failures} == {f.code for f in direct.failures}
