"""The trainer learns, resumes bit for bit, stops in time and says what it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import Tensor
from training_worlds import make_model, make_objective, share_of_first_ranks

from retrieval.errors import InputError, ModelError, StoppedError, UsageError
from retrieval.training.heads import HeadsModel
from retrieval.training.mining import hard_negatives
from retrieval.training.recipe import Recipe, learning_rate_at
from retrieval.training.trainer import Step, Trainer

RECIPE = Recipe(n_epochs=4, batch_size=20, learning_rate=5e-3, seed=3)


def _trainer(
    *, recipe: Recipe = RECIPE, seed: int = 0, data: str = "", score: float | None = None
) -> Trainer[HeadsModel]:
    objective = make_objective()
    validate: Callable[[HeadsModel], float] = partial(share_of_first_ranks, objective=objective)
    return Trainer(
        make_model(seed=seed),
        objective=objective,
        recipe=recipe,
        validate=validate if score is None else (lambda _model: score),
        mine=lambda model: hard_negatives(model, objective=objective, n_hard=2),
        data_fingerprint=data,
    )


def _weights(trainer: Trainer[HeadsModel]) -> dict[str, Tensor]:
    return dict(trainer.model.state_dict())


def _log(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for line in lines:
        assert line.pop("seconds") >= 0
    return lines


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_training_teaches_heads_to_find_the_right_caption(loss: str) -> None:
    objective = make_objective(128, loss=loss, dims=(8, 16))  # type: ignore[arg-type]
    model = make_model(loss=loss)  # type: ignore[arg-type]
    before = share_of_first_ranks(model, objective)
    recipe = Recipe(n_epochs=60, batch_size=64, learning_rate=1e-2)
    Trainer(model, objective=objective, recipe=recipe).train()
    assert before < 0.2
    assert share_of_first_ranks(model, objective) > 0.9


@pytest.mark.parametrize("stop_at", [1, 5, 7, 12])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    tmp_path: Path, stop_at: int
) -> None:
    whole = _trainer()
    report = whole.train(log=tmp_path / "whole.jsonl")

    stop = Event()

    def stop_there(step: Step) -> None:
        if step.step == stop_at:
            stop.set()

    checkpoint, log = tmp_path / "c.safetensors", tmp_path / "parts.jsonl"
    with pytest.raises(StoppedError):
        _trainer().train(checkpoint=checkpoint, log=log, on_step=stop_there, stop=stop)
    torch.manual_seed(999)  # nothing may depend on what this process drew before
    resumed = _trainer(seed=17)
    assert resumed.train(checkpoint=checkpoint, log=log) == report

    for name, value in _weights(whole).items():
        assert torch.equal(value, _weights(resumed)[name]), name
    assert _log(log) == _log(tmp_path / "whole.jsonl")


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe(n_epochs=3, batch_size=20, learning_rate=5e-3, checkpoint_steps=3)
    whole = _trainer(recipe=recipe)
    whole.train(log=tmp_path / "whole.jsonl")

    class Killed(BaseException):
        pass

    def die(step: Step) -> None:
        if step.step == 8:
            raise Killed

    paths = {"checkpoint": tmp_path / "c", "log": tmp_path / "parts.jsonl"}
    with pytest.raises(Killed):
        _trainer(recipe=recipe).train(**paths, on_step=die)
    resumed = _trainer(recipe=recipe)
    resumed.train(**paths)
    for name, value in _weights(whole).items():
        assert torch.equal(value, _weights(resumed)[name]), name
    # Steps 7 and 8 were done twice; the log has them once.
    assert _log(paths["log"]) == _log(tmp_path / "whole.jsonl")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = _trainer()
    report = first.train(checkpoint=tmp_path / "c")
    again = _trainer(seed=5)
    assert again.train(checkpoint=tmp_path / "c") == report
    for name, value in _weights(first).items():
        assert torch.equal(value, _weights(again)[name]), name


def test_training_leaves_the_random_numbers_of_the_caller_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    _trainer().train()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("change", [{"recipe": Recipe(batch_size=24)}, {"data": "other"}])
def test_a_checkpoint_of_another_training_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    _trainer().train(checkpoint=tmp_path / "c")
    with pytest.raises(UsageError) as raised:
        _trainer(**change).train(checkpoint=tmp_path / "c")  # type: ignore[arg-type]
    assert raised.value.code == "checkpoint_mismatch"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c"
    _trainer().train(checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    with pytest.raises(ModelError) as raised:
        _trainer().train(checkpoint=checkpoint)
    assert raised.value.code == "checkpoint_damaged"


def test_training_stops_when_validation_no_longer_improves() -> None:
    recipe = Recipe(n_epochs=50, batch_size=50, patience_epochs=3)
    report = _trainer(recipe=recipe, score=0.5).train()
    assert report.stopped_early
    assert report.best_epoch == 0
    assert report.n_steps == 4 * 2  # the first epoch was best, three more were given


def test_the_weights_kept_are_those_of_the_best_epoch() -> None:
    scores = iter([0.1, 0.9, 0.3])
    seen: list[dict[str, Tensor]] = []

    def validate(model: HeadsModel) -> float:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores)

    recipe = Recipe(n_epochs=3, batch_size=50)
    trainer = Trainer(make_model(), objective=make_objective(), recipe=recipe, validate=validate)
    assert trainer.train().best_epoch == 1
    for name, value in _weights(trainer).items():
        assert torch.equal(value, seen[1][name]), name


def test_averaged_weights_follow_the_formula() -> None:
    seen: list[Tensor] = []
    recipe = Recipe(n_epochs=3, batch_size=96, average_decay=0.15, learning_rate=0.01)
    model = make_model(dropout=0.0)
    start = model.heads["image"].first.weight.detach().clone()
    trainer = Trainer(model, objective=make_objective(), recipe=recipe)
    trainer.train(
        on_step=lambda _s: seen.append(model.heads["image"].first.weight.detach().clone())
    )
    expected = start
    for decay, weight in zip([min(0.15, 2 / 11), 0.15, 0.15], seen, strict=True):
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(model.heads["image"].first.weight, expected)


def test_gradients_are_clipped_and_logged_before_clipping(tmp_path: Path) -> None:
    recipe = Recipe(n_epochs=1, batch_size=48, clip_norm=1e-9, weight_decay=0.0)
    model = make_model()
    Trainer(model, objective=make_objective(), recipe=recipe).train(log=tmp_path / "log")
    lines = _log(tmp_path / "log")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["gradient_norm"] > 1e-3 for line in lines)


def test_learning_rate_rises_then_falls_to_nearly_nothing() -> None:
    recipe = Recipe(learning_rate=2.0, warmup_share=0.1)
    rates = [learning_rate_at(step, n_steps=100, recipe=recipe) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_half_precision_trains_on_the_cpu_too() -> None:
    recipe = Recipe(n_epochs=40, batch_size=64, learning_rate=1e-2, precision="bf16")
    objective, model = make_objective(128), make_model()
    Trainer(model, objective=objective, recipe=recipe).train()
    assert share_of_first_ranks(model, objective) > 0.9
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    objective = make_objective()
    objective.features["image"][0, 0] = torch.nan  # type: ignore[index]
    with pytest.raises(ModelError) as raised:
        Trainer(make_model(), objective=objective, recipe=Recipe(n_epochs=1)).train()
    assert raised.value.code == "training_diverged"


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError) as raised:
        Trainer(make_model(), objective=make_objective(3), recipe=Recipe(batch_size=1))
    assert raised.value.code == "too_few_pairs"
