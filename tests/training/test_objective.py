"""The objective over mixed rows equals plain losses over hand-picked rows."""

from __future__ import annotations

import pytest
import torch
from training_worlds import make_model, make_objective

from retrieval.training.heads import HeadsModel
from retrieval.training.losses import gap_penalty, infonce, matryoshka, siglip
from retrieval.training.objective import HARD, PairsObjective

# Of rows 0..7: pictures where row % 4 != 3, sounds at 0, 3, 6; captions 0 and 1 are equal.
ROWS = torch.arange(8)
IMAGE_ROWS, AUDIO_ROWS = torch.tensor([0, 1, 2, 4, 5, 6]), torch.tensor([0, 3, 6])


def _value(objective: PairsObjective, model: HeadsModel) -> torch.Tensor:
    vectors = objective.vectors(model, rows=ROWS)
    return objective.value(model, vectors=vectors, rows=ROWS)


def _sides(
    objective: PairsObjective, model: HeadsModel, role: str, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    texts = model.encode(objective.features["text"][rows], role="text")
    return model.encode(objective.features[role][rows], role=role), texts


def _same_caption(n: int) -> torch.Tensor:
    right = torch.eye(n, dtype=torch.bool)
    right[0, 1] = right[1, 0] = True
    return right


def test_value_is_the_weighted_mean_over_pair_types() -> None:
    objective, model = make_objective(), make_model(dropout=0.0)
    images, captions = _sides(objective, model, "image", IMAGE_ROWS)
    sounds, others = _sides(objective, model, "audio", AUDIO_ROWS)
    scales = model.scales
    one = infonce(images, targets=captions, scale=scales["image-text"], positives=_same_caption(6))
    two = infonce(sounds, targets=others, scale=scales["audio-text"])
    torch.testing.assert_close(_value(objective, model), (1.0 * one + 0.5 * two) / 1.5)


def test_sigmoid_loss_counts_equal_captions_as_right() -> None:
    objective, model = make_objective(loss="siglip"), make_model(dropout=0.0)
    objective.weights = {("image", "text"): 1.0}
    images, captions = _sides(objective, model, "image", IMAGE_ROWS)
    expected = siglip(
        images, targets=captions, scale=model.scales["image-text"], positives=_same_caption(6)
    )
    torch.testing.assert_close(_value(objective, model), expected)


def test_prefixes_and_gap_penalty_are_added_as_asked() -> None:
    objective, model = make_objective(dims=(4, 16)), make_model(dropout=0.0)
    objective.weights, objective.gap_weight = {("audio", "text"): 1.0}, 0.25
    sounds, captions = _sides(objective, model, "audio", AUDIO_ROWS)
    expected = matryoshka(
        sounds,
        targets=captions,
        dims=(4, 16),
        pair_loss=lambda a, t: infonce(a, targets=t, scale=model.scales["audio-text"]),
    ) + 0.25 * gap_penalty(sounds, targets=captions)
    torch.testing.assert_close(_value(objective, model), expected)


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_hard_negatives_join_the_first_pair_type_only(loss: str) -> None:
    objective = make_objective(loss=loss)  # type: ignore[arg-type]
    model = make_model(dropout=0.0)
    # Row 0 gets 9 and itself (which must not count against it), every other row 10 and 1.
    objective.hard = torch.tensor([[9, 0]] + [[10, 1]] * (objective.n_rows - 1))
    images, captions = _sides(objective, model, "image", IMAGE_ROWS)
    sounds, others = _sides(objective, model, "audio", AUDIO_ROWS)
    hard_rows = torch.tensor([9, 0] + [10, 1] * 5)
    hard = model.encode(objective.features["text"][hard_rows], role="text")
    columns = torch.cat([IMAGE_ROWS, hard_rows])
    captions_of = objective.groups["text"]
    right = captions_of[IMAGE_ROWS][:, None] == captions_of[columns][None, :]
    scales = model.scales
    if loss == "infonce":
        one = infonce(
            images, targets=captions, hard_targets=hard, positives=right, scale=scales["image-text"]
        )
        two = infonce(sounds, targets=others, scale=scales["audio-text"])
    else:
        all_targets = torch.cat([captions, hard])
        one = siglip(images, targets=all_targets, positives=right, scale=scales["image-text"])
        two = siglip(sounds, targets=others, scale=scales["audio-text"])
    assert objective.vectors(model, rows=ROWS)[HARD].shape == (16, 16)
    torch.testing.assert_close(_value(objective, model), (one + 0.5 * two) / 1.5)


def test_a_batch_without_any_pair_has_no_loss_and_no_gradient() -> None:
    objective, model = make_objective(), make_model()
    rows = torch.tensor([7, 11])  # neither a picture nor a sound
    value = objective.value(model, vectors=objective.vectors(model, rows=rows), rows=rows)
    value.backward()
    assert value.item() == 0
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
