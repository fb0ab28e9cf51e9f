"""Train the image head on cached trunk features: drawings with words, and class prototypes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_colour import COLOURS
from retrieval.encoders.starter_head import gelu, unit
from retrieval.training.starter.classes import Classes
from retrieval.training.starter.corpus import Vectors
from retrieval.training.starter.pack import quantise, write_tensors
from retrieval.training.starter.table import Table

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
# What is learnt of a head, in the order of its layers.
LEARNT = ("w1", "b1", "w2", "b2")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures and texts to learn from.

    Attributes:
        features: float32 [N, 1280], of the trunk.
        colours: float32 [N, 12], shares.
        middle: float32 [N, M], means and maxima of earlier stages of the trunk.
        texts: float32 [N, 8, 384], vectors of wordings; the first three are of the title.
        tinted: float32 [N, 384], vector of "COLOUR TITLE" with the picture's main colour.
        mistinted: float32 [N, 384], the same with a colour it has not.
        coloured: bool [N], has a main colour.
        groups: int64 [N], equal for pictures of one title.
        chances: float64 [N], how often each is drawn, of sum 1.
        places: int64 [N], of the pictures among those that were drawn.
    """

    features: Vectors
    colours: Vectors
    middle: Vectors
    texts: Vectors
    tinted: Vectors
    mistinted: Vectors
    coloured: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]
    places: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Classes of the trunk, and groups of them, as stand-ins for photos (DeViSE).

    Attributes:
        inputs: float32 [C, 1280], scaled classifier rows, in units of the features' spread.
        names: float32 [C, 384], vectors of the names.
        kinds: float32 [C, 384], vectors of names and hypernyms.
        n_classes: the first rows, which are classes; the others are groups.
    """

    inputs: Vectors
    names: Vectors
    kinds: Vectors
    n_classes: int


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """How a head is trained.

    Attributes:
        n_epochs, batch_size, rate: passes, pictures a step, highest learning rate.
        hidden, dropout: width of the head's inner layer, and its dropout.
        n_prototypes: classes a step.
        group_weight: how often groups of classes are drawn, beside 1 for a class.
        colour_chance: how often a picture is named with its colour.
        seed: of everything.
    """

    n_epochs: int = 14
    batch_size: int = 512
    rate: float = 1e-3
    hidden: int = 768
    dropout: float = 0.4
    n_prototypes: int = 400
    group_weight: float = 0.0
    colour_chance: float = 0.12
    seed: int = 0


# The two heads of the shipped weights: what one lacks, the other may have.
HEADS = (
    HeadPlan(),
    HeadPlan(20, 512, 2e-3, 768, 0.5, n_prototypes=300, group_weight=0.7, seed=1),
)


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
        kinds: synonyms and hypernyms.
        rng: of the choices.

    Returns:
        Eight texts; the first three are of the title.

    Example:
        >>> len(wordings("dog", words=["pet"], kinds=["animal"], rng=np.random.default_rng(0)))
        8
    """
    pool = [title] * 4 + list(words[:10]) + [f"{title}, {w}" for w in words[:3]] + list(kinds[:5])
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
    classifier: Vectors, *, classes: Classes, table: Table, size: float = 2.0
) -> Prototypes:
    """Scale classifier rows, and the mean rows of kinds, to look like standardised features.

    Args:
        classifier: float32 [C, 1280].
        classes: what the rows are of.
        table: the text table.
        size: their spread.
    """
    centred = classifier - classifier.mean(axis=0)
    groups = classes.groups()
    inputs = np.concatenate([centred, *(centred[rows].mean(axis=0)[None] for rows, _ in groups)])
    grouped = [unit(table.encode(words).sum(axis=0, keepdims=True)) for _, words in groups]
    own, above = classes.names(table), classes.kinds(table)
    return Prototypes(
        inputs=(inputs / inputs.std(axis=1, keepdims=True) * size).astype(np.float32),
        names=np.concatenate([own, *grouped]),
        kinds=np.concatenate([unit(own + np.float32(0.35) * above), *grouped]),
        n_classes=len(own),
    )


