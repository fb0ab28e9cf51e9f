"""The starter model's encoder: towers against slow oracles, weights against their manifest."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from retrieval.encoders.registry import open_encoder
from retrieval.encoders.starter import StarterEncoder
from retrieval.encoders.starter_audio import (
    blocks,
    event_filters,
    event_mel,
    log_mel,
    mel_filters,
)
from retrieval.encoders.starter_colour import COLOURS, colour_shares
from retrieval.encoders.starter_files import dequantise, open_weights
from retrieval.encoders.starter_head import Head, consensus
from retrieval.errors import InputError, ModelError


@pytest.fixture(scope="module")
def encoder():
    return StarterEncoder(threads=1)


def picture(encoder, colour=(200, 30, 30)):
    side = encoder.media.image_size_px
    return np.full((side, side, 3), colour, dtype=np.uint8)


def test_one_space_holds_the_three_modalities(encoder):
    (space,) = encoder.spaces
    assert (space.id, space.dim) == ("starter", 384)
    assert set(space.modalities) == {"image", "audio", "text"}


def test_text_vector_is_the_mean_of_its_pieces_mapped_into_the_space(encoder):
    from tokenizers import Tokenizer

    files = open_weights()
    tensors = files.tensors("text.safetensors")
    tokenizer = Tokenizer.from_buffer(files.read("tokenizer.json"))
    ids = tokenizer.encode("two small birds", add_special_tokens=False).ids
    assert len(ids) >= 3
    rows = dequantise(tensors, "rows")
    row_of = tensors["row_of"]
    mean = np.mean([rows[row_of[i]] for i in ids], axis=0)
    u = mean / np.linalg.norm(mean)
    inner, bias, outer = (tensors[n].astype(np.float64) for n in ("inner", "bias", "outer"))
    x = u @ inner + bias
    gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    expected = u @ tensors["map"].astype(np.float64) + gelu @ outer
    found = encoder.encode(["two small birds"], modality="text")[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=2e-5)


def test_a_text_does_not_depend_on_its_neighbours_in_a_batch(encoder):
    texts = ["a dog", "", "rain on a tin roof", "\udcff", "Zürich", "a dog"]
    together = encoder.encode(texts, modality="text")
    alone = np.stack([encoder.encode([t], modality="text")[0] for t in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_empty_text_gives_a_zero_row(encoder):
    assert not encoder.encode(["", "   "], modality="text").any()


def test_text_vectors_put_related_words_together(encoder):
    words = ["a dog", "a puppy", "stock market", "thunder", "a thunderstorm"]
    v = encoder.encode(words, modality="text")
    assert v[0] @ v[1] > v[0] @ v[2] + 0.2
    assert v[3] @ v[4] > v[3] @ v[1] + 0.2


def test_pictures_do_not_depend_on_their_batch(encoder):
    rng = np.random.default_rng(0)
    side = encoder.media.image_size_px
    pictures = [rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(3)]
    together = encoder.encode(pictures, modality="image")
    alone = np.concatenate([encoder.encode([p], modality="image") for p in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_a_picture_of_another_size_is_refused_with_both_sizes(encoder):
    with pytest.raises(ModelError, match="32 x 16") as caught:
        encoder.encode([np.zeros((16, 32, 3), np.uint8)], modality="image")
    assert caught.value.code == "picture_size"


def test_sounds_do_not_depend_on_their_batch_nor_on_level(encoder):
    rng = np.random.default_rng(0)
    long = rng.normal(0, 0.1, 5 * 44_100).astype(np.float32)
    short = np.sin(np.arange(8_000) * 0.05).astype(np.float32) * 0.3
    both = encoder.encode([long, short], modality="audio")
    assert np.array_equal(both[1], encoder.encode([short], modality="audio")[0])
    quiet = encoder.encode([short * np.float32(0.1)], modality="audio")[0]
    # Rounding on the way to one level can tip an int8 step of the networks.
    assert both[1] @ quiet > 0.999


def test_silence_gives_a_zero_row(encoder):
    assert not encoder.encode([np.zeros(44_100, np.float32)], modality="audio").any()


def test_one_sample_of_sound_is_encoded(encoder):
    assert np.isfinite(encoder.encode([np.full(1, 0.5, np.float32)], modality="audio")).all()


def test_log_mel_matches_the_definition_computed_frame_by_frame():
    rng = np.random.default_rng(1)
    sound = rng.normal(0, 0.2, 9_000).astype(np.float32)
    found = log_mel(sound, filters=mel_filters())
    scaled = np.pad(sound.astype(np.float64) * 0.9 / np.abs(sound).max(), (1024, 4096))
    window = np.hanning(2048)
    for frame in range(len(found)):
        cut = scaled[frame * 1024 : frame * 1024 + 2048] * window
        angles = np.outer(np.arange(1025), np.arange(2048)) * (-2j * np.pi / 2048)
        power = np.abs(np.exp(angles) @ cut) ** 2
        expected = np.log10(1e4 * mel_filters() @ power + 1) / 9.457798957824707
        np.testing.assert_allclose(found[frame], expected, atol=1e-4)
    assert len(found) == 1 + 9_000 // 1024


def test_blocks_cover_the_sound_from_end_to_end():
    mel = np.arange(431, dtype=np.float32)[:, None] * np.ones((1, 96), np.float32)
    cut = blocks(mel)
    assert cut.shape[1:] == (100, 96)
    assert cut[0, 0, 0] == 0
    assert cut[-1, -1, 0] == 430
    assert set(cut[:, :, 0].ravel()) == set(range(431))


def test_a_short_sound_is_repeated_to_fill_a_block():
    cut = blocks(np.arange(3, dtype=np.float32)[:, None].repeat(96, 1))
    assert cut.shape == (1, 100, 96)
    assert cut[0, :7, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_event_mel_matches_the_half_rate_definition_computed_frame_by_frame():
    rng = np.random.default_rng(4)
    sound = rng.normal(0, 0.2, 40_000).astype(np.float32)
    found = event_mel(sound, filters=event_filters())
    scaled = sound.astype(np.float64) * 0.7 / np.abs(sound).max()
    padded = np.concatenate([scaled[882:0:-1], scaled, scaled[-2:-884:-1]])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1764) / 1764)
    for frame in (0, 7, len(found) - 1):
        cut = padded[frame * 882 : frame * 882 + 1764] * window
        angles = np.outer(np.arange(1025), np.arange(1764)) * (-2j * np.pi / 4096)
        power = np.abs(np.exp(angles) @ cut) ** 2 / 4
        expected = np.log(event_filters() @ power + 2.2e-16)
        np.testing.assert_allclose(found[frame], expected, atol=2e-3)


def test_colour_shares_see_the_thing_and_not_its_plain_ground():
    canvas = np.full((240, 240, 3), 255, np.uint8)
    canvas[80:160, 80:160] = (20, 40, 220)
    canvas[80:160, 80:100] = (230, 20, 20)
    shares = dict(zip(COLOURS, colour_shares([canvas])[0], strict=True))
    assert shares["blue"] == pytest.approx(0.75, abs=0.12)
    assert shares["red"] == pytest.approx(0.25, abs=0.12)
    assert shares["white"] < 0.05


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((200, 20, 20), "red"),
        ((250, 140, 10), "orange"),
        ((245, 225, 30), "yellow"),
        ((30, 150, 40), "green"),
        ((30, 60, 200), "blue"),
        ((130, 40, 170), "purple"),
        ((250, 160, 190), "pink"),
        ((110, 65, 30), "brown"),
        ((15, 15, 15), "black"),
        ((250, 250, 250), "white"),
        ((128, 128, 128), "grey"),
    ],
)
def test_a_plain_picture_has_the_colour_that_a_person_would_name(rgb, name):
    shares = colour_shares([np.full((60, 60, 3), rgb, np.uint8)])[0]
    assert COLOURS[int(shares.argmax())] == name


def test_chinese_is_cut_into_the_longest_known_words(encoder):
    elephant, sentence = encoder.encode(["大象", "大象。"], modality="text")
    assert elephant @ sentence > 0.9
    english = encoder.encode(["an elephant", "a teapot"], modality="text")
    assert elephant @ english[0] > elephant @ english[1] + 0.3


def test_nouns_of_other_languages_meet_their_english_ones(encoder):
    pairs = {"una rana": "a frog", "un chien": "a dog", "eine Katze": "a cat", "coches": "cars"}
    foreign = encoder.encode(list(pairs), modality="text")
    english = encoder.encode(list(pairs.values()), modality="text")
    assert (foreign @ english.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_the_right_colour_of_a_drawing_comes_first(encoder):
    red, green = (np.full((240, 240, 3), 255, np.uint8) for _ in range(2))
    red[60:180, 60:180], green[60:180, 60:180] = (210, 25, 25), (30, 160, 40)
    pictures = encoder.encode([red, green], modality="image")
    asked = encoder.encode(["a red square", "a green square"], modality="text")
    assert (asked @ pictures.T).argmax(axis=1).tolist() == [0, 1]


def test_head_is_two_layers_with_gelu():
    rng = np.random.default_rng(2)
    shapes = {"mean": 4, "b1": 5, "b2": 3}
    tensors = {k: rng.normal(size=n).astype(np.float32) for k, n in shapes.items()}
    tensors |= {"spread": np.full(4, 2.0, np.float32)}
    tensors |= {"w1": rng.normal(size=(5, 4)).astype(np.float32)}
    tensors |= {"w2": rng.normal(size=(3, 5)).astype(np.float32)}
    x = rng.normal(size=4).astype(np.float32)
    hidden = tensors["w1"] @ ((x - tensors["mean"]) / 2.0) + tensors["b1"]
    from math import erf

    gelu = np.array([0.5 * h * (1 + erf(h / 2**0.5)) for h in hidden])
    expected = tensors["w2"] @ gelu + tensors["b2"]
    np.testing.assert_allclose(Head(tensors)(x[None])[0], expected, atol=5e-3)


def test_consensus_weighs_the_twenty_likeliest_names():
    rng = np.random.default_rng(3)
    names = rng.normal(size=(30, 6)).astype(np.float32)
    logits = rng.normal(size=30).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum()
    best = np.argsort(-p)[:20]
    expected = sum(p[i] * names[i] for i in best)
    found, sure = consensus(logits[None], names=names)
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-5)
    assert sure[0, 0] == pytest.approx(p.max())


def test_an_altered_weight_file_is_refused_before_it_is_parsed(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(open_weights().folder, folder)
    path = folder / "text.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="reinstall") as caught:
        StarterEncoder(folder=folder).encode(["a"], modality="text")
    assert caught.value.code == "model_hash_mismatch"


def test_an_absent_weight_file_is_named(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(open_weights().folder, folder)
    (folder / "image.onnx").unlink()
    encoder = StarterEncoder(folder=folder)
    with pytest.raises(ModelError, match=r"image\.onnx") as caught:
        encoder.encode([picture(encoder)], modality="image")
    assert caught.value.code == "model_file_missing"


def test_a_manifest_of_a_newer_format_is_refused(tmp_path):
    manifest = open_weights().manifest | {"format": 99}
    (tmp_path / "starter.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="99"):
        StarterEncoder(folder=tmp_path)


def test_another_manifest_gives_another_fingerprint(tmp_path, encoder):
    manifest = open_weights().manifest | {"version": "other"}
    (tmp_path / "starter.json").write_text(json.dumps(manifest))
    other = StarterEncoder(folder=tmp_path)
    assert other.spaces[0].fingerprint != encoder.spaces[0].fingerprint


def test_the_shipped_weights_stay_within_their_budget():
    files = open_weights().manifest["files"].values()
    assert sum(f["size_bytes"] for f in files) <= 32_000_000


def test_a_wrong_payload_is_refused(encoder):
    with pytest.raises(InputError):
        encoder.encode([np.zeros((4, 4, 3), np.float32)], modality="image")


def test_a_text_query_loads_neither_torch_nor_onnxruntime():
    code = (
        "import sys; from retrieval.encoders.starter import StarterEncoder; "
        "StarterEncoder().encode(['a dog'], modality='text'); "
        "print([m for m in ('torch', 'onnxruntime', 'PIL', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_vector_does_not_depend_on_the_batch_it_came_in() -> None:
    encoder = open_encoder("starter", threads=2)
    rng = np.random.default_rng(3)
    side = encoder.media.image_size_px
    rate_hz = encoder.media.sample_rate_hz
    inputs = {
        "image": [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(7)],
        "audio": [rng.normal(0, 0.1, int(rate_hz * s)).astype(np.float32) for s in (5, 3, 1, 4.2)],
        "text": ["a dog", "a red parrot on a tree", "sea", "ein Hund"],
    }
    for modality, values in inputs.items():
        whole = encoder.encode(values, modality=modality)
        single = np.concatenate([encoder.encode([v], modality=modality) for v in values])
        halves = [encoder.encode(half, modality=modality) for half in (values[:3], values[3:])]
        assert whole.tobytes() == single.tobytes() == np.concatenate(halves).tobytes(), modality
