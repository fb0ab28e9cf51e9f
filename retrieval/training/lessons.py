"""Guides for a training: from another model, and from a classifier's label space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from retrieval.encoders.base import Encoder
from retrieval.errors import UsageError
from retrieval.training.captions import read_captions
from retrieval.training.classes import ClassRows, class_rows, conse_vectors, read_classifier
from retrieval.training.features import Features, LoadsMany, encode_pairs
from retrieval.training.guides import Guide, label_probabilities
from retrieval.training.heads_job import HeadOptions
from retrieval.training.heads_plan import choose_space
from retrieval.training.pairs import Pair
from retrieval.types import Modality, Space

__all__ = ["Lessons", "Teacher", "prepare_lessons", "teacher_guides"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# Two models have one text space if they put all captions in the same places.
_SAME_COSINE = 0.999


@dataclass(frozen=True)
class Teacher:
    """Another model, with a loader for the media it wants."""

    encoder: Encoder
    loader: LoadsMany


@dataclass(frozen=True)
class Lessons:
    """What teaches besides the pairs.

    Attributes:
        guides: teachers of the training rows.
        classes: rows to add to them.
        told: a phrase about each, for the report.
    """

    guides: tuple[Guide, ...] = ()
    classes: tuple[ClassRows, ...] = ()
    told: tuple[str, ...] = ()


def prepare_lessons(
    pairs: Sequence[Pair],
    *,
    student: Encoder,
    space: Space,
    features: Features,
    rows: Ids,
    sides: Sequence[Modality],
    options: HeadOptions,
    cache: Path,
    teacher: Teacher | None,
) -> Lessons:
    """Read class files and ask the teacher, as the options say.

    Args:
        pairs: all rows.
        student, space: the base model and its Space.
        features: the base's, of all rows.
        rows: int64 [R], the training rows.
        sides: modalities with a head.
        options: name the class files, weights and labels.
        cache: folder of the vector caches.
        teacher: the model that the options name, or None.

    Raises:
        UsageError: options without effect (`no_teacher`, `no_classes`), or see `teacher_guides`
            and `read_classifier`.
    """
    if teacher is None and (options.teacher_labels is not None or options.teacher_weight != 1):
        raise UsageError(
            f"labels {options.teacher_labels} and weight {options.teacher_weight:g} of a teacher "
            "have no use without one; name a teacher",
            code="no_teacher",
        )
    if options.label_weight and not options.classes:
        raise UsageError(
            f"a label weight of {options.label_weight:g} needs classes; name a class file",
            code="no_classes",
        )
    guides, classes, told = [], [], []
    for side, path in options.classes.items():
        classifier = read_classifier(path, side=side)
        texts = student.encode(classifier.names, modality="text", space=space)
        classes.append(class_rows(classifier, texts=texts, features=features, rows=rows))
        told.append(f"{side} by {len(texts)} classes")
        if options.label_weight:
            placed = conse_vectors(classifier, texts=texts, features=features, rows=rows)
            guides.append(Guide(side, "vectors", options.label_weight, torch.from_numpy(placed)))
            told.append(f"{side} by label space")
    if teacher is not None:
        taught = teacher_guides(
            pairs, teacher=teacher, student=student, space=space, features=features, rows=rows,
            sides=sides, options=options, cache=cache,
        )  # fmt: skip
        guides += taught
        told += [f"{g.role} by {g.form} of {teacher.encoder.name}" for g in taught]
    return Lessons(tuple(guides), tuple(classes), tuple(told))


def teacher_guides(
    pairs: Sequence[Pair],
    *,
    teacher: Teacher,
    student: Encoder,
    space: Space,
    features: Features,
    rows: Ids,
    sides: Sequence[Modality],
    options: HeadOptions,
    cache: Path,
) -> list[Guide]:
    """Let a teacher encode the training rows, and make guides of what it says.

    With labels: its probabilities of them. Without: its vectors, where both models put the
    captions in the same places; else how its vectors relate to each other.

    Args:
        teacher: see `Teacher`.
        pairs, student, space, features, rows, sides, options, cache: see `prepare_lessons`.

    Raises:
        UsageError: it knows none of these modalities (`teacher_without_sides`), or the labels
            cannot be read.
        ModelError: it has no Space for the pairs.
    """
    its_space = choose_space(pairs, encoder=teacher.encoder)
    taught = encode_pairs(
        pairs, encoder=teacher.encoder, space=its_space, loader=teacher.loader, cache=cache
    )
    known = [side for side in sides if taught.present[side][rows].any()]
    if not known:
        raise UsageError(
            f"the teacher {teacher.encoder.name} encodes none of {', '.join(sides)} of these "
            "pairs; choose another",
            code="teacher_without_sides",
        )
    vectors = {side: torch.from_numpy(taught.vectors[side][rows]) for side in known}
    if options.teacher_labels is not None:
        words = read_captions(options.teacher_labels, n_least=2)
        its, own = (
            torch.from_numpy(encoder.encode(words, modality="text", space=where))
            for encoder, where in ((teacher.encoder, its_space), (student, space))
        )
        return [
            Guide(side, "probabilities", options.teacher_weight,
                  label_probabilities(vectors[side], labels=its), own)
            for side in known
        ]  # fmt: skip
    same = _same_space(taught, features, rows=rows)
    form: Literal["vectors", "relations"] = "vectors" if same else "relations"
    return [Guide(side, form, options.teacher_weight, vectors[side]) for side in known]


def _same_space(one: Features, other: Features, *, rows: Ids) -> bool:
    """Tell whether two models put the texts of the rows in the same places."""
    both = one.present["text"][rows] & other.present["text"][rows]
    first, second = (f.vectors["text"][rows][both] for f in (one, other))
    if first.shape != second.shape or len(first) == 0:
        return False
    return bool((first * second).sum(axis=1).min() > _SAME_COSINE)
