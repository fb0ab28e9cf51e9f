"""Prove joining on encoders at hand: hide the starter's audio-text alignment, join by text alone.

    python -m benchmarks.quality.join_starter --esc10 DIR [--n-captions 8000]

Two models are made of the starter. The picture model: its image and text towers as they are. The
sound model: its audio networks' estimate of the 527 AudioSet classes, sqrt(p(class)), with a text
side of its own there, sqrt(softmax(24 cos(text, class name))). The two spaces have nothing in
common (384 and 527 dims, other axes); the trained audio head is not used. They are joined with
made-up captions and the mean of the shipped demo sounds, nothing else: no pair, no ESC-10 clip.

Reported on ESC-10 (10 classes) and the demo set's pictures of the same concepts: before
joining (sounds cut to 384 dims: no relation), the sound model alone (it knows no pictures), joined,
the directly trained starter, and chance.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import Value, tell
from retrieval.config import load_settings
from retrieval.demo.run import load_demo
from retrieval.encoders.base import Encoder, Vectors
from retrieval.encoders.joined import JoinedEncoder
from retrieval.encoders.joined_file import read_joined_file
from retrieval.encoders.starter import StarterEncoder
from retrieval.encoders.starter_audio import AudioTower
from retrieval.encoders.starter_files import open_weights
from retrieval.media import Loader, find_file
from retrieval.training.bridge import FitOptions
from retrieval.training.join import JoinJob, join_models
from retrieval.types import Loaded, Modality, Payload, Space

_SHARPNESS = 24.0
PROMPT = "{}"


class PictureModel(Encoder):
    """The starter without its sounds."""

    def __init__(self, starter: StarterEncoder) -> None:
        self._starter = starter
        self.name = "starter pictures"
        own = starter.spaces[0]
        self.spaces = (Space("pictures", self.name, own.fingerprint, own.dim, ("image", "text")),)
        self.media, self.batch_size = starter.media, starter.batch_size

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002
    ) -> npt.NDArray[np.float32]:
        return self._starter.encode(inputs, modality=modality)


class SoundModel(Encoder):
    """What the networks say of the event classes, and texts, both in the space of these classes."""

    def __init__(self, starter: StarterEncoder, *, threads: int) -> None:
        self._starter = starter
        self._tower = AudioTower(open_weights(), threads=threads)
        names = self._tower.mix.names
        self._names = names / np.linalg.norm(names, axis=1, keepdims=True)
        self.name = "starter sounds"
        self.spaces = (Space("sounds", self.name, "raw", len(names), ("audio", "text")),)
        self.media, self.batch_size = starter.media, starter.batch_size

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002
    ) -> npt.NDArray[np.float32]:
        if modality == "text":
            texts = self._starter.encode(inputs, modality="text")
            return _root_softmax(_SHARPNESS * texts @ self._names.T)
        features, events = self._tower.hear([np.asarray(sound, np.float32) for sound in inputs])
        return _root_softmax(self._tower.mix.class_evidence(features, events=events))


def _root_softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.sqrt(shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def load(paths: Sequence[Path], *, encoder: Encoder, modality: Modality) -> list[list[Payload]]:
    """Decode files to the payloads of their parts."""
    out = []
    with Loader(spec=encoder.media, n_workers=load_settings().workers) as loader:
        for found, outcome in loader.load_many(find_file(path) for path in paths):
            if not isinstance(outcome, Loaded):
                raise SystemExit(f"{found.path}: {outcome.reason}")
            out.append([p.payload for p in outcome.parts if p.modality == modality])
    return out


def encode(
    items: Sequence[Sequence[Payload]], *, encoder: Encoder, modality: Modality, space: Space
) -> Vectors:
    """Encode items, each as the mean of its parts. float32 [N, D], unit length."""
    flat = [payload for item in items for payload in item]
    vectors = encoder.encode(flat, modality=modality, space=space)
    starts = np.cumsum([0, *(len(item) for item in items[:-1])])
    return _unit(np.add.reduceat(vectors, starts, axis=0))


def _unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def hit_rate(queries: Vectors, items: Vectors, right: npt.NDArray[np.bool_], *, k: int) -> float:
    """Share of queries with a right item among the first k, vectors centred by modality."""
    centred = _unit(queries - queries.mean(axis=0)) @ _unit(items - items.mean(axis=0)).T
    order = (-centred).argsort(axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(right, order, axis=1).any(axis=1).mean())


def judge(
    sounds: Vectors, names: Vectors | None, pictures: Vectors | None, labels: Sequence[str],
    classes: Sequence[str], concepts: Sequence[str],
) -> dict[str, float]:  # fmt: skip
    """Zero-shot accuracy, text to sound, and sound to picture, where the model can."""
    out: dict[str, float] = {}
    own = np.array([classes.index(label) for label in labels])
    if names is not None:
        scores = sounds @ names.T
        out["ESC-10 accuracy"] = float((scores.argmax(axis=1) == own).mean())
        best = (-scores.T).argsort(axis=1, kind="stable")[:, :10]
        out["text->sound P@10"] = float((own[best] == np.arange(len(classes))[:, None]).mean())
    if pictures is not None:
        right = np.array([[shared(label, concept) for concept in concepts] for label in labels])
        kept = right.any(axis=1)
        for k in (1, 5):
            out[f"sound->picture hit@{k}"] = hit_rate(sounds[kept], pictures, right[kept], k=k)
            chance = 1 - np.prod([1 - right[kept].mean(axis=1)] * k, axis=0)
            out[f"sound->picture hit@{k} by chance"] = float(chance.mean())
    return out


def shared(label: str, concept: str) -> bool:
    """Tell whether a class of ESC-10 and a concept of the demo name the same thing."""
    return bool(set(label.replace("_", " ").split()) & set(concept.replace("_", " ").split()))


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--esc10", type=Path, required=True, help="folder with clips.csv")
    parser.add_argument("--n-captions", type=int, default=8000)
    options = parser.parse_args()
    threads = load_settings().threads
    starter = StarterEncoder(threads=threads)
    eyes, ears = PictureModel(starter), SoundModel(starter, threads=threads)
    demo = load_demo()
    calm = tuple(demo.path(item.name) for item in demo.items if item.modality == "audio")
    with tempfile.TemporaryDirectory() as folder:
        job = JoinJob(
            image=eyes.name, audio=ears.name, out=Path(folder) / "both.joined", captions=None,
            pairs=None, sounds=calm, cache=Path(folder), n_captions=options.n_captions,
            options=FitOptions(), threads=threads,
        )  # fmt: skip
        report = join_models(job, image=eyes, audio=ears)
        file = read_joined_file(job.out)
    both = JoinedEncoder(file, name="joined", image=eyes, audio=ears)
    with (options.esc10 / "clips.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    labels = [row["name"] for row in rows]
    classes = sorted(set(labels))
    clips = load([options.esc10 / row["path"] for row in rows], encoder=starter, modality="audio")
    seen = [item for item in demo.items if item.modality == "image"]
    concepts = [item.concept for item in seen]
    shots = load([demo.path(item.name) for item in seen], encoder=starter, modality="image")
    prompts = [PROMPT.format(name) for name in classes]
    figures: dict[str, Value] = {"captions": report.n_captions, "seconds to join": report.seconds}
    figures |= {f"held-out text->text {k}": v for k, v in report.text_text.items()}
    raw = encode(clips, encoder=ears, modality="audio", space=ears.spaces[0])
    cut = _unit(raw[:, : starter.spaces[0].dim])
    ways: dict[str, tuple[Encoder, Space, Vectors]] = {
        "before joining": (starter, starter.spaces[0], cut),
        "sound model alone": (ears, ears.spaces[0], raw),
        "joined by text": (both, both.spaces[0],
                           encode(clips, encoder=both, modality="audio", space=both.spaces[0])),
        "trained directly": (starter, starter.spaces[0], encode(
            clips, encoder=starter, modality="audio", space=starter.spaces[0])),
    }  # fmt: skip
    for way, (model, space, sounds) in ways.items():
        names = model.encode(prompts, modality="text", space=space)
        pictures = None
        if "image" in space.modalities:
            pictures = encode(shots, encoder=model, modality="image", space=space)
        for key, value in judge(sounds, names, pictures, labels, classes, concepts).items():
            figures[f"{way}: {key}"] = value
    figures["chance: ESC-10 accuracy"] = 1 / len(classes)
    tell("join_starter", figures)


if __name__ == "__main__":
    main()
