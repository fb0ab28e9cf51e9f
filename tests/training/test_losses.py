"""Each loss against its slow obvious form: Python loops, double precision, value and gradient."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from retrieval.training import losses


def _vectors(n: int, *, dim: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(n, dim, dtype=torch.float64, generator=generator)
    return (raw / raw.norm(dim=1, keepdim=True)).requires_grad_(True)


def _scale(initial: float, *, bias: float | None = None) -> losses.Scale:
    return losses.Scale(initial=initial, bias=bias).double()


def _assert_same(
    fast: Callable[[], Tensor], *, slow: Callable[[], Tensor], inputs: list[Tensor]
) -> None:
    """Equal value and equal gradient with respect to every input."""
    fast_value, slow_value = fast(), slow()
    assert fast_value.item() == pytest.approx(slow_value.item(), rel=1e-12, abs=1e-13)
    fast_gradients = torch.autograd.grad(fast_value, inputs, allow_unused=True)
    slow_gradients = torch.autograd.grad(slow_value, inputs, allow_unused=True)
    for fast_gradient, slow_gradient, value in zip(
        fast_gradients, slow_gradients, inputs, strict=True
    ):
        zero = torch.zeros_like(value)
        torch.testing.assert_close(
            zero if fast_gradient is None else fast_gradient,
            zero if slow_gradient is None else slow_gradient,
            rtol=1e-10,
            atol=1e-13,
        )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return sum((a[d] * b[d] for d in range(len(a))), torch.zeros((), dtype=a.dtype))


def _softmax_loss(right: Tensor, logits: list[Tensor]) -> Tensor:
    return -torch.log(right.exp() / sum(x.exp() for x in logits))


def _slow_infonce(
    anchors: Tensor,
    targets: Tensor,
    scale: losses.Scale,
    *,
    positives: Tensor | None = None,
    hard: Tensor | None = None,
) -> Tensor:
    n, s = len(anchors), scale.log_scale.exp()
    total = torch.zeros((), dtype=torch.float64)
    for i in range(n):
        kept = [j for j in range(n) if j == i or positives is None or not positives[i, j]]
        row = [s * _dot(anchors[i], targets[j]) for j in kept]
        row += [] if hard is None else [s * _dot(anchors[i], h) for h in hard]
        column = [s * _dot(anchors[j], targets[i]) for j in kept]
        right = s * _dot(anchors[i], targets[i])
        total = total + _softmax_loss(right, row) + _softmax_loss(right, column)
    return total / (2 * n)


def test_infonce_equals_two_softmaxes_written_out() -> None:
    anchors, targets, scale = _vectors(6), _vectors(6, seed=1), _scale(14.0)
    _assert_same(
        lambda: losses.infonce(anchors, targets=targets, scale=scale),
        slow=lambda: _slow_infonce(anchors, targets, scale),
        inputs=[anchors, targets, scale.log_scale],
    )


def test_infonce_leaves_other_right_answers_out_of_the_denominator() -> None:
    anchors, targets, scale = _vectors(6), _vectors(6, seed=1), _scale(5.0)
    positives = losses.positives_from(
        torch.tensor([1, 2, 1, 3, 4, 3]), others=torch.tensor([0, 1, 2, 3, 4, 0])
    )
    assert positives[0, 2]
    assert positives[0, 5]
    assert not positives[0, 1]
    _assert_same(
        lambda: losses.infonce(anchors, targets=targets, scale=scale, positives=positives),
        slow=lambda: _slow_infonce(anchors, targets, scale, positives=positives),
        inputs=[anchors, targets, scale.log_scale],
    )


def test_infonce_counts_hard_targets_for_the_anchors_only() -> None:
    anchors, targets, hard, scale = _vectors(4), _vectors(4, seed=1), _vectors(3, seed=2), _scale(3)
    _assert_same(
        lambda: losses.infonce(anchors, targets=targets, scale=scale, hard_targets=hard),
        slow=lambda: _slow_infonce(anchors, targets, scale, hard=hard),
        inputs=[anchors, targets, hard, scale.log_scale],
    )


def test_infonce_spares_a_hard_target_that_is_right_for_another_anchor() -> None:
    anchors, targets, hard, scale = _vectors(2), _vectors(2, seed=1), _vectors(1, seed=2), _scale(3)
    positives = torch.tensor([[1, 0, 1], [0, 1, 0]]).bool()
    s = 3 * (anchors @ torch.cat([targets, hard]).T)
    rows = (
        _softmax_loss(s[0, 0], [s[0, 0], s[0, 1]])
        + _softmax_loss(s[1, 1], [s[1, 0], s[1, 1], s[1, 2]])
        + _softmax_loss(s[0, 0], [s[0, 0], s[1, 0]])
        + _softmax_loss(s[1, 1], [s[0, 1], s[1, 1]])
    )
    fast = losses.infonce(
        anchors, targets=targets, scale=scale, positives=positives, hard_targets=hard
    )
    assert fast.item() == pytest.approx(rows.item() / 4)


def test_infonce_of_one_pair_is_zero() -> None:
    assert losses.infonce(_vectors(1), targets=_vectors(1, seed=1), scale=_scale(9)).item() == 0


def _open_clip_losses() -> ModuleType:
    """Import open_clip's loss file alone: the whole package needs a torchvision that fits."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "loss.py"
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_infonce_equals_the_other_library_that_implements_it() -> None:
    anchors, targets, scale = _vectors(8).float(), _vectors(8, seed=1).float(), 20.0
    theirs = _open_clip_losses().ClipLoss()(anchors, targets, torch.tensor(scale))
    ours = losses.infonce(anchors, targets=targets, scale=losses.Scale(initial=scale))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def _slow_siglip(a: Tensor, t: Tensor, scale: losses.Scale, right: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(a)):
        for j in range(len(t)):
            logit = scale.log_scale.exp() * _dot(a[i], t[j]) + scale.bias
            sign = 1 if right[i, j] else -1
            total = total - torch.log(1 / (1 + torch.exp(-sign * logit)))
    return total / len(a)


