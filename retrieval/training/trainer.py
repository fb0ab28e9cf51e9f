"""The training loop: AdamW, warm-up and cosine, averaged weights, early stop, exact resume."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from retrieval.encoders.torch_run import dtype_of
from retrieval.errors import InputError, ModelError, StoppedError, UsageError
from retrieval.training.checkpoint import Place, load_checkpoint, pack, save_checkpoint, unpack
from retrieval.training.distributed import World
from retrieval.training.recipe import Recipe, learning_rate_at

__all__ = ["Objective", "Step", "TrainReport", "Trainer"]

M = TypeVar("M", bound=nn.Module)
M_contra = TypeVar("M_contra", bound=nn.Module, contravariant=True)


class Objective(Protocol[M_contra]):
    """What is minimised over rows of data; see `PairsObjective`.

    Attributes:
        hard: int64 [N, H], hard negatives of each row, which the trainer mines, or None.
    """

    hard: Tensor | None

    @property
    def n_rows(self) -> int:
        """Rows of data."""

    def vectors(self, model: M_contra, *, rows: Tensor) -> Mapping[str, Tensor]:
        """Compute the vectors of some rows: role -> [n, D] or [n * H, D]."""

    def value(self, model: M_contra, *, vectors: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Compute the loss of a whole batch from its vectors."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step, as the log has it.

    Attributes:
        step, n_steps: its number from 1, and how many there may be.
        epoch: from 0.
        loss, gradient_norm, learning_rate: of this step; the norm before clipping.
        seconds: since this process began to train.
    """

    step: int
    n_steps: int
    epoch: int
    loss: float
    gradient_norm: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainReport:
    """How a training ended.

    Attributes:
        n_steps: steps done, those before a resume included.
        best_score, best_epoch: of validation; -1 without one.
        stopped_early: patience ran out before the epochs did.
    """

    n_steps: int
    best_score: float
    best_epoch: int
    stopped_early: bool


