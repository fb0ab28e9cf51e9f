"""Train the image head on cached trunk features: drawings with words, and class prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_colour import COLOURS
from retrieval.training.starter.corpus import Vectors

if TYPE_CHECKING:
    import torch

PROMPTS = (
    "a {}",
    "{}",
    "a photo of a {}",
    "a drawing of a {}",
    "a picture of a {}",
    "{}.",
    "A {}.",
    "the {}",
    "{} clip art",
    "an image of a {}",
)
N_VARIANTS = 8


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures and texts to learn from.

    Attributes:
        features: float32 [N, 1280], of the trunk.
        colours: float32 [N, 12], shares.
        texts: float32 [N, 8, 384], vectors of wordings; the first three are of the title.
        tinted: float32 [N, 384], vector of "COLOUR TITLE" with the picture's main colour.
        mistinted: float32 [N, 384], the same with a colour it has not.
        coloured: bool [N], has a main colour.
        groups: int64 [N], equal for pictures of one title.
        chances: float64 [N], how often each is drawn, of sum 1.
    """

    features: Vectors
    colours: Vectors
    texts: Vectors
    tinted: Vectors
    mistinted: Vectors
    coloured: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Classes of the trunk as stand-ins for photos (DeViSE).

    Attributes:
        inputs: float32 [C, 1280], scaled classifier rows, in units of the features' spread.
        names: float32 [C, 384], vectors of the class names.
        kinds: float32 [C, 384], vectors of names and hypernyms.
    """

    inputs: Vectors
    names: Vectors
    kinds: Vectors


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """Weights as `Head` of the encoder takes them, by tensor name."""

    tensors: dict[str, Vectors]


def wordings(
    title: str,
    *,
    words: Sequence[str],
    kinds: Sequence[str],
    rng: np.random.Generator,
) -> list[str]:
    """Word a picture in eight ways: its title, keywords, synonyms and what it is a kind of.

    Args:
        title: what it shows.
        words: keywords and synonyms.
        kinds: hypernyms.
        rng: of the choices.

    Returns:
        Eight texts; the first three are of the title.

    Example:
        >>> len(wordings("dog", words=["pet"], kinds=["animal"], rng=np.random.default_rng(0)))
        8
    """
    pool = [title] * 4 + list(words[:10]) + [f"{title}, {w}" for w in words[:3]] + list(kinds[:2])
    out = []
    for number in range(N_VARIANTS):
        text = title if number < 3 else pool[int(rng.integers(len(pool)))]
        out.append(PROMPTS[int(rng.integers(len(PROMPTS)))].format(text))
    return out


def main_colours(shares: npt.NDArray[np.float32]) -> list[str]:
    """Name the at most two colours that have more than 30 % of a picture."""
    order = shares.argsort()[::-1][:2]
    return [COLOURS[i] for i in order if shares[i] > 0.3]


def prototypes(
    classifier: Vectors, *, names: Vectors, kinds: Vectors, size: float = 2.0
) -> Prototypes:
    """Scale classifier rows to look like standardised features.

    Args:
        classifier: float32 [C, 1280].
        names: float32 [C, 384].
        kinds: float32 [C, 384].
        size: their spread.
    """
    centred = classifier - classifier.mean(axis=0)
    return Prototypes(centred / centred.std(axis=1, keepdims=True) * size, names, kinds)


def train_head(
    pairs: Pairs,
    *,
    classes: Prototypes,
    n_epochs: int = 14,
    batch_size: int = 512,
    n_prototypes: int = 200,
    colour_chance: float = 0.25,
    hidden: int = 768,
    dropout: float = 0.3,
    seed: int = 0,
) -> TrainedHead:
    """Train features^0.5 and sqrt(colours) towards their texts with symmetric InfoNCE.

    Pictures of one title are no negatives of each other; a colour that is named brings the same
    words with a wrong colour as a hard negative; each batch also has prototypes.

    Args:
        pairs: what to learn from.
        classes: the trunk's classes.
        n_epochs, batch_size, n_prototypes: passes; pictures and prototypes a step.
        colour_chance: how often a picture is named with its colour.
        hidden, dropout: width of the head's inner layer, and its dropout.
        seed: of everything.

    Returns:
        The head.
    """
    import torch
    import torch.nn.functional as nnf

    from retrieval.training.losses import Scale, infonce

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    inputs, mean, spread = _standardise(pairs)
    head = _make_head(inputs.shape[1], hidden=hidden, n_out=pairs.texts.shape[2], dropout=dropout)
    scale = Scale()
    optimiser = torch.optim.AdamW([*head.parameters(), *scale.parameters()], weight_decay=0.05)
    n_steps = max(1, n_epochs * (len(inputs) // batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, n_steps + 1, pct_start=0.1)
    for _ in range(n_steps):
        at = rng.choice(len(inputs), batch_size, replace=False, p=pairs.chances)
        drawn = rng.choice(len(classes.inputs), n_prototypes, replace=False)
        texts, hard = _words(pairs, at, colour_chance=colour_chance, rng=rng)
        named = (classes.names if rng.random() < 0.6 else classes.kinds)[drawn]
        seen = np.concatenate([inputs[at], _stand_ins(classes, drawn, inputs[at], rng)])
        loss = infonce(
            nnf.normalize(head(torch.tensor(seen)), dim=1),
            targets=nnf.normalize(torch.tensor(np.concatenate([texts, named])).float(), dim=1),
            scale=scale,
            positives=_same(np.concatenate([pairs.groups[at], 10**6 + drawn]), n_hard=len(hard)),
            hard_targets=nnf.normalize(torch.tensor(hard).float(), dim=1),
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return TrainedHead({**_tensors(head), "mean": mean, "spread": spread})


def _standardise(pairs: Pairs) -> tuple[Vectors, Vectors, Vectors]:
    """Inputs of the head with mean 0 and spread 1; the colours share one spread."""
    seen = np.concatenate([np.sqrt(np.maximum(pairs.features, 0)), np.sqrt(pairs.colours)], axis=1)
    n_features = pairs.features.shape[1]
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    spread[n_features:] = seen[:, n_features:].std() + 1e-3
    return ((seen - mean) / spread).astype(np.float32), mean, spread


def _make_head(n_in: int, *, hidden: int, n_out: int, dropout: float) -> torch.nn.Sequential:
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(n_in, hidden),
        torch.nn.GELU(approximate="tanh"),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(hidden, n_out),
    )


def _tensors(head: torch.nn.Sequential) -> dict[str, Vectors]:
    learnt = [p.detach().numpy() for p in head.parameters()]
    return dict(zip(("w1", "b1", "w2", "b2"), learnt, strict=True))


def _words(
    pairs: Pairs, at: npt.NDArray[np.int64], *, colour_chance: float, rng: np.random.Generator
) -> tuple[Vectors, Vectors]:
    """One wording for each picture, some with their colour; and those with a wrong colour."""
    texts = pairs.texts[at, rng.integers(N_VARIANTS, size=len(at))].copy()
    tinted = (rng.random(len(at)) < colour_chance) & pairs.coloured[at]
    texts[tinted] = pairs.tinted[at][tinted]
    return texts, pairs.mistinted[at][tinted]


def _stand_ins(
    classes: Prototypes,
    drawn: npt.NDArray[np.int64],
    inputs: Vectors,
    rng: np.random.Generator,
) -> Vectors:
    """Prototypes with the colours of some pictures, so that colours say nothing about them."""
    n_features = classes.inputs.shape[1]
    lent = inputs[rng.integers(len(inputs), size=len(drawn)), n_features:]
    return np.concatenate([classes.inputs[drawn], lent], axis=1).astype(np.float32)


def _same(groups: npt.NDArray[np.int64], *, n_hard: int) -> torch.Tensor:
    import torch

    from retrieval.training.losses import positives_from

    same = positives_from(torch.tensor(groups))
    return torch.cat([same, torch.zeros(len(same), n_hard, dtype=torch.bool)], dim=1)