@pytest.mark.parametrize("groups", [None, [0, 1, 0, 2, 1]])
def test_siglip_equals_one_sigmoid_per_pair(groups: list[int] | None) -> None:
    anchors, targets, scale = _vectors(5), _vectors(5, seed=3), _scale(10.0, bias=-10.0)
    positives = None if groups is None else losses.positives_from(torch.tensor(groups))
    right = torch.eye(5, dtype=torch.bool) if positives is None else positives
    _assert_same(
        lambda: losses.siglip(anchors, targets=targets, scale=scale, positives=positives),
        slow=lambda: _slow_siglip(anchors, targets, scale, right),
        inputs=[anchors, targets, scale.log_scale, scale.bias],
    )


def test_siglip_takes_more_targets_than_anchors() -> None:
    anchors, targets, scale = _vectors(3), _vectors(5, seed=3), _scale(4.0, bias=-2.0)
    right = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1]]).bool()
    _assert_same(
        lambda: losses.siglip(anchors, targets=targets, scale=scale, positives=right),
        slow=lambda: _slow_siglip(anchors, targets, scale, right),
        inputs=[anchors, targets, scale.log_scale, scale.bias],
    )


def test_siglip_equals_the_other_library_that_implements_it() -> None:
    anchors, targets = _vectors(8).float(), _vectors(8, seed=1).float()
    theirs = _open_clip_losses().SigLipLoss()(
        anchors, targets, torch.tensor(10.0), torch.tensor(-10.0)
    )
    ours = losses.siglip(anchors, targets=targets, scale=losses.Scale(initial=10.0, bias=-10.0))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_scale_stops_at_one_hundred() -> None:
    scale = _scale(5000.0)
    assert scale(torch.ones(1, dtype=torch.float64)).item() == pytest.approx(100.0)


def test_masked_loss_averages_only_the_pairs_that_are_present() -> None:
    vectors = {name: _vectors(5, seed=s) for s, name in enumerate(("first", "second", "third"))}
    present = {
        "first": torch.tensor([1, 1, 0, 1, 0]).bool(),
        "second": torch.tensor([1, 1, 1, 0, 1]).bool(),
        "third": torch.tensor([0, 1, 1, 0, 1]).bool(),
    }
    weights = {("first", "second"): 2.0, ("second", "third"): 0.5}
    scale = _scale(7.0)
    groups = torch.tensor([0, 0, 1, 2, 1])

    def pair_loss(anchors: Tensor, targets: Tensor, rows: Tensor, _pair: tuple[str, str]) -> Tensor:
        positives = losses.positives_from(groups[rows])
        return losses.infonce(anchors, targets=targets, scale=scale, positives=positives)

    def slow() -> Tensor:
        first = [0, 1]
        second = [1, 2, 4]
        one = _slow_infonce(
            vectors["first"][first],
            vectors["second"][first],
            scale,
            positives=torch.ones(2, 2).bool(),
        )
        two = _slow_infonce(
            vectors["second"][second],
            vectors["third"][second],
            scale,
            positives=torch.tensor([[1, 0, 0], [0, 1, 1], [0, 1, 1]]).bool(),
        )
        return (2.0 * one + 0.5 * two) / 2.5

    _assert_same(
        lambda: losses.over_pairs(vectors, present=present, weights=weights, pair_loss=pair_loss),
        slow=slow,
        inputs=[*vectors.values(), scale.log_scale],
    )


