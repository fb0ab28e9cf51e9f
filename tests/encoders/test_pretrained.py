"""open_clip and CLAP adapters, with tiny randomly initialised models in place of published ones."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from PIL import Image

from retrieval.encoders import torch_run
from retrieval.encoders.base import Encoder
from retrieval.encoders.model_folder import folder_name, installed, open_model_folder
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.torch_cure import cure_torchvision
from retrieval.encoders.torch_run import TorchOptions, halving, pooled, split_text
from retrieval.errors import ModelError
from retrieval.media.image import load_image
from retrieval.types import MediaSpec, Modality, Payload

CLIP, CLAP = tiny_models.CLIP_NAME, tiny_models.CLAP_NAME


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.make_clip(folder)
    return folder


@pytest.fixture(scope="module")
def with_clap(models_dir: Path) -> Path:
    pytest.importorskip("transformers", reason="pip install 'crossfind[clap]'")
    tiny_models.make_clap(models_dir)
    tiny_models.make_clap(models_dir, name="clap:test/fused", fused=True)
    return models_dir


def pictures(n: int = 5) -> list[Payload]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(n)]


def sounds(n: int = 4) -> list[Payload]:
    rng = np.random.default_rng(2)
    return [0.1 * rng.standard_normal(3000 + 7000 * i).astype(np.float32) for i in range(n)]


TEXTS: list[Payload] = ["a dog", "", "rain and thunder", "é 猫 \udcff", "a cat " * 40]


def inputs_of(encoder: Encoder) -> dict[Modality, list[Payload]]:
    known: dict[Modality, list[Payload]] = {
        "image": pictures(), "audio": sounds(), "text": TEXTS}  # fmt: skip
    return {m: v for m, v in known.items() if m in encoder.spaces[0].modalities}


def check_contract(encoder: Encoder) -> None:
    """What every encoder keeps: shapes, unit rows, no dependence on the batch."""
    for modality, values in inputs_of(encoder).items():
        made = encoder.encode(values, modality=modality)
        assert made.dtype == np.float32
        assert made.shape == (len(values), encoder.spaces[0].dim)
        assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
        alone = np.concatenate([encoder.encode([v], modality=modality) for v in values])
        assert np.abs(made - alone).max() < 1e-5, modality
        assert np.array_equal(made, encoder.encode(values, modality=modality)), "not repeatable"
        assert encoder.encode([], modality=modality).shape == (0, encoder.spaces[0].dim)


def test_an_open_clip_model_keeps_the_encoder_contract(models_dir: Path) -> None:
    check_contract(open_encoder(CLIP, threads=1, models_dir=models_dir))


@pytest.mark.parametrize("name", [CLAP, "clap:test/fused"])
def test_a_clap_model_keeps_the_encoder_contract(with_clap: Path, name: str) -> None:
    check_contract(open_encoder(name, threads=1, models_dir=with_clap))


def test_a_model_saved_and_opened_again_gives_identical_vectors(with_clap: Path) -> None:
    for name in (CLIP, CLAP):
        first = open_encoder(name, threads=1, models_dir=with_clap)
        before = {m: first.encode(v, modality=m) for m, v in inputs_of(first).items()}
        first.close()
        second = open_encoder(name, threads=1, models_dir=with_clap)
        assert second.spaces == first.spaces
        for encoder in (first, second):  # a closed model opens again by itself
            for modality, values in inputs_of(encoder).items():
                made = encoder.encode(values, modality=modality)
                assert np.array_equal(made, before[modality]), (name, modality)


def test_vectors_are_those_of_the_library_itself(with_clap: Path) -> None:
    cure_torchvision()
    import open_clip
    import torch
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    folder = with_clap / folder_name(CLIP)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.train(False)
    clip = open_encoder(CLIP, threads=1, models_dir=with_clap)
    with torch.no_grad():
        batch = torch.stack([transform(Image.fromarray(p)) for p in pictures()])
        images = model.encode_image(batch, normalize=True).numpy()
        texts = model.encode_text(tokenize(["a dog", "the sound of rain"]), normalize=True).numpy()
    assert np.abs(clip.encode(pictures(), modality="image") - images).max() < 1e-5
    ours = clip.encode(["a dog", "the sound of rain"], modality="text")
    assert np.abs(ours - texts).max() < 1e-5

    place = str(with_clap / folder_name(CLAP))
    clap = open_encoder(CLAP, threads=1, models_dir=with_clap)
    judge = ClapModel.from_pretrained(place)
    judge.train(False)
    tokens = AutoTokenizer.from_pretrained(place)(["a dog"], return_tensors="pt")
    extract = ClapFeatureExtractor.from_pretrained(place)
    short = sounds(1)[0]
    features = extract(short, sampling_rate=8000, return_tensors="pt")
    with torch.no_grad():
        out = judge(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
                    **features)  # fmt: skip
    assert np.abs(clap.encode(["a dog"], modality="text") - out.text_embeds.numpy()).max() < 1e-5
    assert np.abs(clap.encode([short], modality="audio") - out.audio_embeds.numpy()).max() < 1e-5


SIGLIP = {"resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3}


@pytest.mark.parametrize("size", [(100, 75), (75, 101), (640, 427), (33, 32), (20, 31), (64, 64)])
@pytest.mark.parametrize("ready", [{}, {"interpolation": "bilinear"}, SIGLIP])
def test_preprocessing_equals_the_librarys_own_transform(
    tmp_path: Path, size: tuple[int, int], ready: dict[str, object]
) -> None:
    cure_torchvision()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from retrieval.encoders.clip import read_config

    raw = tiny_models.clip_config(**ready)
    config = read_config(raw, name="m")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    for format in ("png", "jpeg"):
        file = io.BytesIO()
        picture.save(file, format, quality=95)
        library = image_transform_v2(PreprocessCfg(**{"size": 32, **raw["preprocess_cfg"]}), False)
        expected = library(Image.open(io.BytesIO(file.getvalue()))).numpy()
        part = load_image(file.getvalue(), format=format, spec=config.media()).parts[0]
        host = torch_run.TorchHost(_nothing(), options=TorchOptions("cpu"), name="m")
        found = host.pictures([part.payload], mean=config.mean, std=config.std)[0].numpy()
        assert np.abs(found - expected).max() <= 1e-5, format


def _nothing() -> object:
    import torch

    return torch.nn.Linear(1, 1)


def test_a_picture_like_a_thread_is_not_scaled_to_gigabytes() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20_000, 2), "red").save(file, "PNG")
    spec = MediaSpec(image_size_px=224, image_fit="crop", image_method="library")
    part = load_image(file.getvalue(), format="png", spec=spec).parts[0]
    assert isinstance(part.payload, np.ndarray)
    assert part.payload.shape == (224, 224, 3)


# --- texts and sounds that are too long, batches that do not fit ------------------------------


def test_a_long_text_is_read_to_its_end(models_dir: Path) -> None:
    encoder = open_encoder(CLIP, threads=1, models_dir=models_dir)
    long = "a red dog runs " * 12
    ends = encoder.encode([long + "cat", long + "piano"], modality="text")
    assert float(ends[0] @ ends[1]) < 0.9999, "the end was cut off"
    pieces = split_text("one two three four", count=lambda t: 2 * len(t.split()), limit=4)
    assert pieces == ["one two", "three four"]
    assert split_text("abcdef", count=len, limit=2) == ["a", "bc", "d", "ef"]
    assert "".join(split_text("é" * 50, count=len, limit=7)) == "é" * 50


def test_pieces_are_averaged_by_input() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    assert pooled(rows, counts=[2, 1]).tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_a_long_sound_is_heard_to_its_end(with_clap: Path) -> None:
    encoder = open_encoder(CLAP, threads=1, models_dir=with_clap)
    quiet = np.zeros(16_000, np.float32)
    quiet[:100] = 0.1
    loud = np.sin(np.arange(16_000)).astype(np.float32)
    one, two, both = encoder.encode(
        [quiet, loud, np.concatenate([quiet, loud])], modality="audio"
    ).astype(np.float64)
    middle = (one + two) / np.linalg.norm(one + two)
    assert float(both @ middle) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    import torch

    sizes: list[int] = []

    def run(batch: list[int]) -> np.ndarray:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.array([[float(value)] for value in batch], np.float32)

    made = halving(list(range(7)), run=run, name="m")  # type: ignore[arg-type]
    assert made[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert sizes[:3] == [7, 3, 1]

    def never(_: list[int]) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelError, match="does not fit") as caught:
        halving([1, 2], run=never, name="m")  # type: ignore[arg-type]
    assert caught.value.code == "out_of_memory"


def test_half_precision_stays_close(models_dir: Path) -> None:
    from retrieval.encoders.clip import ClipEncoder

    folder = open_model_folder(CLIP, models_dir=models_dir)
    full, half = (ClipEncoder(folder, options=TorchOptions("cpu", p)) for p in ("fp32", "bf16"))
    for modality in ("image", "text"):
        a, b = (e.encode(inputs_of(e)[modality], modality=modality) for e in (full, half))
        assert (a * b).sum(axis=1).min() > 0.99
        assert not np.array_equal(a, b)


@pytest.mark.parametrize(("device", "precision"), [("cuda:9", "auto"), ("cpu", "fp8"), ("x", "")])
def test_devices_and_precisions_that_do_not_exist_are_named(device: str, precision: str) -> None:
    with pytest.raises(ModelError) as caught:
        torch_run.TorchHost(_nothing(), options=TorchOptions(device, precision), name="m")
    assert caught.value.code == "bad_device"


# --- what is refused (BAD_INPUTS M1-M4) --------------------------------------------------------


def encode_one(models_dir: Path, name: str = CLIP) -> None:
    open_encoder(name, threads=1, models_dir=models_dir).encode(["a dog"], modality="text")


def code_of(models_dir: Path, name: str = CLIP) -> tuple[str, str]:
    with pytest.raises(ModelError) as caught:
        encode_one(models_dir, name)
    assert caught.value.exit_code == 7
    return caught.value.code, str(caught.value)


def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    name = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    code, message = code_of(tmp_path, name)
    assert code == "model_unavailable"
    assert f"crossfind models fetch {name}" in message
    assert str(tmp_path / "open_clip--ViT-B-32--laion2b_s34b_b79k") in message


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_pickled_weights_are_refused_also_under_another_name(tmp_path: Path) -> None:
    import pickle

    exploded = tmp_path / "exploded"
    pickle.loads(pickle.dumps(Bomb(tmp_path / "armed")))
    assert (tmp_path / "armed").exists()
    folder = tiny_models.make_clip(tmp_path)
    weights = folder / "open_clip_model.safetensors"
    for payload in (pickle.dumps(Bomb(exploded)), b"PK\x03\x04" + b"\0" * 99, b"", b"\0" * 8):
        weights.write_bytes(payload)
        tiny_models.vouch(folder, name=CLIP, weights=weights.name)
        assert code_of(tmp_path)[0] == "unsafe_weights"
    weights.rename(folder / "pytorch_model.bin")
    tiny_models.vouch(folder, name=CLIP, weights="pytorch_model.bin")
    assert code_of(tmp_path)[0] == "unsafe_weights"
    (folder / "crossfind.json").unlink()
    assert code_of(tmp_path)[0] == "unsafe_weights"
    assert not exploded.exists()


def test_altered_files_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.make_clip(tmp_path)
    weights = folder / "open_clip_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert code_of(tmp_path)[0] == "model_hash_mismatch"
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace("0.4814", "0.5814"))
    assert code_of(tmp_path)[0] == "model_hash_mismatch"


def test_half_a_file_is_never_loaded(tmp_path: Path) -> None:
    folder = tiny_models.make_clip(tmp_path)
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert code_of(tmp_path)[0] == "model_hash_mismatch"
    tiny_models.vouch(folder, name=CLIP, weights=weights.name)  # someone trusts the half
    assert code_of(tmp_path)[0] == "unsafe_weights"


def respoil(folder: Path, key: str, value: object) -> None:
    from safetensors.torch import load_file, save_file

    weights = folder / "open_clip_model.safetensors"
    tensors = load_file(weights)
    tensors[key] = value(tensors[key])  # type: ignore[operator]
    save_file(tensors, weights)
    tiny_models.vouch(folder, name=CLIP, weights=weights.name)


def test_weights_of_another_shape_or_without_values_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.make_clip(tmp_path)
    respoil(folder, "text_projection", lambda t: t * float("nan"))
    assert code_of(tmp_path)[0] == "model_self_test_failed"
    respoil(folder, "text_projection", lambda t: t[:, :5].contiguous())
    assert code_of(tmp_path)[0] == "model_shape"


def test_a_clap_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="pip install 'crossfind[clap]'")
    from safetensors.torch import load_file, save_file

    folder = tiny_models.make_clap(tmp_path)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    for spoil in ("missing", "shape"):
        broken = dict(tensors)
        key = "text_projection.linear1.weight"
        if spoil == "missing":
            del broken[key]
        else:
            broken[key] = broken[key][:3].contiguous()
        save_file(broken, weights, metadata={"format": "pt"})
        tiny_models.vouch(folder, name=CLAP, weights=weights.name)
        assert code_of(tmp_path, CLAP)[0] == "model_shape", spoil


def test_a_model_that_wants_to_run_its_own_code_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.make_clip(tmp_path)
    config = folder / "open_clip_config.json"
    raw = json.loads(config.read_text())
    raw["model_cfg"]["text_cfg"]["auto_map"] = {"AutoModel": "code.Model"}
    config.write_text(json.dumps(raw))
    tiny_models.vouch(folder, name=CLIP, weights="open_clip_model.safetensors")
    assert code_of(tmp_path)[0] == "remote_code_refused"


def test_opening_a_model_forbids_the_network(models_dir: Path) -> None:
    encode_one(models_dir)
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    with pytest.raises(OfflineModeIsEnabled):
        huggingface_hub.HfApi().model_info("laion/CLIP-ViT-B-32-laion2B-s34B-b79K")


def test_other_weights_or_another_preprocessing_are_another_space(tmp_path: Path) -> None:
    prints = set()
    for n, (seed, ready) in enumerate([(0, {}), (1, {}), (0, {"interpolation": "bilinear"})]):
        folder = tmp_path / str(n)
        tiny_models.make_clip(folder, seed=seed, config=tiny_models.clip_config(**ready))
        prints.add(open_encoder(CLIP, threads=1, models_dir=folder).spaces[0].fingerprint)
    assert len(prints) == 3


def test_installed_models_are_listed_with_their_source(models_dir: Path) -> None:
    found = {manifest.name: manifest for manifest in installed(models_dir)}
    assert (found[CLIP].revision, found[CLIP].licence) == (tiny_models.REVISION, "mit")
    assert found[CLIP].weights == "open_clip_model.safetensors"
    assert installed(models_dir / "nothing") == []