def train_head(pairs: Pairs, *, classes: Prototypes, plan: HeadPlan) -> TrainedHead:
    """Train features^0.5, sqrt(colours) and the middle towards their texts with symmetric InfoNCE.

    Pictures of one title are no negatives of each other; a colour that is named brings the same
    words with a wrong colour as a hard negative; each batch also has prototypes.

    Args:
        pairs: what to learn from.
        classes: the trunk's classes.
        plan: how.

    Returns:
        The head.
    """
    import torch
    import torch.nn.functional as nnf

    from retrieval.training.losses import Scale, infonce

    torch.manual_seed(plan.seed)
    rng = np.random.default_rng(plan.seed)
    inputs, mean, spread = _standardise(pairs)
    head = _make_head(inputs.shape[1], plan=plan, n_out=pairs.texts.shape[2])
    scale = Scale()
    optimiser = torch.optim.AdamW([*head.parameters(), *scale.parameters()], weight_decay=0.05)
    n_batch = min(plan.batch_size, int((pairs.chances > 0).sum()))
    n_steps = max(1, plan.n_epochs * (len(inputs) // n_batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, n_steps + 1, pct_start=0.1)
    for _ in range(n_steps):
        at = rng.choice(len(inputs), n_batch, replace=False, p=pairs.chances)
        drawn = draw(classes, plan=plan, rng=rng)
        texts, hard = words(pairs, at, colour_chance=plan.colour_chance, rng=rng)
        named = (classes.names if rng.random() < 0.6 else classes.kinds)[drawn]
        seen = np.concatenate([inputs[at], stand_ins(classes, drawn, inputs[at], rng)])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = head(torch.tensor(seen))
        loss = infonce(
            nnf.normalize(made.float(), dim=1),
            targets=nnf.normalize(torch.tensor(np.concatenate([texts, named])).float(), dim=1),
            scale=scale,
            positives=same(np.concatenate([pairs.groups[at], 10**6 + drawn]), n_hard=len(hard)),
            hard_targets=nnf.normalize(torch.tensor(hard).float(), dim=1),
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return TrainedHead({**_tensors(head), "mean": mean, "spread": spread})


def draw(classes: Prototypes, *, plan: HeadPlan, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw prototypes: classes, and groups of classes as often as the plan says."""
    n_groups = len(classes.inputs) - classes.n_classes
    weights = np.concatenate([np.ones(classes.n_classes), np.full(n_groups, plan.group_weight)])
    n = min(plan.n_prototypes, int((weights > 0).sum()))
    return rng.choice(len(weights), n, replace=False, p=weights / weights.sum())


def _standardise(pairs: Pairs) -> tuple[Vectors, Vectors, Vectors]:
    """Inputs of the head [N, F + 12 + M] of mean 0 and spread 1; the colours share one spread."""
    rooted, colours = np.sqrt(np.maximum(pairs.features, 0)), np.sqrt(pairs.colours)
    inputs = np.concatenate([rooted, colours, pairs.middle], axis=1)
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + np.float32(1e-3)
    spread[rooted.shape[1] :][: colours.shape[1]] = colours.std() + 1e-3
    return (inputs - mean) / spread, mean, spread


def join_heads(heads: Sequence[TrainedHead], *, pairs: Pairs) -> TrainedHead:
    """Join heads that learnt from the same pairs into one that gives their mean direction.

    Args:
        heads: with the same `mean` and `spread`.
        pairs: to bring the heads to one length on.

    Returns:
        One head as wide as all of them.
    """
    inputs = _standardise(pairs)[0][::20]
    parts: list[dict[str, Vectors]] = []
    for head in heads:
        t = head.tensors
        made = gelu(inputs @ t["w1"].T + t["b1"]) @ t["w2"].T + t["b2"]
        length = np.float32(np.linalg.norm(made, axis=1).mean())
        parts.append({**t, "w2": t["w2"] / length, "b2": t["b2"] / length})
    joined: dict[str, Vectors] = {
        "w1": np.concatenate([p["w1"] for p in parts]),
        "b1": np.concatenate([p["b1"] for p in parts]),
        "w2": np.concatenate([p["w2"] for p in parts], axis=1),
        "b2": np.sum([p["b2"] for p in parts], axis=0, dtype=np.float32),
    }
    return TrainedHead(joined | {k: parts[0][k] for k in ("mean", "spread")})


def _make_head(n_in: int, *, plan: HeadPlan, n_out: int) -> torch.nn.Sequential:
    import torch

    return torch.nn.Sequential(
        torch.nn.Linear(n_in, plan.hidden),
        torch.nn.GELU(approximate="tanh"),
        torch.nn.Dropout(plan.dropout),
        torch.nn.Linear(plan.hidden, n_out),
    )


def _tensors(head: torch.nn.Sequential) -> dict[str, Vectors]:
    learnt = [p.detach().numpy() for p in head.parameters()]
    return dict(zip(LEARNT, learnt, strict=True))


def words(
    pairs: Pairs, at: npt.NDArray[np.int64], *, colour_chance: float, rng: np.random.Generator
) -> tuple[Vectors, Vectors]:
    """One wording for each picture, some with their colour; and those with a wrong colour."""
    texts = pairs.texts[at, rng.integers(N_VARIANTS, size=len(at))].copy()
    tinted = (rng.random(len(at)) < colour_chance) & pairs.coloured[at]
    texts[tinted] = pairs.tinted[at][tinted]
    return texts, pairs.mistinted[at][tinted]


def stand_ins(
    classes: Prototypes,
    drawn: npt.NDArray[np.int64],
    inputs: Vectors,
    rng: np.random.Generator,
) -> Vectors:
    """Prototypes with the colours of some pictures, so that colours say nothing about them.

    Nothing is known of earlier stages: 0, which is their mean.
    """
    first, last = classes.inputs.shape[1], classes.inputs.shape[1] + len(COLOURS)
    out = np.zeros((len(drawn), inputs.shape[1]), dtype=np.float32)
    out[:, :first] = classes.inputs[drawn]
    out[:, first:last] = inputs[rng.integers(len(inputs), size=len(drawn)), first:last]
    return out


def same(groups: npt.NDArray[np.int64], *, n_hard: int) -> torch.Tensor:
    import torch

    from retrieval.training.losses import positives_from

    same = positives_from(torch.tensor(groups))
    return torch.cat([same, torch.zeros(len(same), n_hard, dtype=torch.bool)], dim=1)


def write_image(
    head: TrainedHead,
    *,
    classifier: tuple[Vectors, Vectors],
    names: Vectors,
    table: Table,
    trunk: Path,
    folder: Path,
) -> None:
    """Write `image.onnx` and `image.safetensors`.

    Args:
        head: trained.
        classifier: weight float32 [C, 1280] and bias float32 [C] of the trunk.
        names: float32 [C, 384], what ConSE mixes.
        table: for the colours' words.
        trunk: the int8 ONNX file.
        folder: where to.
    """
    shutil.copyfile(trunk, folder / "image.onnx")
    words = table.encode(list(COLOURS))
    matrices = {"classes": classifier[0], "names": names}
    matrices |= {k: head.tensors[k] for k in ("w1", "w2")}
    plain = {"bias": classifier[1], "colours": words - words.mean(axis=0)}
    plain |= {k: head.tensors[k] for k in ("b1", "b2", "mean", "spread")}
    tensors = {k: v for name, m in matrices.items() for k, v in quantise(name, m).items()}
    tensors |= {name: value.astype(np.float16) for name, value in plain.items()}
    write_tensors(folder / "image.safetensors", tensors)
