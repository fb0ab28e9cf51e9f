"""Two ranks take the steps that one rank takes on the same global batch."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from training_worlds import make_model, make_objective

from retrieval.training.distributed import World, joined_world
from retrieval.training.mining import hard_negatives
from retrieval.training.recipe import Recipe
from retrieval.training.trainer import Trainer

# 50 steps of 5 batches; 21 rows a batch or 22 cannot be halved evenly: the padding is in use.
RECIPE = Recipe(n_epochs=10, batch_size=22, learning_rate=5e-3)


def _train(world: World, *, log: Path) -> dict[str, torch.Tensor]:
    objective = make_objective(107)
    trainer = Trainer(
        make_model(dropout=0.0),
        objective=objective,
        recipe=RECIPE,
        mine=lambda model: hard_negatives(model, objective=objective, n_hard=2),
        world=world,
    )
    trainer.train(log=log)
    return dict(trainer.model.state_dict())


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with joined_world() as world:
        weights = _train(world, log=Path(folder, f"log{rank}"))
    Path(folder, f"weights{rank}").write_text(
        json.dumps({name: value.flatten().tolist() for name, value in weights.items()})
    )


def _steps(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_two_ranks_equal_one_rank_at_the_same_global_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(r, port, str(tmp_path))) for r in range(2)]
    for rank in ranks:
        rank.start()
    alone = _train(World(), log=tmp_path / "alone")
    for rank in ranks:
        rank.join(timeout=120)
        assert rank.exitcode == 0

    one, two = (_steps(tmp_path / name) for name in ("alone", "log0"))
    assert len(one) == 50
    assert [s["loss"] for s in two] == pytest.approx([s["loss"] for s in one], abs=1e-4)
    # AdamW hides a gradient that is W times too long; the log does not.
    norms = [[step["gradient_norm"] for step in steps] for steps in (one, two)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)
    assert not (tmp_path / "log1").exists()  # one rank speaks for all
    first, second = (json.loads(Path(tmp_path, f"weights{r}").read_text()) for r in range(2))
    assert first == second
    for name, value in alone.items():
        assert first[name] == pytest.approx(value.flatten().tolist(), abs=1e-3), name


def test_shares_cover_the_batch_once_and_in_order() -> None:
    rows = torch.arange(11)
    parts = [World(rank=rank, n_ranks=3).share(rows) for rank in range(3)]
    assert torch.cat(parts).tolist() == rows.tolist()
    assert {len(part) for part in parts} == {3, 4}


def test_without_torchrun_there_is_one_rank() -> None:
    assert "WORLD_SIZE" not in os.environ
    with joined_world() as world:
        assert world == World(rank=0, n_ranks=1)
        vectors = torch.eye(2, requires_grad=True)
        assert world.gather(vectors, n_rows=2) is vectors
    assert sys.modules["torch.distributed"].is_initialized() is False
