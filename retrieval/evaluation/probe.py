"""Linear probe: how much of a labelling a plain logistic regression reads out of frozen vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError
from retrieval.evaluation.classify import ClassReport, class_report

__all__ = ["Probe", "fit_probe", "k_folds", "leave_one_group_out", "probe_report"]

Labels = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Fold = tuple[Labels, Labels]
"""Row numbers int64 to train on and to judge by."""

_MAX_STEPS = 2000
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Probe:
    """A fitted logistic regression.

    Attributes:
        weights: float64 [C, D].
        bias: float64 [C].
    """

    weights: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def predict(self, vectors: Vectors) -> Labels:
        """Predict classes int64 [N] for vectors float32 [N, D]; ties go to the lower class."""
        return np.asarray(np.argmax(vectors @ self.weights.T + self.bias, axis=1), dtype=np.int64)


def fit_probe(vectors: Vectors, *, labels: Labels, n_classes: int, strength: float = 1e-4) -> Probe:
    """Fit multinomial logistic regression.

    Minimises mean cross entropy + strength / 2 * |W|^2 (the bias is free) by Nesterov's method
    with the step 1 / L, L = 1/2 * the largest eigenvalue of X^T X / n + strength (Böhning 1992):
    convex and deterministic, so no seed and no learning rate to choose.

    Args:
        vectors: float32 [N, D].
        labels: int64 [N] in 0..n_classes-1.
        n_classes: C >= 2.
        strength: of the L2 penalty, > 0.

    Returns:
        The fit.

    Raises:
        InputError: labels do not fit (`bad_labels`).

    Example:
        >>> points = np.array([[1, 0], [0, 1]], dtype=np.float32)
        >>> fit_probe(points, labels=np.array([1, 0]), n_classes=2).predict(points).tolist()
        [1, 0]
    """
    if (
        len(labels) != len(vectors)
        or len(labels) == 0
        or not 0 <= labels.min() <= labels.max() < n_classes
    ):
        raise InputError(
            f"{len(labels)} labels for {len(vectors)} vectors must lie in 0..{n_classes - 1}",
            code="bad_labels",
        )
    # The bias is one more column that the penalty leaves out.
    x = np.hstack([vectors.astype(np.float64), np.ones((len(vectors), 1))])
    wanted = np.eye(n_classes)[labels]
    penalty = np.full(x.shape[1], strength)
    penalty[-1] = 0.0
    step = 1 / (0.5 * np.linalg.eigvalsh(x.T @ x / len(x))[-1] + strength)
    weights = np.zeros((n_classes, x.shape[1]))
    ahead, momentum = weights, 1.0
    for _ in range(_MAX_STEPS):
        gradient = (_softmax(x @ ahead.T) - wanted).T @ x / len(x) + penalty * ahead
        if np.abs(gradient).max() < _TOLERANCE:
            break
        moved = ahead - step * gradient
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / faster * (moved - weights)
        weights, momentum = moved, faster
    return Probe(weights=ahead[:, :-1], bias=ahead[:, -1])


def k_folds(labels: Labels, *, k: int = 5, seed: int = 0) -> Iterator[Fold]:
    """Cut rows into k parts with the same mix of classes; each is judged once.

    Args:
        labels: int64 [N].
        k: parts, 2 to N.
        seed: of the shuffle.

    Yields:
        Rows to train on and rows to judge by.

    Raises:
        InputError: k is out of range (`bad_k`).

    Example:
        >>> [judged.tolist() for _, judged in k_folds(np.array([0, 0, 1, 1]), k=2)]
        [[0, 2], [1, 3]]
    """
    if not 2 <= k <= len(labels):
        raise InputError(
            f"k is {k}; it must be 2 to {len(labels)}, the number of rows", code="bad_k"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # Dealt like cards, class after class: parts differ by one row of a class at most.
    dealt = shuffled[np.argsort(labels[shuffled], kind="stable")]
    part = np.empty(len(labels), dtype=np.int64)
    part[dealt] = np.arange(len(labels)) % k
    for number in range(k):
        yield np.flatnonzero(part != number), np.flatnonzero(part == number)


def leave_one_group_out(groups: Labels) -> Iterator[Fold]:
    """Judge each group by a probe that never saw it (speaker, camera, recording day).

    Args:
        groups: int64 [N], at least two different ones.

    Yields:
        Rows to train on and rows to judge by, groups ascending.

    Raises:
        InputError: there is one group only (`bad_groups`).

    Example:
        >>> [judged.tolist() for _, judged in leave_one_group_out(np.array([7, 3, 7]))]
        [[1], [0, 2]]
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise InputError("leaving one group out needs two groups or more", code="bad_groups")
    for name in names:
        yield np.flatnonzero(groups != name), np.flatnonzero(groups == name)


def probe_report(
    vectors: Vectors,
    *,
    labels: Labels,
    n_classes: int,
    folds: Iterator[Fold],
    strength: float = 1e-4,
) -> ClassReport:
    """Measure a linear probe over folds: every row's prediction comes from a fit without it.

    Args:
        vectors: float32 [N, D], unit length.
        labels: int64 [N] in 0..n_classes-1.
        n_classes: C >= 2.
        folds: from `k_folds` or `leave_one_group_out`.
        strength: see `fit_probe`.

    Returns:
        Figures over all rows that were judged.
    """
    truth, predicted = [], []
    for train, judged in folds:
        probe = fit_probe(
            vectors[train], labels=labels[train], n_classes=n_classes, strength=strength
        )
        truth.append(labels[judged])
        predicted.append(probe.predict(vectors[judged]))
    return class_report(
        np.concatenate(truth), predicted=np.concatenate(predicted), n_classes=n_classes
    )


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
