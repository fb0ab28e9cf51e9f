"""The steps of the sounds, from installed packages to the audio weight files, each cached."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_audio import AudioMix, event_filters, event_mel
from retrieval.encoders.starter_files import session
from retrieval.training.starter import audio_head, audio_pack, sounds, sounds_pools, sounds_scenes
from retrieval.training.starter.events import export_events
from retrieval.training.starter.events_train import EventPlan, train_events
from retrieval.training.starter.gpvad import EventTeacher
from retrieval.training.starter.sounds_pools import Amount, AudioSources, Pool, Samples
from retrieval.training.starter.sounds_scenes import Scenes

Vectors = npt.NDArray[np.float32]
Texts = Callable[[Sequence[str]], Vectors]
Tell = Callable[[str], None]

# What chose these: 164 named recordings of Scratch and QABCs (evaluation only); see the card.
SETTINGS = {"sharpness": 1.2, "share": 0.66, "event_share": 0.9}
_CENTRING, _STRENGTH, _MIDDLE = 0.5, 0.8, 0.5


@dataclass(frozen=True, slots=True)
class SoundPlan:
    """How much of everything; the defaults are those of the card's single run.

    Attributes:
        amount: of the sounds that are made.
        n_scenes: that the event network learns from.
        scene_seed: of their mixing.
        events: how it learns.
        n_head_epochs: passes of the head over the single sounds.
    """

    amount: Amount = field(default_factory=Amount)
    n_scenes: int = 9_000
    scene_seed: int = 11
    events: EventPlan = field(default_factory=EventPlan)
    n_head_epochs: int = 25


def make_sounds(
    sources: AudioSources,
    *,
    work: Path,
    out: Path,
    encode_texts: Texts,
    name_classes: Texts | None = None,
    plan: SoundPlan | None = None,
    tell: Tell = lambda _: None,
) -> dict[str, Any]:  # Any: JSON
    """Make the audio weight files; a stage whose result is in `work` is not done again.

    Args:
        sources: where things are.
        work: keeps each stage's result, and parts of the two long ones: scenes, 500 to a file,
            and a checkpoint of the event network every 100 steps.
        out: gets audio.onnx, events.onnx and audio.safetensors.
        encode_texts: the text tower: texts -> float32 [N, 384], unit length.
        name_classes: gives the vectors of the event classes' names in its place, when they should
            lean towards pictures (`Concepts.leaning`).
        plan: how much of everything.
        tell: told of each stage, once it is done, and of the training now and then.

    Returns:
        The manifest's `audio` settings.
    """
    plan = plan or SoundPlan()
    work.mkdir(parents=True, exist_ok=True)
    clock = _Clock(tell)
    sounds_pools.collect(sources, work=work, amount=plan.amount)
    clock.told("single sounds")
    sounds_scenes.teach(sources, work=work, n_scenes=plan.n_scenes, seed=plan.scene_seed)
    clock.told("scenes judged")
    train(work=work, plan=plan.events, tell=tell)
    clock.told("event network")
    head = fit_audio(
        sources, work=work, encode_texts=encode_texts, name_classes=name_classes, plan=plan
    )
    clock.told("audio head")
    return write_audio(head, work=work, folder=out)


class _Clock:
    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()

    def told(self, name: str) -> None:
        wall_s, cpu_s = time.monotonic(), time.process_time()
        self._tell(f"{name}: {wall_s - self._wall_s:.0f} s, {cpu_s - self._cpu_s:.0f} s of CPU")
        self._wall_s, self._cpu_s = wall_s, cpu_s


def train(*, work: Path, plan: EventPlan, tell: Tell = lambda _: None) -> Path:
    """Train the event network on the scenes and bring it to int8.

    Args:
        work: holds the scenes; gets events.checkpoint.safetensors and events.onnx.
        plan: how it learns.
        tell: told how it goes.

    Returns:
        The int8 file.
    """
    target = work / "events.onnx"
    if not target.is_file():
        scenes = Scenes.load(work, split="train")
        checkpoint = work / "events.checkpoint.safetensors"
        network = train_events(scenes, plan=plan, checkpoint=checkpoint, tell=tell)
        plain = work / "events.float32.onnx"
        export_events(network, target=plain)
        sample = np.asarray(scenes.mels[:: max(1, len(scenes.mels) // 240)], dtype=np.float32)
        unfinished = work / "events.unfinished.onnx"
        audio_pack.quantise_static(plain, target=unfinished, mels=sample)
        audio_pack.store_recurrent_as_int8(unfinished)
        unfinished.replace(target)
    return target


def fit_audio(
    sources: AudioSources,
    *,
    work: Path,
    encode_texts: Texts,
    plan: SoundPlan,
    name_classes: Texts | None = None,
) -> dict[str, Vectors]:
    """Fit the head on the trunk's features and the teachers' judgement of all single sounds.

    Args:
        sources: where things are.
        work: holds the pools and the scenes; gets trunk.onnx and the features.
        encode_texts: the text tower: texts -> float32 [N, 384], unit length.
        plan: its seed and the head's epochs count.
        name_classes: see `make_sounds`; the head learns towards the names as texts all the same.

    Returns:
        What `write_audio` writes.
    """
    labels = [str(label) for label in json.loads(sources.labels.read_text(encoding="utf-8"))]
    names = audio_head.class_names(labels, texts=encode_texts, centring=_CENTRING)
    trunk = _trunk(sources, work=work)
    pools = [
        sounds_pools.recordings(work),
        sounds_pools.procedural(work),
        *sounds_pools.fonts(work),
    ]
    features, said = _features(sources, pools=pools, trunk=trunk, work=work)
    lesson = audio_head.Lesson(features, said, [t for pool in pools for t in pool.titles])
    head = audio_head.fit_head(
        lesson, names=names, texts=encode_texts, n_epochs=plan.n_head_epochs, seed=plan.events.seed
    )
    scenes = Scenes.load(work, split="train")
    mean = _pooled(np.asarray(scenes.log_odds[::5], np.float32)).mean(axis=0)
    shift = audio_head.shift(labels, mean_events=mean, strength=_STRENGTH)
    if name_classes is not None:
        names = audio_head.class_names(labels, texts=name_classes, centring=_CENTRING)
    mix = {"names": names, "shift": shift, "middle": np.zeros(names.shape[1], np.float32)}
    heard = AudioMix({**head, **mix}, settings=SETTINGS)(
        features, events=np.log(np.clip(said, 1e-7, 1 - 1e-7))
    )
    return {**head, **mix, "middle": _MIDDLE * heard.mean(axis=0)}


def _trunk(sources: AudioSources, *, work: Path) -> Path:
    target = work / "trunk.onnx"
    if not target.is_file():
        plain = work / "trunk.float32.onnx"
        audio_pack.export_trunk(sources.trunk, target=plain)
        fonts = sounds_pools.fonts(work)[:2]
        some = [s for f in fonts for s in itertools.islice(f.sounds(), 0, None, 9)]
        cut = audio_pack.trunk_blocks([_floats(s) for s in some])
        order = np.random.default_rng(0).permutation(len(cut))[:160]
        audio_pack.quantise_static(plain, target=target, mels=cut[order])
    return target


def _features(
    sources: AudioSources, *, pools: Sequence[Pool], trunk: Path, work: Path
) -> tuple[Vectors, Vectors]:
    """Hear every single sound: the trunk's features, and the teachers' probabilities."""
    teacher: EventTeacher | None = None
    filters = event_filters()
    parts = []
    for pool in pools:
        path = work / f"heard-{pool.path.stem}.npz"
        if not path.is_file():
            teacher = teacher or EventTeacher(sources.teachers)
            features = audio_pack.trunk_features(_starts(pool), trunk=trunk)
            mels = (event_mel(sound, filters=filters)[None] for sound in _starts(pool))
            said = np.stack([_pooled(teacher(mel))[0] for mel in mels])
            np.savez(path, features=features, events=said)
        with np.load(path) as stored:
            parts.append((stored["features"], stored["events"]))
    return np.concatenate([f for f, _ in parts]), np.concatenate([e for _, e in parts])


def _starts(pool: Pool) -> Iterator[Vectors]:
    return (_floats(samples[: 5 * sounds.SAMPLE_RATE_HZ]) for samples in pool.sounds())


def _floats(samples: Samples) -> Vectors:
    return np.asarray(samples / 32_768, dtype=np.float32)


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
