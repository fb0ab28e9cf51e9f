"""The steps of the sounds, from installed packages to the audio weight files, each cached."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_audio import AudioMix, event_filters, event_mel
from retrieval.encoders.starter_files import session
from retrieval.errors import BadMediaError
from retrieval.training.starter import audio_head, audio_pack, effects, events, sounds, sounds_fonts
from retrieval.training.starter.gpvad import EventTeacher, scene_mel
from retrieval.training.starter.sounds_licences import free_files
from retrieval.training.starter.sounds_mix import Group, Mixer, halve

_log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
Texts = Callable[[Sequence[str]], Vectors]

_N_EACH_EFFECT = 28
_SCENES_AT_ONCE = 16
_RECORDED, _EFFECTS, _FONT_EFFECTS, _FONT_TUNES = 0.55, 0.24, 0.12, 0.09
# The source of an ESC-10 clip (1-4211-A, freesound 4211): ESC-10 is what the model is judged by.
_JUDGED_BY = {"openclonk/Sound.ocg/Fire.ocg/Fire.ogg"}
# The recordings that are heard too often otherwise: short game sounds made by synthesizers.
_MADE = ("arcade/", "freedoom/", "endless-sky-data/", "marsshooter-data/")
# What chose these: 164 named recordings of Scratch and QABCs (evaluation only); see the card.
SETTINGS = {"sharpness": 1.0, "share": 0.58, "event_share": 0.9}
_CENTRING, _STRENGTH, _MIDDLE = 0.5, 0.8, 0.7


@dataclass(frozen=True, slots=True)
class AudioSources:
    """Where things are installed.

    Attributes:
        packages: Debian package -> folder it was unpacked in (`dpkg-deb -x`); of these only files
            that their copyright statement names as free are used.
        folders: source -> folder of sounds that are free as a whole (sonic-pi, arcade, ...).
        clonk: /usr/share/games/openclonk (Debian openclonk-data).
        wad: freedoom2.wad (Debian freedoom).
        fonts: FluidR3_GS.sf2 for effects, then GM fonts (Debian fluid-soundfont-gs, -gm,
            musescore-general-soundfont).
        teachers: the two GPVAD files.
        labels: their labels.json.
        trunk: aiSFX's state dict as safetensors.
    """

    packages: Mapping[str, Path]
    folders: Mapping[str, Path]
    clonk: Path
    wad: Path
    fonts: Sequence[Path]
    teachers: Sequence[Path]
    labels: Path
    trunk: Path


@dataclass(frozen=True, slots=True)
class _Pool:
    """Sounds of one origin at 44,100 Hz, in one file of samples and one of names."""

    path: Path
    keys: list[str] = field(default_factory=list)
    titles: list[list[str]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def save(self, parts: Iterator[tuple[str, list[str], npt.NDArray[np.int16]]]) -> None:
        with self.path.with_suffix(".raw").open("wb") as file:
            for key, titles, samples in parts:
                file.write(samples.tobytes())
                self.keys.append(key)
                self.titles.append(titles)
                self.ends.append(file.tell() // 2)
        table = {"keys": self.keys, "titles": self.titles, "ends": self.ends}
        self.path.write_text(json.dumps(table), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> _Pool:
        return cls(path=path, **json.loads(path.read_text(encoding="utf-8")))

    def sounds(self) -> Iterator[npt.NDArray[np.int16]]:
        samples = np.memmap(self.path.with_suffix(".raw"), np.int16, "r")
        for start, end in itertools.pairwise([0, *self.ends]):
            yield np.asarray(samples[start:end])


def collect(sources: AudioSources, *, work: Path) -> None:
    """Gather recordings, make procedural effects and play the sound fonts.

    Args:
        sources: where things are.
        work: gets recordings.json, effects.json, fonts-N.json and their samples.
    """
    if not (path := work / "recordings.json").is_file():
        _Pool(path).save(_recorded(sources, work=work))
    if not (path := work / "effects.json").is_file():
        _Pool(path).save(_made())
    for n, font in enumerate(sources.fonts):
        if not (path := work / f"fonts-{n}.json").is_file():
            wanted = (
                sounds_fonts.presets(font) * 24 if n == 0 else sounds_fonts.general_midi(times=5)
            )
            names, played = sounds_fonts.play(font, sounds=wanted, work=work, seed=n + 1)
            keys = [f"font-{n}/{name}" for name in names]
            titles = [[name.lower(), f"sound of a {name.lower()}"] for name in names]
            _Pool(path).save(zip(keys, titles, played, strict=True))


def _recorded(
    sources: AudioSources, *, work: Path
) -> Iterator[tuple[str, list[str], npt.NDArray[np.int16]]]:
    sounds.unpack_clonk(sources.clonk, target=work / "clonk")
    sounds.unpack_doom(sources.wad, target=work / "doom")
    found = sounds.list_recordings(work / "clonk", source="openclonk")
    found += sounds.list_recordings(work / "doom", source="freedoom")
    for name, folder in sorted(sources.folders.items()):
        found += sounds.list_recordings(folder, source=name)
    for name, root in sorted(sources.packages.items()):
        every = sounds.list_recordings(root, source=name)
        statement = root / f"usr/share/doc/{name}/copyright"
        free = {p for p, _, _ in free_files(statement, files=[r.path for r in every])}
        found += [r for r in every if r.path in free]
    for recording in (r for r in found if r.key not in _JUDGED_BY):
        try:
            samples = sounds.decode(recording)
        except BadMediaError as error:
            _log.warning("%s: left out (%s)", recording.key, error)
            continue
        peak = float(np.abs(samples).max())
        if peak > 1e-3:
            titles = [recording.title] if recording.title else []
            yield recording.key, titles, (samples * (32_000 / peak)).astype(np.int16)


def _made() -> Iterator[tuple[str, list[str], npt.NDArray[np.int16]]]:
    for name, (_, *titles) in effects.CLASSES.items():
        for number in range(_N_EACH_EFFECT):
            samples = effects.make(name, number=number)
            yield f"effect/{name}", list(titles), (samples * 32_767).astype(np.int16)


def teach(
    sources: AudioSources,
    *,
    work: Path,
    n_scenes: int = 18_000,
    split: str = "train",
    seed: int = 11,
) -> None:
    """Mix scenes and ask the teachers about them.

    Args:
        sources: where things are.
        work: holds the pools; gets `scenes-SPLIT.mels.npy` and `scenes-SPLIT.log_odds.npy`.
        n_scenes: how many.
        split: `train`, or `validation` for scenes of the recordings that are held out.
        seed: of the mixing.
    """
    base = work / f"scenes-{split}"
    if base.with_suffix(".done").is_file():
        return
    mixer = Mixer(_groups(work, validation=split == "validation"), seed=seed)
    teacher = EventTeacher(sources.teachers)
    shapes = {"mels": (n_scenes, 250, 64), "log_odds": (n_scenes, 31, events.N_CLASSES)}
    mels, log_odds = (
        np.lib.format.open_memmap(base.with_suffix(f".{k}.npy"), "w+", np.float16, shape)
        for k, shape in shapes.items()
    )
    for start in range(0, n_scenes, _SCENES_AT_ONCE):
        rows = slice(start, min(n_scenes, start + _SCENES_AT_ONCE))
        heard = np.stack([scene_mel(mixer.scene()) for _ in range(rows.stop - start)])
        said = teacher(heard)[:, :62]
        mels[rows] = np.clip(heard[:, :250], -40.0, 20.0)
        log_odds[rows] = said.reshape(len(said), 31, 2, -1).mean(axis=2)
    mels.flush()
    log_odds.flush()
    base.with_suffix(".done").touch()


def _groups(work: Path, *, validation: bool) -> list[Group]:
    pool = _Pool.load(work / "recordings.json")
    kept: list[npt.NDArray[np.int16]] = []
    chances: list[float] = []
    for key, titles, samples in zip(pool.keys, pool.titles, pool.sounds(), strict=True):
        if sounds.for_validation(key) == validation:
            kept.append(_half(samples))
            length = min(1.0, 0.3 + len(samples) / sounds.SAMPLE_RATE_HZ / 6)
            rarer = 0.35 if key.startswith(_MADE) else 1.0
            chances.append(length * rarer * (2.5 if titles and rarer == 1.0 else 1.0))
    recorded = np.array(chances) / np.sum(chances)
    if validation:
        return [Group(kept, 1.0, recorded)]
    made = [_half(s) for s in _Pool.load(work / "effects.json").sounds()]
    fonts = [_Pool.load(path) for path in sorted(work.glob("fonts-*.json"))]
    noises, *tunes = [[_half(s) for s in font.sounds()] for font in fonts]
    return [
        Group(kept, _RECORDED, recorded),
        Group(made, _EFFECTS),
        Group(noises, _FONT_EFFECTS),
        Group([s for part in tunes for s in part], _FONT_TUNES),
    ]


def _half(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    small = halve(samples.astype(np.float32))
    return np.clip(small, -32_767, 32_767).astype(np.int16)


def _floats(samples: npt.NDArray[np.int16]) -> Vectors:
    return np.asarray(samples / 32_768, dtype=np.float32)


def train(*, work: Path, n_steps: int = 4_000, seed: int = 0) -> Path:
    """Train the event network on the scenes and bring it to int8.

    Args:
        work: holds the scenes; gets events.onnx.
        n_steps: optimiser steps of 32 scenes.
        seed: of everything.

    Returns:
        The int8 file.
    """
    target = work / "events.onnx"
    if not target.is_file():
        base = work / "scenes-train"
        mels, log_odds = (
            np.load(base.with_suffix(f".{k}.npy"), mmap_mode="r") for k in ("mels", "log_odds")
        )
        judged = [events.Judged(mels, log_odds, 32)]
        network = events.train_events(judged, n_steps=n_steps, seed=seed)
        plain = work / "events.float32.onnx"
        events.export_events(network, target=plain)
        sample = np.asarray(mels[:: max(1, len(mels) // 240)], dtype=np.float32)
        audio_pack.quantise_static(plain, target=target, mels=sample)
    return target


def fit_audio(
    sources: AudioSources, *, work: Path, encode_texts: Texts, seed: int = 0
) -> dict[str, Vectors]:
    """Fit the head on the trunk's features and the teachers' judgement of all single sounds.

    Args:
        sources: where things are.
        work: holds the pools and the scenes; gets trunk.onnx and the features.
        encode_texts: the text tower: texts -> float32 [N, 384], unit length.
        seed: of everything.

    Returns:
        What `write_audio` writes.
    """
    labels = [str(label) for label in json.loads(sources.labels.read_text(encoding="utf-8"))]
    names = audio_head.class_names(labels, texts=encode_texts, centring=_CENTRING)
    trunk = _trunk(sources, work=work)
    pools = [_Pool.load(path) for path in _pool_files(work)]
    features, said = _features(sources, pools=pools, trunk=trunk, work=work)
    lesson = audio_head.Lesson(features, said, [t for pool in pools for t in pool.titles])
    head = audio_head.fit_head(lesson, names=names, texts=encode_texts, seed=seed)
    log_odds = np.load(work / "scenes-train.log_odds.npy", mmap_mode="r")
    mean = _pooled(np.asarray(log_odds[::8], np.float32)).mean(axis=0)
    shift = audio_head.shift(labels, mean_events=mean, strength=_STRENGTH)
    mix = {"names": names, "shift": shift, "middle": np.zeros(names.shape[1], np.float32)}
    heard = AudioMix({**head, **mix}, settings=SETTINGS)(
        features, events=np.log(np.clip(said, 1e-7, 1 - 1e-7))
    )
    return {**head, **mix, "middle": _MIDDLE * heard.mean(axis=0)}


def _pool_files(work: Path) -> list[Path]:
    return [work / "recordings.json", work / "effects.json", *sorted(work.glob("fonts-*.json"))]


def _trunk(sources: AudioSources, *, work: Path) -> Path:
    target = work / "trunk.onnx"
    if not target.is_file():
        plain = work / "trunk.float32.onnx"
        audio_pack.export_trunk(sources.trunk, target=plain)
        fonts = [_Pool.load(path) for path in sorted(work.glob("fonts-*.json"))[:2]]
        some = [s for f in fonts for s in itertools.islice(f.sounds(), 0, None, 9)]
        cut = audio_pack.trunk_blocks([_floats(s) for s in some])
        order = np.random.default_rng(0).permutation(len(cut))[:160]
        audio_pack.quantise_static(plain, target=target, mels=cut[order])
    return target


def _features(
    sources: AudioSources, *, pools: Sequence[_Pool], trunk: Path, work: Path
) -> tuple[Vectors, Vectors]:
    path = work / "single_sounds.npz"
    if not path.is_file():
        teacher, filters = EventTeacher(sources.teachers), event_filters()
        features, said = [], []
        for pool in pools:
            for samples in pool.sounds():
                sound = _floats(samples[: 5 * sounds.SAMPLE_RATE_HZ])
                features.append(audio_pack.trunk_features(iter([sound]), trunk=trunk)[0])
                said.append(_pooled(teacher(event_mel(sound, filters=filters)[None]))[0])
        np.savez(path, features=np.stack(features), events=np.stack(said))
    with np.load(path) as stored:
        return stored["features"], stored["events"]


def _pooled(log_odds: Vectors) -> Vectors:
    """Pool frames as the encoder does: [N, T, C] -> sum p^2 / sum p, [N, C]."""
    p = 1 / (1 + np.exp(-log_odds))
    return np.asarray((p * p).sum(axis=1) / p.sum(axis=1), dtype=np.float32)


def write_audio(head: dict[str, Vectors], *, work: Path, folder: Path) -> dict[str, Any]:
    """Write audio.onnx, events.onnx and audio.safetensors.

    Args:
        head: from `fit_audio`.
        work: holds the networks.
        folder: where to.

    Returns:
        The manifest's `audio` settings.
    """
    for source, name in (("trunk.onnx", "audio.onnx"), ("events.onnx", "events.onnx")):
        data = (work / source).read_bytes()
        session(data, threads=1)  # it opens, or this fails here and not at a user's
        (folder / name).write_bytes(data)
    audio_pack.write_audio_tensors(head, mix=head, path=folder / "audio.safetensors")
    return dict(SETTINGS)
