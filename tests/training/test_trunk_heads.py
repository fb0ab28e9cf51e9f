"""Heads on a base's trunk: the blend is its formula, chosen on validation, saved and reopened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt
import pytest
import torch
from training_worlds import DirectLoader, TurnedEncoder, write_turned_pairs

from retrieval.encoders.base import Encoder, TrunkEncoder
from retrieval.encoders.model_file import HeadSpec, ModelFile, read_model_file
from retrieval.encoders.trained import apply_head, open_trained
from retrieval.errors import ModelError, StoppedError
from retrieval.training.features import Features
from retrieval.training.heads import Head
from retrieval.training.heads_job import HeadOptions, HeadsJob, HeadsReport, Watchers
from retrieval.training.heads_share import choose_shares
from retrieval.training.recipe import Recipe
from retrieval.training.run_heads import train_heads
from retrieval.training.trainer import Step
from retrieval.types import Modality, Payload, Space

Floats = npt.NDArray[np.float32]


class BlurredEncoder(TurnedEncoder, TrunkEncoder):
    """A base whose picture vectors keep 2 of 12 numbers, while its trunk has them all."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk_dims = {"image": 15}

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> Floats:
        vectors = super()._encode_batch(inputs, modality=modality, space=space)
        if modality == "image":
            vectors[:, 2:] = 0
        return vectors

    def _trunk_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> tuple[Floats, Floats]:
        whole = super()._encode_batch(inputs, modality=modality, space=space)
        features = np.concatenate([whole * 0.01 + 3, np.zeros((len(whole), 3))], axis=1)
        return self._encode_batch(inputs, modality=modality, space=space), features.astype("f4")


def _job(folder: Path, *, n_epochs: int = 60, on: str = "trunk") -> HeadsJob:
    return HeadsJob(
        source=folder,
        base="turned",
        out=folder / "my.model",
        cache=folder / "cache",
        recipe=Recipe(n_epochs=n_epochs, batch_size=64, learning_rate=1e-2, patience_epochs=20),
        options=HeadOptions(dim_hidden=64, on=on),  # type: ignore[arg-type]  # a test's choice
        force=True,
    )


def _train(folder: Path, job: HeadsJob, watchers: Watchers | None = None) -> HeadsReport:
    encoder = BlurredEncoder()
    pairs = write_turned_pairs(folder, 160)
    loader = DirectLoader(encoder.media)
    return train_heads(pairs, encoder=encoder, loader=loader, job=job, watchers=watchers)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HeadsReport]:
    folder = tmp_path_factory.mktemp("trunk")
    return folder, _train(folder, _job(folder))


def _open(path: Path, base: Encoder | None = None) -> Encoder:
    return open_trained(path, open_base=lambda _name: base or BlurredEncoder())


def _pictures(n: int) -> list[Payload]:
    numbers = np.random.default_rng(99).integers(0, 256, size=(n, 2, 2, 3), dtype=np.uint8)
    return [picture.repeat(4, axis=0).repeat(4, axis=1) for picture in numbers]


def test_a_blend_is_the_base_and_a_unit_learnt_vector_by_their_shares() -> None:
    spec = HeadSpec("blend", dim_in=4, dim_out=2, dim_hidden=1)
    weights = {
        "first.weight": np.array([[100.0, 0.0]], np.float32),
        "first.bias": np.array([1.0], np.float32),
        "last.weight": np.array([[3.0], [4.0]], np.float32),
        "last.bias": np.zeros(2, np.float32),
        "share": np.array([0.25], np.float32),
    }
    # gelu of a large x is x, so the learnt direction is (3, 4) / 5 for any positive feature
    out = apply_head(np.array([[1.0, 0.0, 2.0, -9.0]], np.float32), head=spec, weights=weights)
    np.testing.assert_allclose(out, [[0.75 + 0.25 * 0.6, 0.25 * 0.8]], rtol=1e-6)
    assert {name: value.shape for name, value in weights.items()} == spec.shapes()


def test_a_blend_in_numpy_gives_what_it_gives_in_torch() -> None:
    torch.manual_seed(0)
    spec = HeadSpec("blend", dim_in=4 + 6, dim_out=4, dim_hidden=9)
    head = Head(spec, dropout=0.5, share=0.6).eval()
    rows = torch.randn(20, 10) * torch.arange(1, 11)
    rows[0, 5] = 0.0
    features = rows[:, 4:].numpy().astype(np.float64)
    roots = np.sign(features) * np.abs(features) ** 0.5
    x = torch.from_numpy((roots / (roots**2).mean(axis=1, keepdims=True) ** 0.5).astype(np.float32))
    learnt = head.last(torch.nn.functional.gelu(head.first(x), approximate="tanh"))
    expected = 0.4 * rows[:, :4] + 0.6 * learnt / learnt.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head(rows), expected, rtol=1e-4, atol=1e-5)
    weights = {name: value.numpy() for name, value in head.state_dict().items()}
    out = apply_head(rows.numpy(), head=spec, weights=weights)
    np.testing.assert_allclose(out, head(rows).detach().numpy(), rtol=1e-4, atol=1e-5)


