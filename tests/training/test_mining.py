"""Hard negatives are the nearest wrong targets, and never a right one."""

from __future__ import annotations

import numpy as np
import torch
from training_worlds import make_model, make_objective

from index import Neighbors
from retrieval.training.mining import exact_searcher, hard_negatives


def test_hard_negatives_are_the_nearest_wrong_targets() -> None:
    objective, model = make_objective(40), make_model()
    mined = hard_negatives(model, objective=objective, n_hard=3)
    with torch.no_grad():
        images = model.encode(objective.features["image"], role="image")
        texts = model.encode(objective.features["text"], role="text")
    for row in range(40):
        if not objective.present["image"][row]:
            assert mined[row].tolist() == [row] * 3
            continue
        group = objective.groups["text"][row]
        wrong = [
            (-(images[row] @ texts[other]).item(), other)
            for other in range(40)
            if objective.present["image"][other] and objective.groups["text"][other] != group
        ]
        assert mined[row].tolist() == [other for _, other in sorted(wrong)[:3]]


def test_a_row_with_too_few_wrong_answers_is_filled_with_itself() -> None:
    objective = make_objective(4)  # rows 0 and 1 are one group, row 3 has no picture
    mined = hard_negatives(make_model(), objective=objective, n_hard=2)
    assert mined.tolist()[0] == [2, 0]
    assert mined.tolist()[3] == [3, 3]


def test_any_searcher_can_be_mined() -> None:
    asked = []

    class Backwards:
        def search(self, queries: np.ndarray, *, k: int) -> Neighbors:
            asked.append((queries.shape, k))
            ids = np.tile(np.array([5, 4, 2, 1, 0])[:k], (len(queries), 1))
            return Neighbors(ids, np.zeros(ids.shape, np.float32), np.full(len(queries), k))

    mined = hard_negatives(
        make_model(), objective=make_objective(6), n_hard=1, make_searcher=lambda *_: Backwards()
    )
    assert mined[0].tolist() == [5]
    assert mined[5].tolist() == [4]
    assert asked[0][0] == (5, 16)


def test_the_exact_searcher_knows_vectors_by_their_rows() -> None:
    vectors = np.eye(3, dtype=np.float32)
    found = exact_searcher(vectors, np.array([7, 8, 9])).search(vectors, k=1)
    assert found.ids[:, 0].tolist() == [7, 8, 9]
