"""Classification with vectors: zero-shot prediction, and what a set of predictions is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError

__all__ = ["ClassReport", "class_report", "confusion", "zero_shot"]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassReport:
    """Quality of predictions.

    Attributes:
        accuracy: share of right predictions; with one label a row it is also the micro precision,
            recall and F1.
        precision_macro, recall_macro, f1_macro: means over the classes that occur.
        precision_micro, recall_micro, f1_micro: over all predictions together.
        f1_by_class: class position -> F1, for the classes that occur.
        n_rows: how many predictions.
    """

    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    precision_micro: float
    recall_micro: float
    f1_micro: float
    f1_by_class: dict[int, float]
    n_rows: int


def zero_shot(
    vectors: npt.NDArray[np.float32], *, class_vectors: npt.NDArray[np.float32]
) -> Labels:
    """Predict the class whose vector is nearest; equal scores go to the lower class.

    Args:
        vectors: float32 [N, D], unit length.
        class_vectors: float32 [C, D], unit length, e.g. encoded class names.

    Returns:
        int64 [N], class positions.

    Example:
        >>> import numpy as np
        >>> zero_shot(np.eye(2, dtype=np.float32)[::-1], class_vectors=np.eye(2, dtype=np.float32))
        array([1, 0])
    """
    return np.asarray(np.argmax(vectors @ class_vectors.T, axis=1), dtype=np.int64)


def confusion(labels: Labels, *, predicted: Labels, n_classes: int) -> Labels:
    """Count predictions by true and predicted class.

    Args:
        labels: int64 [N], true classes in 0..n_classes-1.
        predicted: int64 [N], predicted ones.
        n_classes: C.

    Returns:
        int64 [C, C]; row: true class, column: predicted.

    Raises:
        InputError: lengths differ or a class is out of range (`bad_labels`).

    Example:
        >>> import numpy as np
        >>> confusion(np.array([0, 1, 1]), predicted=np.array([0, 0, 1]), n_classes=2).tolist()
        [[1, 0], [1, 1]]
    """
    both = np.concatenate([labels, predicted])
    if labels.shape != predicted.shape or (
        both.size and not 0 <= both.min() <= both.max() < n_classes
    ):
        raise InputError(
            f"labels {labels.shape} and predictions {predicted.shape} must match in length "
            f"and lie in 0..{n_classes - 1}",
            code="bad_labels",
        )
    counts = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def class_report(labels: Labels, *, predicted: Labels, n_classes: int) -> ClassReport:
    """Measure predictions: accuracy, precision, recall and F1, macro and micro.

    A class that is never predicted has precision 0. Classes neither true nor predicted anywhere
    stay out of the macro means.

    Args:
        labels: int64 [N], true classes in 0..n_classes-1, N >= 1.
        predicted: int64 [N], predicted ones.
        n_classes: C.

    Returns:
        The report.

    Raises:
        InputError: see `confusion`; or no rows (`bad_labels`).

    Example:
        >>> import numpy as np
        >>> class_report(np.array([0, 1]), predicted=np.array([0, 1]), n_classes=2).f1_macro
        1.0
    """
    if len(labels) == 0:
        raise InputError("there is no prediction to measure; give at least one", code="bad_labels")
    counts = confusion(labels, predicted=predicted, n_classes=n_classes)
    right, n_true, n_predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    occurs = np.flatnonzero(n_true + n_predicted)
    precision = _ratio(right, n_predicted)
    recall = _ratio(right, n_true)
    f1 = _ratio(2 * right, n_true + n_predicted)
    accuracy = float(right.sum() / len(labels))
    return ClassReport(
        accuracy=accuracy,
        precision_macro=float(precision[occurs].mean()),
        recall_macro=float(recall[occurs].mean()),
        f1_macro=float(f1[occurs].mean()),
        precision_micro=accuracy,
        recall_micro=accuracy,
        f1_micro=accuracy,
        f1_by_class={int(c): float(f1[c]) for c in occurs},
        n_rows=len(labels),
    )


def _ratio(part: Labels, whole: Labels) -> npt.NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)
