"""The audio head: trunk features to the text space and to event classes, in minutes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_head import consensus, unit
from retrieval.training.starter.audio_words import WORDINGS

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Texts = Callable[[Sequence[str]], Vectors]

_HIDDEN, _DIM = 512, 384
_BATCH, _TEMPERATURE = 256, 15.0
# Classes that AudioSet puts on nearly everything, or that name no thing one would ask for. Their
# log probability is lowered by this before the names are averaged.
_VAGUE_BY = 3.0
_VAGUE = """Animal
Background music;Bowed string instrument;Cacophony;Chirp tone;Distortion;Echo;Engine
Domestic animals pets;Emergency vehicle;Environmental noise;Field recording;Harmonic;Heart murmur
Hum;Inside large room or hall;Inside public space;Inside small room;Keyboard (musical);Liquid
Livestock farm animals working animals;Mains hum;Music;Musical instrument;Noise;Sound effect;Static
Outside rural or natural;Outside urban or manmade;Percussion;Pink noise;Plucked string instrument
Pulse;Reverberation;Sidetone;Silence;Sine wave;Speech;Single-lens reflex camera;Vehicle
Speech synthesizer;Synthesizer;Throbbing;Vibration;White noise;Wild animals
Wind instrument woodwind instrument"""
VAGUE = frozenset(re.split(r"[;\n]", _VAGUE))


@dataclass(frozen=True, slots=True)
class Lesson:
    """Sounds, what they are called and what the teachers hear in them.

    Attributes:
        features: float32 [N, 512], of the trunk, averaged over blocks.
        events: float32 [N, 527], probabilities.
        titles: one or more wordings of each; empty where nothing is known.
    """

    features: Vectors
    events: Vectors
    titles: Sequence[Sequence[str]]


def class_names(labels: Sequence[str], *, texts: Texts, centring: float) -> Vectors:
    """Encode the event classes, less a part of their mean, which all of them share.

    Args:
        labels: [C], AudioSet's, with spaces or underscores.
        texts: the text tower.
        centring: the part, 0 to 1.

    Returns:
        float32 [C, 384], unit length.
    """
    plain = [label.replace("_", " ") for label in labels]
    vectors = texts([WORDINGS.get(label, label) for label in plain])
    return unit(vectors - centring * vectors.mean(axis=0))


def shift(labels: Sequence[str], *, mean_events: Vectors, strength: float) -> Vectors:
    """Say what to take off each class's log probability, so that common classes do not drown rare.

    Args:
        labels: [C].
        mean_events: float32 [C], mean probability over the training scenes.
        strength: 0 takes nothing off, 1 divides by the mean.

    Returns:
        float32 [C].

    Example:
        >>> shift(["Music", "Dog"], mean_events=np.array([0.5, 0.5]), strength=0.0).tolist()
        [3.0, 0.0]
    """
    vague = np.array([_VAGUE_BY if label.replace("_", " ") in VAGUE else 0.0 for label in labels])
    return np.asarray(strength * np.log(mean_events + 1e-9) + vague, dtype=np.float32)


def fit_head(
    lesson: Lesson, *, names: Vectors, texts: Texts, n_epochs: int = 25, seed: int = 0
) -> dict[str, Vectors]:
    """Train the head on wordings (contrastive), event probabilities and their names' mean.

    Args:
        lesson: the sounds.
        names: float32 [527, 384], from `class_names`.
        texts: the text tower.
        n_epochs: passes over the sounds.
        seed: of everything.

    Returns:
        `mean`, `spread` [512]; `w1` [512, 512], `b1`; `w2` [384, 512], `b2` into the space;
        `classes` [527, 512], `bias` to the log-odds of the events.
    """
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    seen = np.sqrt(np.maximum(lesson.features, 0.0))
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 0.05
    data = _Data(lesson, (seen - mean) / spread, names, texts)
    network = _Head(data.log_odds.mean(dim=0))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.03)
    n_steps = n_epochs * (len(seen) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    order: list[int] = []
    for _ in range(n_steps):
        if len(order) < _BATCH:
            order = [int(i) for i in rng.permutation(len(seen))]
        rows = [order.pop() for _ in range(_BATCH)]
        loss = _loss(network, data, rows, rng)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    out = {k: p.detach().numpy() for k, p in network.weights.items()}
    return {**out, "mean": mean, "spread": spread}


class _Data:
    def __init__(self, lesson: Lesson, inputs: Vectors, names: Vectors, texts: Texts) -> None:
        import torch

        probable = np.clip(lesson.events, 1e-6, 1 - 1e-6)
        self.inputs = torch.from_numpy(np.asarray(inputs, np.float32))
        self.events = torch.from_numpy(probable.astype(np.float32))
        self.log_odds = torch.logit(self.events)
        named = consensus(np.asarray(0.7 * np.log(probable), np.float32), names=names)[0]
        self.named = torch.from_numpy(named)
        self.titles = lesson.titles
        words = sorted({t for titles in lesson.titles for t in titles})
        self.place = {w: n for n, w in enumerate(words)}
        self.words = torch.from_numpy(texts(words))

    def worded(self, rows: Sequence[int], rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Choose a wording for each titled row: (positions in `rows`, rows of `words`)."""
        with_title = [n for n, row in enumerate(rows) if self.titles[row]]
        chosen = [
            self.titles[rows[n]][int(rng.integers(len(self.titles[rows[n]])))] for n in with_title
        ]
        return with_title, [self.place[w] for w in chosen]