def _shares_world(learnt: Floats) -> tuple[Features, dict[str, Floats]]:
    """Texts are the axes; the base puts every picture on the wrong axis, the head gives learnt."""
    texts = np.eye(4, dtype=np.float32)
    numbers = np.arange(4)
    features = Features(
        vectors={"image": np.roll(texts, 1, axis=0), "audio": texts * 0, "text": texts},
        present={m: np.full(4, m != "audio") for m in ("image", "audio", "text")},
        groups={"image": numbers, "audio": -1 - numbers, "text": numbers},
        failures=(),
        n_encoded=0,
        trunks={"image": texts * 50},
    )
    tensors = {
        "image.first.weight": np.eye(4, dtype=np.float32),
        "image.first.bias": np.zeros(4, np.float32),
        "image.last.weight": learnt,
        "image.last.bias": np.zeros(4, np.float32),
        "image.share": np.array([0.7], np.float32),
    }
    return features, tensors


@pytest.mark.parametrize(("right", "expected"), [(True, 0.6), (False, 0.3)])
def test_the_share_is_the_smallest_that_validation_finds_as_good(
    right: bool, expected: float
) -> None:
    # A right head wins over a wrong base as soon as its share is above one half; where head and
    # base agree, more of the head gains nothing.
    learnt = np.eye(4, dtype=np.float32) if right else np.roll(np.eye(4, dtype=np.float32), 1, 1)
    features, tensors = _shares_world(learnt)
    spec = HeadSpec("blend", dim_in=8, dim_out=4, dim_hidden=4)
    out, shares = choose_shares(
        features,
        rows=np.arange(4),
        types=(("image", "text"),),
        heads={"image": spec},
        tensors=tensors,
    )
    assert shares == {"image": expected}
    np.testing.assert_array_equal(out["image.share"], np.array([expected], np.float32))
    np.testing.assert_array_equal(tensors["image.share"], np.array([0.7], np.float32))


def test_heads_on_the_trunk_find_what_the_vectors_have_lost(
    trained: tuple[Path, HeadsReport], tmp_path: Path
) -> None:
    report = trained[1]
    assert not report.adoption.forced
    on_vectors = _train(tmp_path, _job(tmp_path, on="vectors"))
    assert on_vectors.adoption.after.value < 0.65
    assert report.adoption.after.value > on_vectors.adoption.after.value + 0.2
    assert 0.3 <= report.shares["image"] <= 1.0
    assert on_vectors.shares == {}
    assert read_model_file(tmp_path / "my.model").heads["image"].kind == "residual"


def test_a_blend_reopens_to_the_same_bits_and_is_what_was_judged(
    trained: tuple[Path, HeadsReport],
) -> None:
    path = trained[0] / "my.model"
    one, two = (_open(path).encode(_pictures(9), modality="image") for _ in range(2))
    np.testing.assert_array_equal(one, two)
    model, base = read_model_file(path), BlurredEncoder()
    assert model.heads == {"image": HeadSpec("blend", dim_in=27, dim_out=12, dim_hidden=64)}
    both = np.concatenate(base.encode_with_trunk(_pictures(9), modality="image"), axis=1)
    weights = {name.removeprefix("image."): value for name, value in model.tensors.items()}
    raw = apply_head(both, head=model.heads["image"], weights=weights)
    np.testing.assert_allclose(one, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    assert model.tensors["image.share"].tolist() == [np.float32(trained[1].shares["image"])]


def test_the_share_is_part_of_the_fingerprint(trained: tuple[Path, HeadsReport]) -> None:
    model = read_model_file(trained[0] / "my.model")
    other = {**model.tensors, "image.share": np.array([0.123], np.float32)}
    assert replace(model, tensors=other).fingerprint != model.fingerprint


def test_only_a_blend_asks_for_the_second_version_of_the_format(
    trained: tuple[Path, HeadsReport],
) -> None:
    assert b'\\"version\\": 2' in (trained[0] / "my.model").read_bytes()


def test_a_base_whose_trunk_has_another_length_is_refused(
    trained: tuple[Path, HeadsReport],
) -> None:
    with pytest.raises(ModelError) as raised:
        _open(trained[0] / "my.model", TurnedEncoder()).encode(_pictures(1), modality="image")
    assert raised.value.code == "base_mismatch"


def test_trunks_are_cached_apart_from_vectors(tmp_path: Path) -> None:
    assert _train(tmp_path, _job(tmp_path, n_epochs=1)).n_encoded == 320
    assert _train(tmp_path, _job(tmp_path, n_epochs=1)).n_encoded == 0
    # texts have no trunk: their vectors serve both
    assert _train(tmp_path, _job(tmp_path, n_epochs=1, on="vectors")).n_encoded == 160


def test_a_stopped_training_on_the_trunk_resumes_to_the_same_file(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for folder in (straight, broken):
        folder.mkdir()
    _train(straight, _job(straight, n_epochs=4))
    stop = Event()

    def stop_at_third(step: Step) -> None:
        if step.step == 3:
            stop.set()

    job = replace(_job(broken, n_epochs=4), checkpoint=broken / "at.checkpoint")
    with pytest.raises(StoppedError):
        _train(broken, job, Watchers(stop=stop, on_step=stop_at_third))
    _train(broken, job)
    assert (broken / "my.model").read_bytes() == (straight / "my.model").read_bytes()


def test_a_blend_without_features_is_refused(tmp_path: Path) -> None:
    from retrieval.encoders.model_file import save_model_file

    spec = HeadSpec("blend", dim_in=4, dim_out=4, dim_hidden=2)
    tensors = {f"image.{n}": np.zeros(s, np.float32) for n, s in spec.shapes().items()}
    with pytest.raises(ModelError) as raised:
        save_model_file(
            tmp_path / "x.model", model=ModelFile("b", "ab" * 32, {"image": spec}, tensors)
        )
    assert raised.value.code == "model_shape"
