"""A classifier as a teacher: its classes are training pairs (DeViSE) and a place (ConSE).

A class file is safetensors: `weights` float32 [C, F], on the features that the heads stand on;
`bias` float32 [C] if it has one; and in its metadata `names`, a JSON list of the C class names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from retrieval.errors import UsageError
from retrieval.training.features import Features
from retrieval.training.heads import conse
from retrieval.types import Modality

__all__ = ["ClassRows", "Classifier", "class_rows", "conse_vectors", "read_classifier"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# Two captions are the same text if their vectors are.
_SAME_COSINE = 0.9999


@dataclass(frozen=True)
class Classifier:
    """What a class file holds.

    Attributes:
        side: the modality it classifies.
        names: of its C classes.
        weights, bias: float32 [C, F] and [C]; logits = weights f + bias.
    """

    side: Modality
    names: tuple[str, ...]
    weights: Vectors
    bias: Vectors


@dataclass(frozen=True)
class ClassRows:
    """Classes as rows of training data: what the trunk would ideally see, and its name.

    Attributes:
        side: modality of the inputs.
        inputs: float32 [C, D] or [C, D + F], as `Features.head_inputs` gives them.
        texts: float32 [C, D], vectors of the names.
        groups: int64 [C], of the names; those of captions that say the same.
    """

    side: Modality
    inputs: Vectors
    texts: Vectors
    groups: Ids


def read_classifier(path: Path, *, side: Modality) -> Classifier:
    """Read a class file.

    Raises:
        UsageError: absent, not safetensors, or not of this form (`bad_classes`).
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            names = json.loads((file.metadata() or {})["names"])
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        weights = tensors["weights"].astype(np.float32)
        bias = tensors.get("bias", np.zeros(len(weights))).astype(np.float32)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UsageError(
            f"cannot read classes from {path} ({error!r}); it must be safetensors with `weights` "
            "and a JSON list `names` in its metadata",
            code="bad_classes",
        ) from error
    fits = weights.ndim == 2 and bias.shape == (len(weights),) and len(names) == len(weights)
    if not fits or not np.isfinite(weights).all() or not np.isfinite(bias).all():
        raise UsageError(
            f"{path} has weights {weights.shape}, bias {bias.shape} and {len(names)} names; they "
            "must be finite and one row, number and name a class",
            code="bad_classes",
        )
    return Classifier(side, tuple(map(str, names)), weights, bias)


def class_rows(
    classifier: Classifier, *, texts: Vectors, features: Features, rows: Ids
) -> ClassRows:
    """Make training rows of classes (DeViSE, Frome et al. 2013).

    A classifier's weight vector is what the trunk would ideally see of its class; it is brought to
    the mean length of the features. The base's own vector of it, where a head wants one, is zero.

    Args:
        classifier: of one side.
        texts: float32 [C, D], the base's vectors of the names.
        features: of all rows.
        rows: int64 [R], the training rows.

    Raises:
        UsageError: the classifier reads other features (`bad_classes`).
    """
    seen = _seen(classifier, features=features, rows=rows)
    there = features.present[classifier.side][rows]
    lengths = np.linalg.norm(classifier.weights, axis=1, keepdims=True)
    mean_length = np.linalg.norm(seen[there], axis=1).mean() if there.any() else 1.0
    ideal = classifier.weights * (mean_length / np.maximum(lengths, 1e-12))
    if classifier.side in features.trunks:
        ideal = np.concatenate([np.zeros_like(texts), ideal], axis=1)
    return ClassRows(
        side=classifier.side,
        inputs=ideal.astype(np.float32),
        texts=texts,
        groups=_groups(texts, features=features, rows=rows),
    )


def conse_vectors(
    classifier: Classifier, *, texts: Vectors, features: Features, rows: Ids
) -> Vectors:
    """Place rows by their most probable classes (see `heads.conse`).

    Args:
        classifier, texts, features, rows: see `class_rows`.

    Returns:
        float32 [R, D], unit length; zero where the row lacks the side.
    """
    seen = _seen(classifier, features=features, rows=rows)
    logits = torch.from_numpy(seen @ classifier.weights.T + classifier.bias)
    placed = conse(logits.softmax(dim=1), names=torch.from_numpy(texts)).numpy()
    there = features.present[classifier.side][rows]
    return np.where(there[:, None], placed, np.float32(0))


def _seen(classifier: Classifier, *, features: Features, rows: Ids) -> Vectors:
    """Take what the classifier reads: float32 [R, F]."""
    side = classifier.side
    seen = features.trunks.get(side, features.vectors[side])[rows]
    if seen.shape[1] != classifier.weights.shape[1]:
        raise UsageError(
            f"the classes of {side} read {classifier.weights.shape[1]} features; the base gives "
            f"{seen.shape[1]}; use a classifier on the base's own features",
            code="bad_classes",
        )
    return seen


def _groups(texts: Vectors, *, features: Features, rows: Ids) -> Ids:
    """Number the names: as a caption that says the same, or beyond all numbers in use."""
    captions = features.vectors["text"][rows]
    cosines = texts @ captions.T
    nearest = cosines.argmax(axis=1)
    same = cosines[np.arange(len(texts)), nearest] > _SAME_COSINE
    beyond = np.arange(len(texts)) + 1 + features.groups["text"].max()
    groups = np.where(same, features.groups["text"][rows][nearest], beyond)
    return np.asarray(groups, dtype=np.int64)
