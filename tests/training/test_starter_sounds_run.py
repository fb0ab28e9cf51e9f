"""The starter's sound stages from end to end, small: sources in, audio weight files out."""

import gzip
import json
import struct
import wave

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from retrieval.encoders.starter_audio import AudioMix
from retrieval.encoders.starter_files import session
from retrieval.training.starter import (
    audio_pack,
    events_train,
    sounds_fonts,
    sounds_scenes,
    sounds_stages,
)
from retrieval.training.starter.events import EventNetwork, export_events
from retrieval.training.starter.events_train import EventPlan
from retrieval.training.starter.sounds_pools import Amount, AudioSources, Pool
from retrieval.training.starter.sounds_scenes import Scenes, teach
from retrieval.training.starter.sounds_stages import SoundPlan, make_sounds

RATE_HZ = 44_100
PLAN = SoundPlan(
    amount=Amount(effects=1, noises=1, tunes=1),
    n_scenes=20,
    events=EventPlan(n_steps=4, n_scenes=2),
    n_head_epochs=4,
)


def _tone(hz, seconds=1.0):
    t = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    return (20_000 * np.sin(2 * np.pi * hz * t) * np.exp(-t)).astype(np.int16)


def _write_wav(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def _write_teacher(path, *, seed):
    torch.manual_seed(seed)
    widths = {0: (1, 32), 2: (32, 128), 3: (128, 128), 5: (128, 128), 6: (128, 128)}
    weights = {}
    for number, (n_in, n_out) in widths.items():
        at = f"features.{number}.block"
        weights |= {f"{at}.0.running_mean": torch.full((n_in,), -6.0 if n_in == 1 else 0.0)}
        weights |= {f"{at}.0.running_var": torch.full((n_in,), 16.0 if n_in == 1 else 1.0)}
        weights |= {f"{at}.0.weight": torch.ones(n_in), f"{at}.0.bias": torch.zeros(n_in)}
        weights[f"{at}.1.weight"] = torch.randn(n_out, n_in, 3, 3) / (n_in * 9) ** 0.5
    gru = torch.nn.GRU(128, 128, batch_first=True, bidirectional=True)
    weights |= {f"gru.{k}": v.detach().clone() for k, v in gru.state_dict().items()}
    weights["outputlayer.weight"] = torch.randn(527, 256)
    weights["outputlayer.bias"] = torch.full((527,), -4.0)
    save_file(weights, str(path))


def _write_trunk(path):
    torch.manual_seed(0)
    weights, n_in = {}, 1
    for block, n_out in enumerate((4, 8, 16, 512), start=1):
        for n in (1, 2):
            at = f"embedding_net.conv_block{block}"
            weights[f"{at}.conv{n}.weight"] = torch.randn(n_out, n_in, 3, 3) / (n_in * 9) ** 0.5
            weights |= {f"{at}.bn{n}.{k}": torch.ones(n_out) for k in ("weight", "running_var")}
            weights |= {f"{at}.bn{n}.{k}": torch.zeros(n_out) for k in ("bias", "running_mean")}
            n_in = n_out
    save_file(weights, str(path))


def _write_archives(root):
    """An OpenClonk archive without members and a Doom archive without sounds."""
    head = bytearray(204)
    for n in range(0, 202, 3):
        head[n], head[n + 2] = head[n + 2], head[n]
    packed = bytearray(gzip.compress(bytes(b ^ 237 for b in head)))
    packed[:2] = b"\x1e\x8c"
    (root / "clonk").mkdir()
    (root / "clonk" / "Sound.ocg").write_bytes(packed)
    (root / "x.wad").write_bytes(struct.pack("<4sii", b"IWAD", 0, 12))


def _play(_font, *, sounds, work, seed):
    assert work.is_dir()
    rng = np.random.default_rng(seed)
    part = sounds[:12]
    return [p.name for p in part], np.stack([_tone(rng.uniform(100, 3000), 5.0) for _ in part])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Write a small world of sounds and run every stage once."""
    root = tmp_path_factory.mktemp("sounds")
    for n in range(24):
        _write_wav(root / "free" / f"dog{n}.wav", _tone(100 + 90 * n))
    package = root / "package"
    for n in range(4):
        _write_wav(package / "usr/share/games/x" / f"bell{n}.wav", _tone(2000 + 200 * n))
    statement = package / "usr/share/doc/package/copyright"
    statement.parent.mkdir(parents=True)
    statement.write_text("Files: usr/share/games/x/bell*\nCopyright: A\nLicense: CC0-1.0\n")
    _write_archives(root)
    for n in (1, 2):
        _write_teacher(root / f"teacher{n}.safetensors", seed=n)
    _write_trunk(root / "trunk.safetensors")
    (root / "labels.json").write_text(json.dumps([f"sound {n}" for n in range(527)]))
    sources = AudioSources(
        packages={"package": package},
        folders={"free": root / "free"},
        clonk=root / "clonk",
        wad=root / "x.wad",
        fonts=[root / "effects.sf2", root / "tunes.sf2"],
        teachers=[root / f"teacher{n}.safetensors" for n in (1, 2)],
        labels=root / "labels.json",
        trunk=root / "trunk.safetensors",
    )
    patch = pytest.MonkeyPatch()
    patch.setattr(sounds_fonts, "presets", lambda _: sounds_fonts.general_midi(times=1)[40:52])
    patch.setattr(sounds_fonts, "play", _play)
    patch.setattr(events_train, "_SAVE_EVERY", 3)
    patch.setattr(sounds_scenes, "_PART", 8)
    told = []
    (root / "out").mkdir()
    settings = _run(sources, root=root, tell=told.append)
    yield root, sources, settings, told
    patch.undo()


def _run(sources, *, root, tell=lambda _: None):
    return make_sounds(
        sources, work=root / "work", out=root / "out", encode_texts=_texts, plan=PLAN, tell=tell
    )


def _texts(words):
    rows = [np.random.default_rng(sum(w.encode())).normal(size=384) for w in words]
    return np.stack([r / np.linalg.norm(r) for r in rows]).astype(np.float32)


@pytest.mark.slow
def test_the_sound_stages_make_files_that_the_encoder_uses(made):
    from safetensors.numpy import load_file

    from retrieval.encoders.starter_files import dequantise

    root, _, settings, told = made
    stages = [line.split(":")[0] for line in told]
    assert stages == ["single sounds", "scenes judged", "event network", "audio head"]
    tensors = load_file(root / "out" / "audio.safetensors")
    assert dequantise(tensors, "names").shape == (527, 384)
    hear = session((root / "out" / "events.onnx").read_bytes(), threads=1)
    log_odds = hear.run(["logits"], {"mel": np.full((1, 64, 64), -9.0, np.float32)})[0]
    assert log_odds.shape == (1, 8, 527)
    features = np.load(root / "work" / "heard-recordings.npz")["features"]
    vectors = AudioMix(tensors, settings=settings)(
        features, events=np.full((len(features), 527), -5.0, np.float32)
    )
    assert vectors.shape == (28, 384)
    # Unit length, before what all sounds share is taken off.
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=0.2)


@pytest.mark.slow
def test_every_sound_scene_and_title_arrives(made):
    root, sources, _, _ = made
    work = root / "work"
    pools = {p.stem: Pool.load(p) for p in work.glob("*.json")}
    assert {k: len(p.keys) for k, p in pools.items()} == {
        "recordings": 28, "effects": 52, "fonts-0": 12, "fonts-1": 12,
    }  # fmt: skip
    assert pools["fonts-0"].titles[0] == ["violin", "sound of a violin"]
    scenes = Scenes.load(work, split="train")
    assert scenes.mels.shape == (20, 250, 64)
    assert scenes.log_odds.shape == (20, 31, 527)
    # A part that was lost is made again, the same, by the process whose share it is.
    part = work / "scenes-train-001.npz"
    part.unlink()
    teach(sources, work=work, n_scenes=20, share=(0, 2))
    assert not part.exists()
    teach(sources, work=work, n_scenes=20, share=(1, 2))
    with np.load(part) as again:
        assert np.array_equal(again["log_odds"], scenes.log_odds[8:16])
        assert np.array_equal(again["mels"], scenes.mels[8:16])


@pytest.mark.slow
def test_a_stage_that_is_done_is_kept_and_a_broken_one_goes_on(made, monkeypatch):
    root, sources, settings, _ = made
    files = ("audio.onnx", "events.onnx", "audio.safetensors")
    first = {name: (root / "out" / name).read_bytes() for name in files}

    def refuse(*_args, **_kwargs):
        raise AssertionError("done again")

    monkeypatch.setattr("retrieval.training.starter.sounds_pools.Pool.save", refuse)
    monkeypatch.setattr("retrieval.training.starter.sounds_scenes._judge", refuse)
    monkeypatch.setattr(audio_pack, "export_trunk", refuse)
    monkeypatch.setattr(audio_pack, "trunk_features", refuse)
    # Killed after the checkpoint of step 3: the last step is done again, and the same comes out.
    (root / "work" / "events.onnx").unlink()
    assert _run(sources, root=root) == settings
    assert {name: (root / "out" / name).read_bytes() for name in files} == first
    monkeypatch.setattr(sounds_stages, "train_events", refuse)
    assert _run(sources, root=root) == settings
    assert {name: (root / "out" / name).read_bytes() for name in files} == first


def test_recurrent_weights_in_int8_change_the_judgement_little(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "events.onnx"
    export_events(EventNetwork(), target=path)
    mel = np.random.default_rng(0).normal(-6, 4, (1, 96, 64)).astype(np.float32)
    whole = session(path.read_bytes(), threads=1).run(["logits"], {"mel": mel})[0]
    size = path.stat().st_size
    audio_pack.store_recurrent_as_int8(path)
    small = session(path.read_bytes(), threads=1).run(["logits"], {"mel": mel})[0]
    assert size - path.stat().st_size > 3 * 2 * 3 * 128 * (448 + 128) * 0.99
    assert 0 < np.abs(small - whole).max() < 0.01 * whole.std()
