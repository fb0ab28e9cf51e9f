"""The trunk contract: features beside the vectors, in one pass, with the same checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from retrieval.encoders.base import TrunkEncoder
from retrieval.encoders.starter import StarterEncoder
from retrieval.errors import InputError, ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space

Floats = npt.NDArray[np.float32]


class _Counting(TrunkEncoder):
    """A text's vector is (length, 1), its features are (length, length squared, 7)."""

    def __init__(self, *, n_features: int = 3) -> None:
        self.name = "counting"
        self.spaces = (Space("counting", "counting", "cd" * 32, 2, ("text",)),)
        self.media = MediaSpec()
        self.batch_size = {"text": 2}
        self.trunk_dims = {"text": n_features}
        self.batches: list[int] = []

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,  # noqa: ARG002
        space: Space,  # noqa: ARG002
    ) -> Floats:
        return np.array([[len(text), 1] for text in inputs], dtype=np.float32)

    def _trunk_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> tuple[Floats, Floats]:
        self.batches.append(len(inputs))
        n = np.array([len(text) for text in inputs], dtype=np.float32)
        features = np.stack([n, n * n, np.full_like(n, 7)], axis=1)
        features[n == 3] = np.nan
        return self._encode_batch(inputs, modality=modality, space=space), features


def test_features_keep_their_length_and_come_with_the_vectors_of_encode() -> None:
    encoder, texts = _Counting(), ["a", "ab", "abcd", "", "abcdef"]
    vectors, features = encoder.encode_with_trunk(texts, modality="text")
    assert features.tolist() == [[n, n * n, 7] for n in (1, 2, 4, 0, 6)]
    assert features.dtype == np.float32
    assert encoder.batches == [2, 2, 1]
    np.testing.assert_array_equal(vectors, encoder.encode(texts, modality="text"))


def test_a_row_that_the_trunk_could_not_place_is_zero_on_both_sides() -> None:
    vectors, features = _Counting().encode_with_trunk(["ab", "abc"], modality="text")
    assert vectors.any(axis=1).tolist() == [True, False]
    assert features.any(axis=1).tolist() == [True, False]


def test_an_adapter_without_features_cannot_be_made() -> None:
    class Forgetful(TrunkEncoder):
        _encode_batch = _Counting._encode_batch

    with pytest.raises(TypeError, match="_trunk_batch"):
        Forgetful()  # type: ignore[abstract]


def test_a_modality_without_a_trunk_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="no trunk for text; it has one for image") as caught:
        StarterEncoder(threads=1).encode_with_trunk(["a dog"], modality="text")
    assert caught.value.code == "modality_not_served"


def test_a_trunk_refuses_what_encode_refuses() -> None:
    with pytest.raises(InputError) as bad:
        _Counting().encode_with_trunk(cast("list[Payload]", ["a", 3]), modality="text")
    assert bad.value.code == "bad_payload"
    with pytest.raises(ModelError) as unserved:
        _Counting().encode_with_trunk([np.zeros((2, 2, 3), np.uint8)], modality="image")
    assert unserved.value.code == "modality_not_served"
    with pytest.raises(ModelError) as shape:
        _Counting(n_features=4).encode_with_trunk(["a"], modality="text")
    assert shape.value.code == "model_shape"


def test_the_starter_gives_the_same_vectors_with_its_trunk_as_without() -> None:
    encoder, generator = StarterEncoder(threads=1), np.random.default_rng(0)
    side = encoder.media.image_size_px
    pictures = list(generator.integers(0, 256, (2, side, side, 3), dtype=np.uint8))
    noise = generator.uniform(-0.5, 0.5, 44_100).astype(np.float32)
    sounds = [noise, np.zeros(44_100, np.float32)]
    inputs: dict[Modality, list[Payload]] = {"image": [*pictures], "audio": [*sounds]}
    for modality, given in inputs.items():
        vectors, features = encoder.encode_with_trunk(given, modality=modality)
        np.testing.assert_array_equal(vectors, encoder.encode(given, modality=modality))
        assert features.shape == (2, encoder.trunk_dims[modality])
        assert features.any(axis=1).tolist() == [True, modality == "image"]
        assert not np.allclose(np.linalg.norm(features[0]), 1.0)