class Trainer(Generic[M]):
    """Train a module on an objective.

    Args:
        model: trained in place; it ends with the best (or averaged) weights.
        objective: the data and the loss.
        recipe: how to train.
        validate: score of a model on held-out data, higher is better; chooses the best weights
            and stops early. Called in eval mode without gradients.
        mine: hard negatives of every row for a model, int64 [N, H]; called before each epoch.
        world: this process's place under data parallel training.
        device: where the model and the objective's tensors are.
        data_fingerprint: of the data; a checkpoint made with other data is refused.
        options: what else must be the same when a training is resumed, by name; JSON values.

    Raises:
        InputError: too few rows for the batch and the ranks (`too_few_pairs`).
        UsageError: fp16 on a CPU (`bad_precision`).
    """

    def __init__(
        self,
        model: M,
        *,
        objective: Objective[M],
        recipe: Recipe,
        validate: Callable[[M], float] | None = None,
        mine: Callable[[M], Tensor] | None = None,
        world: World | None = None,
        device: torch.device | None = None,
        data_fingerprint: str = "",
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.model = model
        self._objective = objective
        self._recipe = recipe
        self._validate = validate
        self._mine = mine
        self._world = world or World()
        self._device = device or torch.device("cpu")
        self._n_batches = math.ceil(objective.n_rows / recipe.batch_size)
        if objective.n_rows // max(1, self._n_batches) < max(2, self._world.n_ranks):
            raise InputError(
                f"{objective.n_rows} rows in {self._n_batches} batches leave too few rows for "
                f"{self._world.n_ranks} ranks; give more pairs or a larger batch",
                code="too_few_pairs",
            )
        self._data_fingerprint = data_fingerprint
        self._options = dict(options or {})
        self._averaged = copy.deepcopy(model)
        self._best = copy.deepcopy(model)
        self._place = Place()
        self._optimizer = _optimizer(model, recipe=recipe)
        self._dtype = dtype_of(recipe.precision, device=self._device)
        if self._dtype == torch.float16 and self._device.type != "cuda":
            raise UsageError("fp16 needs a GPU; use auto, fp32 or bf16", code="bad_precision")
        # Small gradients vanish in fp16; the others hold them (arXiv 1710.03740, section 3.2).
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._dtype == torch.float16)

    def train(
        self,
        *,
        checkpoint: Path | None = None,
        log: Path | None = None,
        on_step: Callable[[Step], None] | None = None,
        stop: Event | None = None,
    ) -> TrainReport:
        """Train from the start, or from the checkpoint if there is one.

        Args:
            checkpoint: file to resume from if it exists, and to save to.
            log: JSON lines, one per step; a resumed run cuts what it will do again.
            on_step: called after each step.
            stop: when set, the run saves its checkpoint and ends.

        Returns:
            How it ended; the model has its final weights.

        Raises:
            StoppedError: `stop` was set.
            ModelError: the loss is not finite (`training_diverged`), or see `load_checkpoint`.
            UsageError: the checkpoint belongs to another training (`checkpoint_mismatch`).
        """
        cuda = [self._device] if self._device.type == "cuda" else []
        # The caller's random numbers stay as they were.
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(self._recipe.seed)
            if checkpoint is not None and checkpoint.exists():
                self._resume(checkpoint)
            watch = _Watch(log if self._world.rank == 0 else None, self._place.step, on_step)
            while self._place.epoch < self._recipe.n_epochs and not self._place.stopped_early:
                self._epoch(checkpoint, watch, stop)
            return self._finish()

    def _epoch(self, checkpoint: Path | None, watch: _Watch, stop: Event | None) -> None:
        place, recipe = self._place, self._recipe
        if self._mine is not None and place.step_in_epoch == 0:
            self._objective.hard = self._mine(self._averaged.eval()).to(self._device)
        self.model.train()
        # A function of seed and epoch: the place in the data needs no state of its own.
        order = np.random.default_rng([recipe.seed, place.epoch]).permutation(
            self._objective.n_rows
        )
        batches = np.array_split(order, self._n_batches)
        while place.step_in_epoch < len(batches):
            if stop is not None and stop.is_set():
                self._save(checkpoint)
                raise StoppedError(f"stopped at step {place.step}; the same command resumes it")
            rows = torch.from_numpy(batches[place.step_in_epoch]).to(self._device)
            watch.done(self._step(rows, n_steps=len(batches) * recipe.n_epochs), epoch=place.epoch)
            place.step += 1
            place.step_in_epoch += 1
            if recipe.checkpoint_steps and place.step % recipe.checkpoint_steps == 0:
                self._save(checkpoint)
        self._judge()
        place.epoch, place.step_in_epoch = place.epoch + 1, 0
        self._save(checkpoint)

    def _step(self, rows: Tensor, *, n_steps: int) -> dict[str, float]:
        """Do one step; return what the log wants of it."""
        rate = learning_rate_at(self._place.step, n_steps=n_steps, recipe=self._recipe)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        half = self._dtype != torch.float32
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=half):
            local = self._objective.vectors(self.model, rows=self._world.share(rows))
            whole = {r: self._world.gather(v, n_rows=len(rows)) for r, v in local.items()}
            loss = self._objective.value(self.model, vectors=whole, rows=rows)
        if not math.isfinite(loss.item()):
            raise ModelError(
                f"the loss is {loss.item()} at step {self._place.step}; lower the learning rate "
                f"(now {rate:.2g})",
                code="training_diverged",
            )
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._world.average_gradients(parameters)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, self._recipe.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average()
        return {
            "step": self._place.step + 1,
            "n_steps": n_steps,
            "loss": loss.item(),
            "gradient_norm": norm.item(),
            "learning_rate": rate,
        }

    @torch.no_grad()
    def _average(self) -> None:
        step = self._place.step + 1
        # Early on a long memory would keep the start: (1 + t) / (10 + t), as TensorFlow's EMA has.
        decay = min(self._recipe.average_decay, (1 + step) / (10 + step))
        pairs = zip(self._averaged.parameters(), self.model.parameters(), strict=True)
        for average, parameter in pairs:
            average.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def _judge(self) -> None:
        """Validate the averaged weights; remember the best and decide whether to stop."""
        if self._validate is None:
            return
        place = self._place
        score = self._validate(self._averaged.eval())
        if score > place.best_score:
            place.best_score, place.best_epoch, place.n_since_best = score, place.epoch, 0
            self._best.load_state_dict(self._averaged.state_dict())
            return
        place.n_since_best += 1
        place.stopped_early = place.n_since_best >= self._recipe.patience_epochs

    def _finish(self) -> TrainReport:
        final = self._averaged if self._validate is None else self._best
        self.model.load_state_dict(final.state_dict())
        self.model.eval()
        return TrainReport(
            n_steps=self._place.step,
            best_score=self._place.best_score,
            best_epoch=self._place.best_epoch,
            stopped_early=self._place.stopped_early,
        )

    def _settings(self) -> dict[str, object]:
        data = {"n_rows": self._objective.n_rows, "data": self._data_fingerprint}
        return {**self._options, **asdict(self._recipe), **data}

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self._averaged, "best": self._best}

    def _save(self, checkpoint: Path | None) -> None:
        if checkpoint is None or self._world.rank != 0:
            return
        tensors = pack(models=self._modules(), optimizer=self._optimizer, device=self._device)
        if self._objective.hard is not None:
            tensors["hard"] = self._objective.hard
        if self._scaler.is_enabled():
            tensors["scaler"] = torch.tensor([float(v) for v in self._scaler_state().values()])
        save_checkpoint(checkpoint, tensors=tensors, place=self._place, settings=self._settings())

    def _resume(self, checkpoint: Path) -> None:
        tensors, self._place = load_checkpoint(checkpoint, settings=self._settings())
        unpack(tensors, models=self._modules(), optimizer=self._optimizer, device=self._device)
        if "hard" in tensors:
            self._objective.hard = tensors["hard"].to(self._device)
        if "scaler" in tensors:
            scale, n_good = tensors["scaler"].tolist()
            whole = {**self._scaler.state_dict(), "scale": scale, "_growth_tracker": int(n_good)}
            self._scaler.load_state_dict(whole)

    def _scaler_state(self) -> dict[str, float]:
        state = self._scaler.state_dict()
        return {name: state[name] for name in ("scale", "_growth_tracker")}


