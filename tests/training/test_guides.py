"""Guides: each form against its slow obvious value, and rows without a teacher left alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from training_worlds import make_model, make_objective

from retrieval.training.guides import Guide, label_probabilities
from retrieval.training.recipe import Recipe
from retrieval.training.trainer import Trainer


def _unit(*shape: int, seed: int) -> torch.Tensor:
    raw = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return raw / raw.norm(dim=-1, keepdim=True)


ROWS = torch.tensor([4, 0, 3])


def test_vectors_cost_their_mean_cosine_distance_times_the_weight() -> None:
    students, teachers = _unit(3, 5, seed=1), _unit(6, 5, seed=2)
    slow = sum(1 - float(s @ teachers[r]) for s, r in zip(students, ROWS, strict=True)) / 3
    made = Guide("image", "vectors", 0.5, teachers).value(students, rows=ROWS)
    assert made.item() == pytest.approx(0.5 * slow)


def test_relations_compare_cosines_of_distinct_rows_in_any_two_spaces() -> None:
    students, teachers = _unit(3, 5, seed=1), _unit(6, 2, seed=2)
    slow = 0.0
    for i in range(3):
        for j in range(3):
            if i != j:
                taught = float(teachers[ROWS[i]] @ teachers[ROWS[j]])
                slow += (float(students[i] @ students[j]) - taught) ** 2 / 6
    made = Guide("image", "relations", 2.0, teachers).value(students, rows=ROWS)
    assert made.item() == pytest.approx(2 * slow)


def test_probabilities_cost_their_divergence() -> None:
    students, labels = _unit(3, 5, seed=1), _unit(4, 5, seed=3)
    teachers = torch.softmax(torch.randn(6, 4, generator=torch.Generator().manual_seed(4)), 1)
    slow = 0.0
    for student, row in zip(students, ROWS, strict=True):
        own = torch.softmax(20 * labels @ student, 0)
        slow += sum(
            float(p) * math.log(float(p) / float(q))
            for p, q in zip(teachers[row], own, strict=True)
        )
    guide = Guide("image", "probabilities", 3.0, teachers.double(), labels)
    assert guide.value(students, rows=ROWS).item() == pytest.approx(slow)


@pytest.mark.parametrize("form", ["vectors", "relations"])
def test_rows_without_a_teacher_do_not_count(form: str) -> None:
    students, teachers = _unit(3, 5, seed=1), _unit(6, 5, seed=2)
    teachers[0] = 0
    guide = Guide("image", form, 1.0, teachers)  # type: ignore[arg-type]
    fewer = guide.value(students[[0, 2]], rows=ROWS[[0, 2]])
    assert guide.value(students, rows=ROWS).item() == pytest.approx(fewer.item())
    longer = guide.extended(2)
    alone = longer.value(students[:2].requires_grad_(), rows=torch.tensor([6, 7]))
    assert alone.item() == 0.0
    alone.backward()  # type: ignore[no-untyped-call]


def test_a_teacher_says_its_probabilities_by_a_softmax_of_cosines() -> None:
    vectors, labels = _unit(2, 3, seed=5), _unit(4, 3, seed=6)
    vectors[1] = 0
    made = label_probabilities(vectors, labels=labels)
    odds = [math.exp(20 * float(vectors[0] @ label)) for label in labels]
    assert made[0].tolist() == pytest.approx([odd / sum(odds) for odd in odds])
    assert made[1].tolist() == [0.0] * 4


def test_an_objective_adds_its_guides_and_has_another_fingerprint() -> None:
    plain, model = make_objective(), make_model(dropout=0.0)
    taught = make_objective()
    taught.guides = [Guide("image", "vectors", 0.7, taught.features["text"])]
    rows = torch.arange(20)
    losses = []
    for objective in (plain, taught):
        vectors = objective.vectors(model, rows=rows)
        losses.append(objective.value(model, vectors=vectors, rows=rows))
    extra = taught.guides[0].value(taught.vectors(model, rows=rows)["image"], rows=rows)
    assert (losses[1] - losses[0]).item() == pytest.approx(extra.item(), rel=1e-4)
    assert plain.fingerprint != taught.fingerprint
    assert plain.fingerprint == make_objective().fingerprint


@pytest.mark.parametrize("form", ["vectors", "relations", "probabilities"])
def test_training_with_a_guide_follows_it(form: str) -> None:
    plain = make_objective(seed=1)
    wanted = plain.features["image"].roll(1, dims=1)
    labels = _unit(8, 16, seed=10).float()
    asked = form == "probabilities"
    teacher = label_probabilities(wanted, labels=labels) if asked else wanted
    guide = Guide("image", form, 100.0, teacher, labels if asked else None)  # type: ignore[arg-type]
    recipe = Recipe(n_epochs=40, batch_size=96, learning_rate=1e-2, average_decay=0.9)
    values = []
    for guides in ((), (guide,)):
        model = make_model(dropout=0.0)
        objective = replace(plain, guides=guides)
        Trainer(model, objective=objective, recipe=recipe).train()
        rows = torch.nonzero(objective.present["image"]).squeeze(1)
        vectors = objective.vectors(model, rows=rows)["image"]
        values.append(guide.value(vectors, rows=rows).item())
    assert values[1] < 0.6 * values[0]
