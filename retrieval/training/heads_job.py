"""What a training of heads is asked to do, and what it reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Literal

from retrieval.encoders.model_file import HeadKind
from retrieval.training.adopt import KS, Adoption, Recalls
from retrieval.training.objective import Loss
from retrieval.training.recipe import Recipe
from retrieval.training.trainer import Step, TrainReport
from retrieval.types import Failure, Modality

__all__ = ["HeadOptions", "HeadsJob", "HeadsReport", "Watchers", "by_direction", "figures"]


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """What is built and minimised.

    Attributes:
        kind, dim_hidden: of every head that stands on vectors; see `HeadSpec`.
        on: `trunk` gives a modality a `blend` head on the features of the base's trunk, if it has
            one; `vectors` keeps every head on the base's vectors.
        dropout: share of hidden values dropped in training.
        loss: `infonce`, or `siglip` where captions repeat a lot.
        n_hard: hard negatives mined per row and epoch; 0 for none.
        gap_weight: weight of the modality gap penalty.
        dims: Matryoshka prefixes besides the full dim.
        weights: pair type -> weight; 1 where left out.
        teacher: name of a model to learn from besides, or empty.
        teacher_weight: of its lessons in the loss.
        teacher_labels: file of label words, one a line: the teacher's probabilities of them
            teach; else its vectors.
        classes: modality -> class file (see `read_classifier`), whose classes join as pairs.
        label_weight: pull of each vector to where the class files' probabilities put it.
    """

    kind: HeadKind = "residual"
    dim_hidden: int = 512
    on: Literal["trunk", "vectors"] = "trunk"
    dropout: float = 0.1
    loss: Loss = "infonce"
    n_hard: int = 0
    gap_weight: float = 0.0
    dims: tuple[int, ...] = ()
    weights: Mapping[tuple[str, str], float] = field(default_factory=dict)
    teacher: str = ""
    teacher_weight: float = 1.0
    teacher_labels: Path | None = None
    classes: Mapping[Modality, Path] = field(default_factory=dict)
    label_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class HeadsJob:
    """What to do.

    Attributes:
        source: pairs; see `read_pairs`.
        base: name of the base model.
        out: the model file to write, ending in `.model`.
        cache: folder for encoded vectors and for media of shards.
        recipe, options: how and what to train.
        force: keep the result even if it is not better.
        refit: what is kept is trained again, on the held-out rows too.
        threads: of the encoder and of training.
        n_workers: decode processes.
        checkpoint: file to resume from and to save to, or None.
        log: JSON lines of the steps, or None.
    """

    source: Path
    base: str
    out: Path
    cache: Path
    recipe: Recipe = field(default_factory=Recipe)
    options: HeadOptions = field(default_factory=HeadOptions)
    force: bool = False
    refit: bool = False
    threads: int = 1
    n_workers: int = 1
    checkpoint: Path | None = None
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who is told how it goes.

    Attributes:
        on_encode: called with contents done and in all, of those not in the cache.
        on_step: called after each step.
        stop: when set, training saves its checkpoint and ends.
    """

    on_encode: Callable[[int, int], None] | None = None
    on_step: Callable[[Step], None] | None = None
    stop: Event | None = None


@dataclass(frozen=True, slots=True)
class HeadsReport:
    """What training heads came to.

    Attributes:
        base: name of the base model.
        path: the model file, or None where it was not adopted.
        n_pairs: pair type -> rows that have it.
        n_rows: `train`, `validation` and `test` -> rows.
        failures: files that could not be used.
        n_encoded: contents that were not in the cache.
        training: how the training ended.
        adoption: the verdict on the test rows.
        recalls: `before` and `after`: direction -> `hit@k` -> share of test queries.
        shares: modality -> share of the learnt vector in it, of heads on the trunk.
        seconds: wall clock.
        lessons: what taught besides the pairs, e.g. `image by vectors`.
        prefixes: dim -> mean recall `before` and `after` of vectors cut to it.
        refitted: the file's heads learnt from all rows; the figures are of those before.
    """

    base: str
    path: str | None
    n_pairs: Mapping[str, int]
    n_rows: Mapping[str, int]
    failures: tuple[Failure, ...]
    n_encoded: int
    training: TrainReport
    adoption: Adoption
    recalls: Mapping[str, Mapping[str, Mapping[str, float]]]
    seconds: float
    shares: Mapping[Modality, float] = field(default_factory=dict)
    lessons: tuple[str, ...] = ()
    prefixes: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    refitted: bool = False

    def to_json(self) -> str:
        """Write it as JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)


def by_direction(recalls: Recalls) -> dict[str, dict[str, float]]:
    """Average hits over queries: `text->image` -> `hit@k` -> share."""
    return {
        f"{query}->{item}": {
            f"hit@{k}": float(share) for k, share in zip(KS, hits.mean(axis=0), strict=True)
        }
        for (query, item), hits in recalls.items()
    }


def figures(adoption: Adoption, *, after: Recalls) -> dict[str, float]:
    """Name the figures that travel in the model file."""
    out = {
        f"{name}.{end}": float(getattr(getattr(adoption, name), end))
        for name in ("before", "after", "gain")
        for end in ("value", "low", "high")
    }
    for direction, hits in by_direction(after).items():
        out |= {f"{direction}.{k}": share for k, share in hits.items()}
    return out