def _optimizer(model: nn.Module, *, recipe: Recipe) -> torch.optim.AdamW:
    decayed: dict[str, Any] = {"params": [p for p in model.parameters() if p.ndim > 1]}  # torch's
    free: dict[str, Any] = {"params": [p for p in model.parameters() if p.ndim <= 1]}
    return torch.optim.AdamW(
        [{**decayed, "weight_decay": recipe.weight_decay}, {**free, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )


class _Watch:
    """Write the log and tell the caller about each step."""

    def __init__(
        self, log: Path | None, n_kept: int, on_step: Callable[[Step], None] | None
    ) -> None:
        self._log = log
        self._on_step = on_step
        self._start_s = time.monotonic()
        if log is not None:
            lines = log.read_text("utf-8").splitlines() if n_kept and log.exists() else []
            log.write_text("".join(line + "\n" for line in lines[:n_kept]), encoding="utf-8")

    def done(self, values: dict[str, float], *, epoch: int) -> None:
        step = Step(
            step=int(values["step"]),
            n_steps=int(values["n_steps"]),
            epoch=epoch,
            loss=values["loss"],
            gradient_norm=values["gradient_norm"],
            learning_rate=values["learning_rate"],
            seconds=round(time.monotonic() - self._start_s, 3),
        )
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(step)) + "\n")
        if self._on_step is not None:
            self._on_step(step)
