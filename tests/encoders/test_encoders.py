"""The Encoder contract, and a self-test that names what is broken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from retrieval.doctor import demo_probe
from retrieval.encoders.base import Encoder
from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.references import read_references
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.selftest import Probe, self_test
from retrieval.errors import InputError, ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space


class Linear(Encoder):
    """Sum the input to a vector; counts batches; `spoil` breaks rows or shapes."""

    def __init__(self, *, batch_size: int = 3, spoil: object = None) -> None:
        self.name = "linear"
        self.spaces = (Space("a", "linear", "f", 4, ("image", "text")),
                       Space("b", "linear", "g", 2, ("audio", "text")))  # fmt: skip
        self.media = MediaSpec()
        self.batch_size = {"image": batch_size, "audio": batch_size, "text": batch_size}
        self.batches: list[int] = []
        self._spoil = spoil

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,  # noqa: ARG002
        space: Space,
    ) -> np.ndarray:
        self.batches.append(len(inputs))
        if self._spoil == "shape":
            return np.zeros((len(inputs), space.dim + 1), np.float32)
        values = [len(v) if isinstance(v, str) else float(np.sum(v)) for v in inputs]
        rows = [[3.0 * v, 4.0 * v, *([0.0] * (space.dim - 2))] for v in values]
        return np.array(rows, dtype=np.float32)


def test_encode_batches_and_normalises() -> None:
    encoder = Linear()
    made = encoder.encode(["a", "bb", "ccc", "dddd"], modality="text")
    assert encoder.batches == [3, 1]
    assert made.dtype == np.float32
    assert np.allclose(made, [[0.6, 0.8, 0, 0]] * 4)


def test_rows_that_cannot_be_placed_are_zero_and_the_others_stay_aligned() -> None:
    sounds = [np.full(4, v, np.float32) for v in (1.0, np.nan, 0.0, np.inf, 2.0)]
    made = Linear().encode(sounds, modality="audio")
    assert [bool(row.any()) for row in made] == [True, False, False, False, True]


def test_nothing_encodes_to_no_rows() -> None:
    assert Linear().encode([], modality="image").shape == (0, 4)


@pytest.mark.parametrize(
    ("modality", "bad"),
    [
        ("text", b"bytes"),
        ("image", np.zeros((4, 4), np.uint8)),
        ("image", np.zeros((4, 4, 3), np.float32)),
        ("image", np.zeros((0, 4, 3), np.uint8)),
        ("audio", np.zeros(4, np.float64)),
        ("audio", np.zeros((2, 4), np.float32)),
        ("audio", np.zeros(0, np.float32)),
    ],
)
def test_inputs_of_the_wrong_form_are_refused_by_position(modality: Modality, bad: Payload) -> None:
    with pytest.raises(InputError, match="input 0") as caught:
        Linear().encode([bad], modality=modality)
    assert caught.value.code == "bad_payload"


def test_spaces_are_named_by_the_pair_they_serve() -> None:
    encoder = Linear()
    assert encoder.space_for("text", "image").id == "a"
    assert encoder.space_for("text", "audio").id == "b"
    with pytest.raises(ModelError) as caught:
        encoder.space_for("audio", "image")
    assert caught.value.code == "pair_not_served"
    with pytest.raises(ModelError) as caught:
        encoder.encode(["x"], modality="video")
    assert caught.value.code == "modality_not_served"
    with pytest.raises(ModelError) as caught:
        Linear(spoil="shape").encode(["x"], modality="text")
    assert caught.value.code == "model_shape"


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="'starter'") as caught:
        open_encoder("startr", threads=1)
    assert (caught.value.code, caught.value.exit_code) == ("unknown_model", 7)


# --- the self-test ----------------------------------------------------------------------------


def colour_probe() -> Probe:
    colours = {"red": 100, "yellow": 250, "green": 700, "blue": 3000, "violet": 6000}
    rgb = {"red": (255, 0, 0), "yellow": (255, 255, 0), "green": (0, 255, 0), "blue": (0, 0, 255),
           "violet": (128, 0, 255)}  # fmt: skip
    time_s = np.arange(32_000) / 16_000
    sounds = [np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in colours.values()]
    pictures = [np.full((8, 8, 3), rgb[name], np.uint8) for name in colours]
    return Probe({"image": pictures, "audio": sounds, "text": list(colours)})


class Broken(Encoder):
    """The fake encoder with one thing wrong."""

    def __init__(self, fault: str) -> None:
        self._inner, self._fault = FakeEncoder(), fault
        self.name, self.spaces = "broken", self._inner.spaces
        self.media, self.batch_size = self._inner.media, self._inner.batch_size

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> np.ndarray:
        probe = colour_probe().inputs
        if self._fault == "constant" and modality == "image":
            return np.ones((len(inputs), space.dim), np.float32)
        if self._fault == "swapped" and modality in ("image", "text"):
            other: Modality = "text" if modality == "image" else "image"
            return self._inner.encode(probe[other][: len(inputs)], modality=other)
        made = self._inner.encode(inputs, modality=modality)
        if self._fault == "projection" and modality == "image":
            return np.roll(made, 29, axis=1)
        if self._fault == "shape" and modality == "image":
            return made[:, :10]
        if self._fault == "rate" and modality == "audio":
            halved = [np.asarray(value)[::2] for value in inputs]
            return self._inner.encode(halved, modality="audio")
        return made


def failed(encoder: Encoder, *, with_references: bool) -> set[tuple[str, str]]:
    probe = colour_probe()
    fake = FakeEncoder()
    references = {m: fake.encode(v, modality=m) for m, v in probe.inputs.items()}
    checks = self_test(encoder, probe, references=references if with_references else None)
    return {(c.name, c.subject) for c in checks if not c.passed}


@pytest.mark.parametrize("with_references", [True, False])
def test_a_sound_model_passes(with_references: bool) -> None:
    assert failed(FakeEncoder(), with_references=with_references) == set()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("constant", {("constant_vector", "image")}),
        ("swapped", {("swapped_towers", "image"), ("swapped_towers", "text")}),
        ("projection", {("missing_projection", "image")}),
        ("shape", {("missing_projection", "image")}),
        ("rate", {("wrong_sample_rate", "audio")}),
    ],
)
def test_each_fault_is_named(fault: str, expected: set[tuple[str, str]]) -> None:
    assert failed(Broken(fault), with_references=True) == expected


def test_the_shipped_model_gives_its_reference_vectors() -> None:
    starter = open_encoder("starter", threads=1)
    references = read_references(starter)
    assert references is not None, "run: python -m benchmarks.quality.write_references"
    checks = self_test(starter, demo_probe(starter.media), references=references)
    assert {(c.name, c.subject) for c in checks if not c.passed} == set()
    assert {c.subject for c in checks if c.name == "other_weights"} == {"image", "audio", "text"}


def test_without_references_a_lost_alignment_is_noticed() -> None:
    assert ("alignment", "image-audio") in failed(Broken("projection"), with_references=False)
