"""Classification figures by hand and against loops."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import InputError
from retrieval.evaluation.classify import class_report, confusion, zero_shot


def test_figures_of_a_small_case_are_those_worked_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 1])
    assert confusion(labels, predicted=predicted, n_classes=4).tolist() == [
        [2, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    report = class_report(labels, predicted=predicted, n_classes=4)
    assert report.accuracy == 3 / 6
    assert report.precision_macro == pytest.approx((2 / 2 + 1 / 3 + 0) / 3)
    assert report.recall_macro == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert report.f1_by_class == pytest.approx({0: 4 / 5, 1: 2 / 5, 2: 0.0})
    assert report.f1_macro == pytest.approx((4 / 5 + 2 / 5 + 0) / 3)
    assert report.f1_micro == report.precision_micro == report.recall_micro == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_slow_counts_on_random_labels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(0, 6, 80), generator.integers(0, 6, 80)
    precisions, recalls, f1s = [], [], []
    for c in sorted(set(labels) | set(predicted)):
        tp = sum(1 for a, b in zip(labels, predicted, strict=True) if a == c and b == c)
        fp = sum(1 for a, b in zip(labels, predicted, strict=True) if a != c and b == c)
        fn = sum(1 for a, b in zip(labels, predicted, strict=True) if a == c and b != c)
        precisions.append(tp / (tp + fp) if tp + fp else 0.0)
        recalls.append(tp / (tp + fn) if tp + fn else 0.0)
        f1s.append(2 * tp / (2 * tp + fp + fn))
    report = class_report(labels, predicted=predicted, n_classes=9)
    assert report.precision_macro == pytest.approx(np.mean(precisions))
    assert report.recall_macro == pytest.approx(np.mean(recalls))
    assert report.f1_macro == pytest.approx(np.mean(f1s))


def test_zero_shot_takes_the_nearest_class_and_the_first_of_equals() -> None:
    classes = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    vectors = np.array([[0.6, 0.8], [0.8, 0.6]], dtype=np.float32)
    assert zero_shot(vectors, class_vectors=classes).tolist() == [1, 0]


@pytest.mark.parametrize(("labels", "predicted"), [([0, 1], [0]), ([0, 3], [0, 1]), ([], [])])
def test_labels_that_do_not_fit_are_refused(labels: list[int], predicted: list[int]) -> None:
    with pytest.raises(InputError) as raised:
        class_report(
            np.array(labels, dtype=np.int64),
            predicted=np.array(predicted, dtype=np.int64),
            n_classes=2,
        )
    assert raised.value.code == "bad_labels"
