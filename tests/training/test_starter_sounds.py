"""The sound steps of the starter's recipe, each against a case worked by hand or a slow version."""

import gzip
import struct
import wave

import numpy as np
import pytest
import torch

from retrieval.encoders.starter_audio import event_filters, event_mel
from retrieval.training.starter import audio_head, events, events_train, muon, sounds, sounds_fonts
from retrieval.training.starter.events_train import EventPlan, train_events
from retrieval.training.starter.gpvad import scene_mel
from retrieval.training.starter.sounds_licences import free_files
from retrieval.training.starter.sounds_mix import Group, Mixer, N
from retrieval.training.starter.sounds_scenes import Scenes

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2010 Someone
License: CC0-1.0

Files: data/sfx/*
Copyright: 2011 Game Team
License: CC-BY-SA-3.0

Files: data/sfx/*bell*.ogg
       data/sfx/clock.ogg
Copyright: 2012 Natalie
License: public-domain
 Released by its author.

Files: data/sfx/far bell.ogg
Copyright: 2012 Another
License: CC-BY-SA-3.0

Files: data/sfx/horn.ogg
Copyright: 2013 Two People
License: GPL-3 or CC-BY-3.0
"""


def test_only_files_named_with_a_free_licence_are_trained_on(tmp_path):
    (tmp_path / "copyright").write_text(COPYRIGHT)
    names = ["clock.ogg", "bell2.ogg", "far bell.ogg", "horn.ogg", "skid.ogg"]
    files = [tmp_path / "usr/share/games/x/data/sfx" / n for n in names]
    other = tmp_path / "usr/share/games/x/music.ogg"
    found = free_files(tmp_path / "copyright", files=[*files, other])
    assert [(p.name, licence, holder) for p, licence, holder in found] == [
        ("clock.ogg", "public-domain", "2012 Natalie"),
        ("bell2.ogg", "public-domain", "2012 Natalie"),
        ("horn.ogg", "GPL-3 or CC-BY-3.0", "2013 Two People"),
    ]


def _clonk_group(members: dict[str, bytes | dict]) -> bytes:
    """Write a C4Group as the game's own tool does: scramble the head, then entries, then data."""
    contents = {
        name: _clonk_group(value) if isinstance(value, dict) else value
        for name, value in members.items()
    }
    head = bytearray(204)
    head[:24] = b"RedWolf Design GrpFolder"
    struct.pack_into("<i", head, 36, len(contents))
    for n in range(0, 202, 3):
        head[n], head[n + 2] = head[n + 2], head[n]
    table, offset = b"", 0
    for name, data in contents.items():
        group = int(isinstance(members[name], dict))
        entry = name.encode().ljust(260, b"\0") + struct.pack("<5i", 1, group, len(data), 0, offset)
        table += entry.ljust(316, b"\0")
        offset += len(data)
    return bytes(b ^ 237 for b in head) + table + b"".join(contents.values())


def test_sounds_come_out_of_nested_clonk_archives(tmp_path):
    members = {"Fire.ocg": {"Fire.ogg": b"crackle", "Desc.txt": b"no"}, "Bell.wav": b"ding"}
    packed = bytearray(gzip.compress(_clonk_group(members)))
    packed[:2] = b"\x1e\x8c"
    (tmp_path / "game").mkdir()
    (tmp_path / "game" / "Sound.ocg").write_bytes(packed)
    sounds.unpack_clonk(tmp_path / "game", target=tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in _files(tmp_path)}
    assert found == {"Sound.ocg/Fire.ocg/Fire.ogg": b"crackle", "Sound.ocg/Bell.wav": b"ding"}


def _files(tmp_path):
    return [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_sounds_come_out_of_doom_archives_without_their_padding(tmp_path):
    samples = bytes(range(100, 140))
    lump = struct.pack("<HHI", 3, 11025, len(samples) + 32) + b"\x80" * 16 + samples + b"\x80" * 16
    body = struct.pack("<4sii", b"IWAD", 2, 12 + len(lump)) + lump
    body += struct.pack("<ii8s", 12, len(lump), b"DSPISTOL") + struct.pack("<ii8s", 12, 8, b"MAP01")
    (tmp_path / "x.wad").write_bytes(body)
    sounds.unpack_doom(tmp_path / "x.wad", target=tmp_path / "out")
    assert [p.name for p in _files(tmp_path)] == ["DSPISTOL.wav"]
    with wave.open(str(tmp_path / "out" / "DSPISTOL.wav")) as file:
        assert (file.getframerate(), file.readframes(99)) == (11025, samples)


def test_one_in_eleven_recordings_is_held_out():
    kept = [sounds.for_validation(f"source/{n}.ogg") for n in range(4000)]
    assert abs(np.mean(kept) - (1 + 0.5) / 16) < 0.02


def _mixer(seed: int) -> Mixer:
    rng = np.random.default_rng(0)
    short = [(rng.normal(size=4000) * 8000).astype(np.int16) for _ in range(3)]
    long = [(rng.normal(size=3 * N) * 8000).astype(np.int16)]
    return Mixer([Group(short, 0.7), Group(long, 0.3)], seed=seed)


def test_scenes_repeat_for_a_seed_and_fill_five_seconds():
    first, again, other = _mixer(3), _mixer(3), _mixer(4)
    for _ in range(12):
        scene = first.scene()
        assert scene.shape == (110_250,)
        assert scene.dtype == np.float32
        assert np.isfinite(scene).all()
        assert np.abs(scene).max() == pytest.approx(0.7, abs=1e-3)
        assert np.array_equal(scene, again.scene())
        assert not np.array_equal(scene, other.scene())


def test_the_teachers_hear_what_the_encoder_gives_the_student():
    t44, t22 = np.arange(44_100) / 44_100, np.arange(22_050) / 22_050
    tone = sum(np.sin(2 * np.pi * f * t44) for f in (220.0, 1000.0, 3500.0))
    half = sum(np.sin(2 * np.pi * f * t22) for f in (220.0, 1000.0, 3500.0))
    there = event_mel(np.asarray(tone, np.float32), filters=event_filters())
    peak = 0.7 / np.abs(tone).max()
    here = scene_mel(np.asarray(half * peak, np.float32))
    assert here.shape == there.shape
    loud = (there > there.max() - 8)[3:-3]  # the mirrored edges meet a tone in another phase
    assert loud.sum() > 300
    assert np.abs(here - there)[3:-3][loud].max() < 0.1


def test_digital_silence_sounds_like_a_quiet_room_to_the_network():
    torch.manual_seed(0)
    network = events.EventNetwork().eval()
    with torch.inference_mode():
        silent, quiet = (network(torch.full((1, 64, 64), level)) for level in (-36.0, -20.0))
    assert silent.shape == (1, 8, 527)
    assert torch.equal(silent, quiet)


def test_main_directions_bring_variances_to_their_square_root():
    rng = np.random.default_rng(0)
    spread = np.geomspace(10, 0.01, 527)
    basis = np.linalg.qr(rng.normal(size=(527, 527)))[0]
    samples = (rng.normal(size=(4000, 527)) * spread) @ basis
    directions = events_train.main_directions(samples.astype(np.float32))
    found = np.cov((samples @ directions).T)
    wanted = np.sort(np.linalg.eigvalsh(np.cov(samples.T)))[::-1][:192] ** 0.5
    np.testing.assert_allclose(np.diag(found), wanted, rtol=1e-3)
    assert np.abs(found - np.diag(np.diag(found))).max() < 1e-2


@pytest.mark.parametrize("shape", [(40, 90), (90, 40)])
def test_muon_steps_have_singular_values_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(muon.orthogonal(matrix))
    assert 0.6 < values.min() < values.max() < 1.3


def test_the_joined_layer_learns_what_a_convolution_computes():
    torch.manual_seed(0)
    layer = events._Joined(5, 7, n_bands=4)
    seen = torch.randn(2, 5, 9, 4)
    learning = layer.train()(seen)
    assert learning.shape == (2, 7, 9, 1)
    torch.testing.assert_close(learning, layer.eval()(seen), rtol=1e-5, atol=1e-6)


def test_what_is_no_matrix_is_stepped_as_by_adamw():
    rng = np.random.default_rng(0)
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 12)) for _ in range(2))
    optimizer = muon.MuonAdam([], [ours])
    oracle = torch.optim.AdamW([theirs], lr=0.75 * 0.02, weight_decay=0.01)
    optimizer.set_rate(0.02)
    for _ in range(5):
        gradient = torch.from_numpy(rng.normal(size=12).astype(np.float32))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        oracle.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_matrix_is_stepped_along_the_singular_vectors_of_its_gradient():
    torch.manual_seed(0)
    gradient, start = torch.randn(9, 16), torch.randn(9, 16)
    matrix = torch.nn.Parameter(start.clone())
    optimizer = muon.MuonAdam([matrix], [])
    optimizer.set_rate(0.1)
    matrix.grad = gradient.clone()
    optimizer.step()
    step = (start * (1 - 0.05 * 0.1) - matrix.detach()) / (0.2 * 0.1 * 16**0.5)
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    turned = left.T @ step @ right.T
    assert 0.6 < turned.diag().min() < turned.diag().max() < 1.3
    assert (turned - turned.diag().diag()).abs().max() < 0.1


def _scenes(n: int) -> tuple[Scenes, np.ndarray]:
    rng = np.random.default_rng(0)
    loud = rng.integers(0, 2, n)
    mels = rng.normal(-6, 1, (n, 250, 64)) + 6.0 * loud[:, None, None]
    wanted = np.full((n, 31, 527), -6.0)
    wanted += rng.normal(0, 0.01, wanted.shape)
    wanted[loud == 1, :, 7] = 3.0
    return Scenes(mels.astype(np.float16), wanted.astype(np.float16)), loud


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    scenes, _ = _scenes(6)
    plan = EventPlan(n_steps=3, n_scenes=2, whole_from=0.5)
    whole = train_events(scenes, plan=plan)
    monkeypatch.setattr(events_train, "_SAVE_EVERY", 1)
    monkeypatch.setattr(events_train, "_TELL_EVERY", 1)
    path = tmp_path / "state.safetensors"
    steps = []

    def stop(line):
        steps.append(line.split(":")[0])
        if len(steps) == 2:  # the second step is done, but only the first is saved
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_events(scenes, plan=plan, checkpoint=path, tell=stop)
    again = train_events(scenes, plan=plan, checkpoint=path, tell=steps.append)
    assert [s.split(":")[0] for s in steps] == [f"step {n} of 3" for n in (1, 2, 2, 3)]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.slow
def test_the_student_learns_what_the_teachers_say():
    scenes, loud = _scenes(24)
    plan = EventPlan(n_steps=60, n_scenes=8, learning_rate=1e-2, balance=0.0, seed=1)
    network = train_events(scenes, plan=plan)
    with torch.inference_mode():
        found = network(torch.from_numpy(scenes.mels.astype(np.float32)))[:, :, 7].mean(dim=1)
    assert found[loud == 1].min() > found[loud == 0].max() + 0.3


def test_the_shift_lowers_common_and_vague_classes():
    labels = ["Inside_small_room", "Dog", "Rain"]
    found = audio_head.shift(labels, mean_events=np.array([0.5, 0.5, 0.05]), strength=0.3)
    assert found[0] - found[1] == pytest.approx(3.0)
    assert found[1] - found[2] == pytest.approx(0.3 * np.log(10), rel=1e-4)


def _texts(words):
    rows = [np.random.default_rng(sum(w.encode())).normal(size=384) for w in words]
    return np.stack([r / np.linalg.norm(r) for r in rows]).astype(np.float32)


def test_class_names_are_worded_plainly_and_centred():
    asked = []

    def texts(words):
        asked.extend(words)
        return _texts(words)

    found = audio_head.class_names(["Waves_surf", "Dog"], texts=texts, centring=1.0)
    assert asked == ["sea waves, surf", "Dog"]
    first, second = _texts(asked)
    expected = (first - second) / np.linalg.norm(first - second)
    np.testing.assert_allclose(found, [expected, -expected], atol=1e-6)


def test_the_head_learns_titles_and_events():
    rng = np.random.default_rng(0)
    titles = ["dog", "rain", "bell", "train"]
    kinds = rng.integers(0, 4, 600)
    prototypes = rng.random((4, 512)) * 2
    features = (prototypes[kinds] + 0.1 * rng.random((600, 512))).astype(np.float32)
    said = np.full((600, 527), 1e-3, np.float32)
    said[np.arange(600), kinds] = 0.8
    names = audio_head.class_names([f"class {n}" for n in range(527)], texts=_texts, centring=0.5)
    lesson = audio_head.Lesson(features, said, [[titles[k]] if k < 3 else [] for k in kinds])
    head = audio_head.fit_head(lesson, names=names, texts=_texts, n_epochs=30)
    x = (np.sqrt(features) - head["mean"]) / head["spread"]
    hidden = torch.nn.functional.gelu(torch.from_numpy(x @ head["w1"].T + head["b1"])).numpy()
    space, log_odds = hidden @ head["w2"].T + head["b2"], hidden @ head["classes"].T + head["bias"]
    named = (space @ _texts(titles[:3]).T).argmax(axis=1)
    assert (named == kinds)[kinds < 3].mean() > 0.98
    assert (log_odds.argmax(axis=1) == kinds).mean() > 0.98


def test_a_midi_file_reads_back_note_by_note(monkeypatch):
    assert [sounds_fonts._variable_length(n).hex() for n in (0, 127, 128, 16_383, 16_384)] == [
        "00",
        "7f",
        "8100",
        "ff7f",
        "818000",
    ]
    written = sounds_fonts._midi([(0.0, b"\xc0\x05"), (0.5, b"\x90\x3c\x64")])
    assert written[:14] == b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480)
    assert written[22:] == b"\x00\xc0\x05" + b"\x83\x60\x90\x3c\x64" + b"\x87\x40\xff\x2f\x00"


def test_presets_of_a_font_are_read_without_its_drums(tmp_path):
    rows = [("Helicopter", 4, 1), ("Kit", 0, 128), ("Dog", 2, 3), ("EOP", 0, 0)]
    body = b"".join(struct.pack("<20sHHHIII", n.encode(), p, b, 0, 0, 0, 0) for n, p, b in rows)
    (tmp_path / "x.sf2").write_bytes(b"RIFF....phdr" + struct.pack("<I", len(body)) + body)
    found = [(p.bank, p.program, p.name) for p in sounds_fonts.presets(tmp_path / "x.sf2")]
    assert found == [(1, 4, "Helicopter"), (3, 2, "dog barking")]
    names = {p.program: p.name for p in sounds_fonts.general_midi(times=1) if p.bank == 0}
    assert (names[40], names[73], names[105], names[125]) == (
        "Violin",
        "Flute",
        "Banjo",
        "Helicopter",
    )
