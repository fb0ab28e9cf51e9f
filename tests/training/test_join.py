"""Joining two models by texts: the bridge against worlds whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import media_files
import numpy as np
import pytest
import torch
from PIL import Image

from retrieval.encoders.base import Encoder
from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.joined import JoinedEncoder, joined_path
from retrieval.encoders.joined_file import JoinedFile, read_joined_file, save_joined_file
from retrieval.errors import ModelError, UsageError
from retrieval.training.bridge import FitOptions, fit_bridge, recall_at, ridge, unit
from retrieval.training.captions import make_captions, read_captions
from retrieval.training.features import Features
from retrieval.training.join import JoinJob, join_models
from retrieval.training.join_pairs import _BridgeModule, judge_pairs, paired_rows, train_on_pairs
from retrieval.types import Modality, Payload, Space


class Turned(Encoder):
    """The fake encoder seen from elsewhere: some modalities, in a rotated space, with a gap."""

    def __init__(
        self, name: str, *, modalities: tuple[Modality, ...], seed: int, gap: float
    ) -> None:
        self._inner = FakeEncoder()
        rng = np.random.default_rng(seed)
        self._turn = np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float32)
        self._gap = gap * unit(rng.standard_normal((1, 64)).astype(np.float32))
        self.name = name
        self.spaces = (Space(name, name, f"{name}-{seed}", 64, modalities),)
        self.media, self.batch_size = self._inner.media, self._inner.batch_size

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002
    ) -> np.ndarray:
        made = self._inner.encode(inputs, modality=modality) @ self._turn
        return made if modality == "text" else unit(made) + self._gap


COLOURS = ("red", "yellow", "green", "cyan", "blue", "violet", "white", "black")


def models() -> tuple[Turned, Turned]:
    return (Turned("eyes", modalities=("image", "text"), seed=1, gap=0.0),
            Turned("ears", modalities=("audio", "text"), seed=2, gap=0.8))  # fmt: skip


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    words = [*COLOURS, *(f"thing{n}" for n in range(60))]
    lines = [" ".join(rng.choice(words, size=rng.integers(1, 5))) for _ in range(1500)]
    (tmp_path / "captions.txt").write_text("\n".join([*COLOURS, *lines]))
    return tmp_path / "captions.txt"


def tone(path: Path, hz: float, *, seed: int = 0) -> Path:
    time_s = np.arange(16_000) / 16_000
    noise = 0.01 * np.random.default_rng(seed).standard_normal(16_000)
    samples = 0.5 * np.sin(2 * np.pi * hz * time_s) + noise
    media_files.wav(path, samples=samples[:, None].astype(np.float32), rate_hz=16_000)
    return path


def job(tmp_path: Path, captions: Path | None, **more: object) -> JoinJob:
    sounds = tuple(
        tone(tmp_path / f"s{hz}.wav", hz) for hz in (100, 200, 400, 800, 1600, 3200, 6400)
    )
    return JoinJob(
        image="eyes", audio="ears", out=tmp_path / "both.joined", captions=captions, pairs=None,
        sounds=sounds, cache=tmp_path / "cache", **more,
    )  # type: ignore[arg-type]  # fmt: skip


def test_sounds_come_into_the_image_models_space_by_texts_alone(
    tmp_path: Path, captions: Path
) -> None:
    eyes, ears = models()
    report = join_models(job(tmp_path, captions), image=eyes, audio=ears)
    assert report.text_text["r1"] > 0.9
    assert report.text_text["r1_chance"] < 0.01
    both = JoinedEncoder(
        read_joined_file(tmp_path / "both.joined"), name="joined:both", image=eyes, audio=ears
    )
    hz = {"red": 100.0, "yellow": 252.0, "green": 635.0, "cyan": 1600.0}
    time_s = np.arange(16_000) / 16_000
    sounds: list[Payload] = [np.sin(2 * np.pi * f * time_s).astype(np.float32) for f in hz.values()]
    rgb = {"red": (255, 0, 0), "yellow": (255, 255, 0), "green": (0, 255, 0), "cyan": (0, 255, 255)}
    pictures: list[Payload] = [np.full((32, 32, 3), rgb[name], np.uint8) for name in hz]
    shared = both.space_for("image", "audio")
    a = both.encode(sounds, modality="audio", space=shared)
    b = both.encode(pictures, modality="image", space=shared)
    assert (a @ b.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert (b @ a.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
    # Without the shift the gap of the sounds would come along.
    whole = read_joined_file(tmp_path / "both.joined")
    flat = replace(whole, tensors={**whole.tensors, "shift": np.zeros(64, np.float32)})
    raw = ears.encode(sounds, modality="audio")
    assert (unit(flat.bridge(raw, sounds=True)) * b).sum() < (a * b).sum()


def test_the_image_models_own_vectors_are_not_altered(tmp_path: Path, captions: Path) -> None:
    eyes, ears = models()
    join_models(job(tmp_path, captions), image=eyes, audio=ears)
    both = JoinedEncoder(
        read_joined_file(tmp_path / "both.joined"), name="joined:both", image=eyes, audio=ears
    )
    pictures: list[Payload] = [np.full((32, 32, 3), 7 * n, np.uint8) for n in range(4)]
    for modality, values in (("image", pictures), ("text", list(COLOURS))):
        made = both.encode(values, modality=modality, space=both.spaces[0])
        assert np.abs(made - eyes.encode(values, modality=modality)).max() < 1e-6
    texts = both.encode(list(COLOURS), modality="text", space=both.space_for("text", "audio"))
    assert np.abs(texts - ears.encode(list(COLOURS), modality="text")).max() < 1e-6
    served = {(q, i): both.space_for(q, i).modalities for q in ("image", "audio", "text")
              for i in ("image", "audio", "text")}  # fmt: skip
    own = {pair for pair, modalities in served.items() if modalities == ("audio", "text")}
    assert own == {("audio", "audio"), ("audio", "text"), ("text", "audio")}


def test_a_joined_model_saved_and_opened_again_is_the_same(tmp_path: Path, captions: Path) -> None:
    eyes, ears = models()
    join_models(job(tmp_path, captions), image=eyes, audio=ears)
    path = joined_path(str(tmp_path / "both.joined"), models_dir=tmp_path)
    one, two = (
        JoinedEncoder(read_joined_file(path), name="joined:both", image=eyes, audio=ears)
        for _ in range(2)
    )
    assert one.spaces == two.spaces
    sound: list[Payload] = [np.sin(np.arange(8000) / 9).astype(np.float32)]
    made = [e.encode(sound, modality="audio", space=e.spaces[0]) for e in (one, two)]
    assert np.array_equal(*made)
    other = Turned("ears", modalities=("audio", "text"), seed=3, gap=0)
    with pytest.raises(ModelError) as caught:
        JoinedEncoder(read_joined_file(path), name="j", image=eyes, audio=other)
    assert caught.value.code == "base_mismatch"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelError) as caught:
        read_joined_file(path)
    assert caught.value.code == "model_hash_mismatch"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError) as caught:
        read_joined_file(path)
    assert caught.value.code == "unsafe_weights"


def test_sounds_are_encoded_once_for_both_spaces(tmp_path: Path, captions: Path) -> None:
    eyes, ears = models()
    join_models(job(tmp_path, captions), image=eyes, audio=ears)
    both = JoinedEncoder(
        read_joined_file(tmp_path / "both.joined"), name="joined:both", image=eyes, audio=ears
    )
    calls: list[int] = []
    inner = ears.encode
    ears.encode = lambda *a, **k: calls.append(1) or inner(*a, **k)  # type: ignore[method-assign]
    sounds: list[Payload] = [np.ones(100, np.float32), np.full(100, 0.5, np.float32)]
    for space in both.spaces:
        both.encode(sounds, modality="audio", space=space)
    assert len(calls) == 1
    both.encode([sounds[1], sounds[0]], modality="audio", space=both.spaces[0])
    assert len(calls) == 2, "another batch must not get the last one's vectors"


# --- the parts ---------------------------------------------------------------------------------


def test_ridge_is_the_solution_of_its_normal_equations() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    weight, bias = ridge(x.astype(np.float32), targets=y.astype(np.float32), strength=0.3)
    w = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=500, tolerance_grad=1e-12)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (tx @ w.T + b - ty).square().sum() + 0.3 * len(x) * w.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert np.allclose(weight, w.detach().numpy(), atol=1e-4)
    assert np.allclose(bias, b.detach().numpy(), atol=1e-4)


def test_the_head_stays_only_where_validation_says_so() -> None:
    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((600, 16)).astype(np.float32))
    turn = np.linalg.qr(rng.standard_normal((16, 16)))[0].astype(np.float32)
    options = FitOptions(dim_hidden=32, n_epochs=2)
    straight = fit_bridge(x, targets=x @ turn, validation=np.arange(500, 600), options=options)
    assert straight.dim_hidden == 0, "a rotation needs no head"
    assert np.allclose(straight.tensors["weight"], turn.T, atol=1e-2)
    bent = unit(np.sign(x @ turn) * np.abs(x @ turn) ** 3 + 0.3 * np.roll(x, 1, axis=1) ** 2)
    options = FitOptions(dim_hidden=64, n_epochs=60, noise=0.0, learning_rate=3e-3)
    curved = fit_bridge(x, targets=bent, validation=np.arange(500, 600), options=options)
    assert curved.dim_hidden == 64


def test_recall_counts_groups_once_and_ties_against_the_query() -> None:
    items = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert recall_at(items, items=items, k=1) == pytest.approx(1 / 3)
    assert recall_at(items, items=items, k=1, groups=np.array([5, 5, 6])) == 1.0
    assert recall_at(items, items=items, k=2) == 1.0


def features(side: dict[Modality, np.ndarray], groups: dict[Modality, np.ndarray]) -> Features:
    n = len(next(iter(side.values())))
    empty = np.zeros((n, 8), np.float32)
    return Features(
        vectors={m: side.get(m, empty) for m in ("image", "audio", "text")},
        present={m: np.full(n, m in side) for m in ("image", "audio", "text")},
        groups={m: groups.get(m, np.arange(n)) for m in ("image", "audio", "text")},
        failures=(), n_encoded=0,
    )  # fmt: skip


def test_training_on_pairs_improves_what_texts_alone_could_not_know() -> None:
    rng = np.random.default_rng(0)
    n, turn = 900, np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    things = unit(rng.standard_normal((n, 8)).astype(np.float32))
    sounds = unit(things @ turn + 0.05 * rng.standard_normal((n, 8)).astype(np.float32))
    pairs = paired_rows(
        features({"audio": sounds, "text": things}, {}),
        of_image=features({"text": things, "image": things}, {}),
        seed=0,
    )
    zeros = np.zeros(8, np.float32)
    tensors = {"weight": np.eye(8, dtype=np.float32), "bias": zeros, "shift": zeros}
    eye = JoinedFile("i", "i", "a", "a", 0, tensors)
    before = judge_pairs(pairs, joined=eye)
    after = judge_pairs(pairs, joined=train_on_pairs(eye, pairs=pairs, seed=0, n_epochs=120))
    assert before["audio_image_r10"] < 3 * before["audio_image_r10_chance"]
    assert after["audio_image_r10"] > 0.5
    assert after["audio_text_r10"] > 0.5
    alone = judge_pairs(pairs, joined=None)
    assert set(alone) == {"audio_text_r1", "audio_text_r1_chance", "audio_text_r10",
                          "audio_text_r10_chance"}  # fmt: skip


def test_the_bridge_in_torch_is_the_one_in_numpy() -> None:
    rng = np.random.default_rng(0)
    shapes = JoinedFile("i", "", "a", "", 16, {"weight": np.zeros((6, 4), np.float32)}).shapes()
    tensors = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    joined = JoinedFile("i", "", "a", "", 16, tensors)
    sounds = unit(rng.standard_normal((9, 4)).astype(np.float32))
    with torch.no_grad():
        expected = _BridgeModule(joined)(torch.from_numpy(sounds)).numpy()
    assert np.allclose(unit(joined.bridge(sounds, sounds=True)), expected, atol=1e-5)
    assert not joined.bridge(np.zeros((1, 4), np.float32), sounds=True).any()


def test_captions_are_made_once_each_or_read_line_by_line(tmp_path: Path) -> None:
    made = make_captions(20_000)
    assert len(set(made)) == 20_000
    assert made == make_captions(20_000)
    assert made[:500] != make_captions(20_000, seed=1)[-500:]
    assert {"dog", "piano", "lighthouse"} <= set(made)
    assert all("  " not in c and c == c.strip() for c in made)
    path = tmp_path / "c.txt"
    path.write_text("\n".join(["a dog", "a dog", "", *(f"line {n}" for n in range(100))]))
    assert len(read_captions(path)) == 101
    path.write_text("too few")
    with pytest.raises(UsageError, match="100"):
        read_captions(path)
    with pytest.raises(UsageError) as caught:
        make_captions(0)
    assert caught.value.code == "bad_captions"


def test_tensors_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    wrong = {"weight": np.eye(4, dtype=np.float32), "bias": np.zeros(3, np.float32),
             "shift": np.zeros(4, np.float32)}  # fmt: skip
    with pytest.raises(ModelError) as caught:
        save_joined_file(tmp_path / "x.joined", joined=JoinedFile("i", "", "a", "", 0, wrong))
    assert caught.value.code == "model_shape"
    wrong["bias"] = np.full(4, np.nan, np.float32)
    with pytest.raises(ModelError) as caught:
        save_joined_file(tmp_path / "x.joined", joined=JoinedFile("i", "", "a", "", 0, wrong))
    assert caught.value.code == "model_self_test_failed"


@pytest.mark.slow
def test_pairs_are_judged_and_the_command_says_how_it_went(tmp_path: Path) -> None:
    from cli import crossfind

    rows = ["image,audio,text"]
    for n in range(60):
        Image.new("RGB", (32, 32), (4 * n, 255 - 4 * n, 0)).save(tmp_path / f"{n}.png")
        tone(tmp_path / f"{n}.wav", 100.0 * 1.05**n, seed=n)
        rows.append(f"{n}.png,{n}.wav,thing {n}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    done = crossfind("models", "join", "--image", "fake", "--audio", "fake", "--out", "twin",
                     "--n-captions", "500", "--pairs", "pairs.csv", "--models-dir", "m",
                     cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))  # fmt: skip
    assert done.code == 0, done.err
    assert "too few to train on" in done.out
    assert "chance" in done.out
    listed = crossfind("models", "list", "--models-dir", "m", cwd=tmp_path)
    assert "joined:twin" in listed.out