def test_masked_loss_without_any_pair_is_zero_with_zero_gradient() -> None:
    vectors = {"a": _vectors(3), "b": _vectors(3, seed=1)}
    present = {"a": torch.tensor([1, 0, 0]).bool(), "b": torch.tensor([0, 1, 1]).bool()}
    loss = losses.over_pairs(
        vectors,
        present=present,
        weights={("a", "b"): 1.0},
        pair_loss=lambda a, t, _rows, _pair: losses.infonce(a, targets=t, scale=_scale(3)),
    )
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, [vectors["a"]])
    assert not gradient.any()


def test_matryoshka_averages_the_loss_of_normalised_prefixes() -> None:
    anchors, targets, scale = _vectors(4, dim=8), _vectors(4, dim=8, seed=1), _scale(6.0)

    def unit(v: Tensor) -> Tensor:
        return torch.stack([row / _dot(row, row).sqrt() for row in v])

    def slow() -> Tensor:
        short = _slow_infonce(unit(anchors[:, :2]), unit(targets[:, :2]), scale)
        middle = _slow_infonce(unit(anchors[:, :5]), unit(targets[:, :5]), scale)
        full = _slow_infonce(unit(anchors), unit(targets), scale)
        return (1.0 * short + 2.0 * middle + 3.0 * full) / 6.0

    _assert_same(
        lambda: losses.matryoshka(
            anchors,
            targets=targets,
            dims=(2, 5, 8),
            weights=(1.0, 2.0, 3.0),
            pair_loss=lambda a, t: losses.infonce(a, targets=t, scale=scale),
        ),
        slow=slow,
        inputs=[anchors, targets, scale.log_scale],
    )


def test_gap_penalty_is_the_squared_distance_of_the_means() -> None:
    anchors, targets = _vectors(4), _vectors(6, seed=1)

    def slow() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for d in range(anchors.shape[1]):
            gap = sum(a[d] for a in anchors) / 4 - sum(t[d] for t in targets) / 6
            total = total + gap * gap
        return total

    _assert_same(
        lambda: losses.gap_penalty(anchors, targets=targets), slow=slow, inputs=[anchors, targets]
    )


def test_vector_distillation_is_the_mean_cosine_distance() -> None:
    students, teachers = _vectors(4), _vectors(4, seed=1)
    longer = 3 * students

    def slow() -> Tensor:
        cosines = [_dot(s, t) for s, t in zip(students, teachers, strict=True)]
        lengths = [_dot(s, s).sqrt() * _dot(t, t).sqrt() for s, t in zip(students, teachers)]  # noqa: B905
        return sum(1 - c / n for c, n in zip(cosines, lengths, strict=True)) / 4

    _assert_same(
        lambda: losses.distil_vectors(longer, teachers=teachers),
        slow=slow,
        inputs=[students, teachers],
    )


def test_relation_distillation_compares_similarities_off_the_diagonal() -> None:
    students, teachers = _vectors(4, dim=3), _vectors(4, dim=7, seed=1)

    def slow() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i in range(4):
            for j in range(4):
                if i != j:
                    difference = _dot(students[i], students[j]) - _dot(teachers[i], teachers[j])
                    total = total + difference**2
        return total / 12

    _assert_same(
        lambda: losses.distil_relations(students, teachers=teachers),
        slow=slow,
        inputs=[students, teachers],
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probability_distillation_is_the_divergence_from_the_teacher(temperature: float) -> None:
    logits = _vectors(3, dim=4)
    teacher = torch.softmax(_vectors(3, dim=4, seed=1).detach() * 3, dim=1)

    def slow() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for n in range(3):
            whole = sum((logits[n, c] / temperature).exp() for c in range(4))
            for c in range(4):
                student = (logits[n, c] / temperature).exp() / whole
                total = total + teacher[n, c] * torch.log(teacher[n, c] / student)
        return temperature**2 * total / 3

    _assert_same(
        lambda: losses.distil_probabilities(logits, teacher=teacher, temperature=temperature),
        slow=slow,
        inputs=[logits],
    )


def test_label_distillation_is_binary_cross_entropy() -> None:
    logits = _vectors(3, dim=4)
    teacher = torch.sigmoid(_vectors(3, dim=4, seed=1).detach() * 3)

    def slow() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for n in range(3):
            for c in range(4):
                p, t = 1 / (1 + torch.exp(-logits[n, c])), teacher[n, c]
                total = total - t * torch.log(p) - (1 - t) * torch.log(1 - p)
        return total / 12

    _assert_same(lambda: losses.distil_labels(logits, teacher=teacher), slow=slow, inputs=[logits])