class _Head:
    """Input -> hidden (GELU) -> the space, and -> event log-odds; dropout while it learns."""

    def __init__(self, bias: torch.Tensor) -> None:
        import torch

        def layer(n_out: int, n_in: int, scale: float) -> torch.nn.Parameter:
            bound = scale / n_in**0.5
            return torch.nn.Parameter(torch.empty(n_out, n_in).uniform_(-bound, bound))

        zeros = torch.zeros
        self.weights = {
            "w1": layer(_HIDDEN, _HIDDEN, 1.0),
            "b1": torch.nn.Parameter(zeros(_HIDDEN)),
            "w2": layer(_DIM, _HIDDEN, 1.0),
            "b2": torch.nn.Parameter(zeros(_DIM)),
            "classes": layer(len(bias), _HIDDEN, 0.1),
            "bias": torch.nn.Parameter(bias.clone()),
        }

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.weights.values())

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        import torch.nn.functional as nnf

        w = self.weights
        x = nnf.dropout(x + 0.05 * x.new_empty(x.shape).normal_(), 0.15)
        hidden = nnf.gelu(nnf.linear(x, w["w1"], w["b1"]), approximate="tanh")
        hidden = nnf.dropout(hidden, 0.3)
        space = nnf.normalize(nnf.linear(hidden, w["w2"], w["b2"]), dim=1)
        return space, nnf.linear(hidden, w["classes"], w["bias"])


def _loss(
    network: _Head, data: _Data, rows: Sequence[int], rng: np.random.Generator
) -> torch.Tensor:
    import torch
    import torch.nn.functional as nnf

    space, log_odds = network(data.inputs[rows])
    wanted = data.events[rows]
    cross = nnf.binary_cross_entropy_with_logits(log_odds, wanted, reduction="none").sum(1).mean()
    away = ((log_odds - data.log_odds[rows]).clamp(-6, 6) ** 2).mean()
    with_title, words = data.worded(rows, rng)
    texts = data.words[words]
    scores = space[with_title] @ texts.T * _TEMPERATURE
    # Wordings that mean nearly the same are all right: multi-positive InfoNCE both ways.
    same = ((texts @ texts.T) > 0.85).float().fill_diagonal_(1.0)
    right = same / same.sum(dim=1, keepdim=True)
    there = -(right * torch.log_softmax(scores, 1)).sum(1).mean()
    back = -(right * torch.log_softmax(scores.T, 1)).sum(1).mean()
    toward = 1 - (space * data.named[rows]).sum(1).mean()
    return cross + 0.1 * away + there + back + 2 * toward
