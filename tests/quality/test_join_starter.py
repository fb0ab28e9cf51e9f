"""The two models that the proof of joining makes of the starter."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.join_starter import SoundModel, hit_rate, shared
from retrieval.encoders.base import Vectors
from retrieval.encoders.starter import StarterEncoder
from retrieval.types import Payload


@pytest.fixture(scope="module")
def ears() -> SoundModel:
    return SoundModel(StarterEncoder(threads=1), threads=1)


def test_the_sound_model_lives_in_the_space_of_its_event_classes(ears: SoundModel) -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, 44_100).astype(np.float32)
    sounds: list[Payload] = [noise, np.sin(np.arange(44_100) / 9).astype(np.float32)]
    made = ears.encode(sounds, modality="audio")
    assert made.shape == (2, len(ears._names))
    assert ears.spaces[0].dim != StarterEncoder(threads=1).spaces[0].dim
    assert (made >= 0).all(), "roots of probabilities"
    np.testing.assert_allclose((made**2).sum(axis=1), 1, rtol=1e-5)
    assert made[0] @ made[1] < 0.9


def test_its_texts_lie_where_the_names_of_the_classes_are(ears: SoundModel) -> None:
    words = ["a dog barking", "rain"]
    made = ears.encode(words, modality="text")
    near = ears._starter.encode(words, modality="text") @ ears._names.T
    odds = np.exp(24 * near.astype(np.float64))
    np.testing.assert_allclose(made**2, odds / odds.sum(axis=1, keepdims=True), atol=1e-5)


def test_hits_are_counted_among_the_first_k_of_centred_vectors() -> None:
    def line(*angles: float) -> Vectors:
        return np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32)

    queries, items = line(0.0, 1.0, 2.0), line(0.0, 1.0, 2.0)
    own = np.eye(3, dtype=bool)
    assert hit_rate(queries, items, own, k=1) == 1.0
    assert hit_rate(queries, items, own[::-1], k=1) == pytest.approx(1 / 3)
    assert hit_rate(queries, items, ~own, k=2) == 1.0
    assert shared("dog bark", "barking_dog")
    assert not shared("dog bark", "rooster")
