"""The probe finds the optimum that torch finds; folds never judge what they trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retrieval.errors import InputError
from retrieval.evaluation.probe import fit_probe, k_folds, leave_one_group_out, probe_report


def _blobs(n: int = 120, *, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, n_classes, n)
    centres = generator.standard_normal((n_classes, 8))
    raw = centres[labels] + 0.9 * generator.standard_normal((n, 8))
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit.astype(np.float32), labels


def test_the_fit_is_the_optimum_that_a_general_optimiser_finds() -> None:
    vectors, labels = _blobs()
    probe = fit_probe(vectors, labels=labels, n_classes=3, strength=0.01)
    x, y = torch.from_numpy(vectors).double(), torch.from_numpy(labels)
    weights = torch.zeros(3, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weights.T + bias, y)
        loss = loss + 0.005 * weights.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    np.testing.assert_allclose(probe.weights, weights.detach().numpy(), atol=2e-3)
    shift = probe.bias - bias.detach().numpy()  # only differences of the bias matter
    np.testing.assert_allclose(shift, shift.mean(), atol=2e-3)


@pytest.mark.parametrize("k", [2, 5])
def test_folds_judge_every_row_once_with_an_even_mix_of_classes(k: int) -> None:
    labels = np.array([0] * 20 + [1] * 10 + [2] * 7)
    judged = []
    for train, held_out in k_folds(labels, k=k, seed=1):
        assert not set(train) & set(held_out)
        assert len(train) + len(held_out) == 37
        for c in range(3):
            share = (labels == c).sum() / k
            assert abs((labels[held_out] == c).sum() - share) < 1.0001
        judged += held_out.tolist()
    assert sorted(judged) == list(range(37))


def test_a_group_is_judged_by_a_probe_that_never_saw_it() -> None:
    groups = np.array([5, 1, 5, 2, 1])
    found = [(train.tolist(), out.tolist()) for train, out in leave_one_group_out(groups)]
    assert found == [([0, 2, 3], [1, 4]), ([0, 1, 2, 4], [3]), ([1, 3, 4], [0, 2])]


def test_the_probe_reads_what_is_there_and_not_what_is_not() -> None:
    vectors, labels = _blobs(300)
    good = probe_report(vectors, labels=labels, n_classes=3, folds=k_folds(labels))
    noise = np.random.default_rng(1).integers(0, 3, 300)
    chance = probe_report(vectors, labels=noise, n_classes=3, folds=k_folds(noise))
    assert good.n_rows == 300
    assert good.accuracy > 0.75
    assert chance.accuracy < 0.45


def test_leaving_groups_out_exposes_what_a_random_split_hides() -> None:
    # Each group has its own direction, unrelated between groups, and one label per group.
    generator = np.random.default_rng(0)
    groups = np.arange(200) // 20
    centres = generator.standard_normal((10, 16))
    vectors = (centres[groups] + 0.1 * generator.standard_normal((200, 16))).astype(np.float32)
    labels = groups % 2
    easy = probe_report(vectors, labels=labels, n_classes=2, folds=k_folds(labels))
    hard = probe_report(vectors, labels=labels, n_classes=2, folds=leave_one_group_out(groups))
    assert easy.accuracy > 0.95
    assert hard.accuracy < 0.8


@pytest.mark.parametrize("labels", [[0, 1, 2], [0], [0, -1]])
def test_labels_that_do_not_fit_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError):
        fit_probe(np.eye(2, dtype=np.float32), labels=np.array(labels), n_classes=2)


def test_folds_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(InputError):
        list(k_folds(np.array([0, 1]), k=3))
    with pytest.raises(InputError):
        list(leave_one_group_out(np.array([4, 4])))
