"""Train the event network: one run from nothing, which a checkpoint resumes exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from retrieval.training.checkpoint import Place, load_checkpoint, pack, save_checkpoint, unpack
from retrieval.training.starter.events import N_CLASSES, STRIDE, EventNetwork, pool
from retrieval.training.starter.muon import MuonAdam
from retrieval.training.starter.sounds_scenes import Scenes

_N_DIRECTIONS = 192
_SAVE_EVERY, _TELL_EVERY = 100, 50
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class EventPlan:
    """How the event network learns; the defaults are those of the card's single run.

    Attributes:
        n_steps: optimizer steps.
        n_scenes: of each step; twice as many halves of scenes until the last part.
        whole_from: share of the steps after which whole scenes are taken, not halves.
        learning_rate: at the start; it falls along a cosine.
        balance: power of a scene's weight: 0 takes all scenes alike, 1 all top classes alike.
        seed: of everything.
    """

    n_steps: int = 3_000
    n_scenes: int = 40
    whole_from: float = 0.7
    learning_rate: float = 5e-3
    balance: float = 0.4
    seed: int = 0


def train_events(
    scenes: Scenes,
    *,
    plan: EventPlan,
    checkpoint: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> EventNetwork:
    """Teach the student the teachers' log-odds, frame by frame.

    The loss has three terms: squared errors along the main directions; the binary cross entropy to
    the teachers' probabilities; squared errors of the scene's log probability. Some scenes lose a
    band. Weights are averaged over the last steps.

    Args:
        scenes: what is learnt.
        plan: how.
        checkpoint: where the state is kept every 100 steps, and gone on from if it is there.
        tell: told the step and the mean loss now and then.

    Returns:
        The network of averaged weights, in evaluation mode.
    """
    run = _Run(scenes, plan)
    first = run.resume(checkpoint) if checkpoint and checkpoint.is_file() else 0
    mean_loss = 0.0
    for step in range(first, plan.n_steps):
        loss = run.step(step)
        mean_loss = loss if step == first else 0.97 * mean_loss + 0.03 * loss
        if (step + 1) % _TELL_EVERY == 0:
            tell(f"step {step + 1} of {plan.n_steps}: loss {mean_loss:.3f}")
        if checkpoint and (step + 1) % _SAVE_EVERY == 0:
            run.save(checkpoint, done=step + 1)
    return run.mean


class _Run:
    def __init__(self, scenes: Scenes, plan: EventPlan) -> None:
        torch.manual_seed(plan.seed)
        self._scenes, self._plan = scenes, plan
        self._chances = chances(scenes.log_odds, power=plan.balance)
        every = max(1, len(scenes.log_odds) // 2_000)
        sample = np.asarray(scenes.log_odds[::every, ::4], np.float32).reshape(-1, N_CLASSES)
        self._directions = torch.from_numpy(main_directions(sample))
        self.network = EventNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.no_grad():
            assert self.network.judge.bias is not None
            self.network.judge.bias.copy_(torch.from_numpy(sample.mean(axis=0)))
        self.mean: EventNetwork = copy.deepcopy(self.network).eval()
        self._optimizer = MuonAdam(*self.network.parts())
        self.network.train()

    def step(self, number: int) -> float:
        """Do one step; what it draws depends on the seed and its number only."""
        plan = self._plan
        rng = np.random.default_rng((plan.seed, number))
        torch.manual_seed(plan.seed * 1_000_003 + number)
        whole = number >= plan.whole_from * plan.n_steps
        mel, wanted = self._draw(rng, whole=whole)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.network(mel)
        loss = _loss(found.float()[:, : wanted.shape[1]], wanted, self._directions)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        warm = min(1.0, (number + 1) / 40)
        falling = 0.5 * (1 + cos(pi * number / plan.n_steps))
        self._optimizer.set_rate(plan.learning_rate * warm * max(0.01, falling))
        self._optimizer.step()
        _average(self.mean, self.network, keep=min(0.985, (number + 1) / (number + 10)))
        return float(loss.detach())

    def _draw(self, rng: np.random.Generator, *, whole: bool) -> tuple[Tensor, Tensor]:
        """Draw scenes and hide a band of some: mel [B, T, 64], log-odds [B, T / 8, 527]."""
        n = self._plan.n_scenes * (1 if whole else 2)
        n_judged = self._scenes.log_odds.shape[1]
        length = n_judged if whole else n_judged // 2
        rows = rng.choice(len(self._chances), n, p=self._chances)
        starts = rng.integers(0, n_judged - length + 1, n)
        places = list(zip(rows, starts, strict=True))
        mels = [self._scenes.mels[r, s * STRIDE : (s + length) * STRIDE] for r, s in places]
        said = [self._scenes.log_odds[r, s : s + length] for r, s in places]
        mel = torch.from_numpy(np.stack(mels).astype(np.float32))
        if rng.random() < 0.4:
            low = int(rng.integers(0, 60))
            mel[:, :, low : low + int(rng.integers(1, 5))] = -8.0
        wanted = torch.from_numpy(np.stack(said).astype(np.float32))
        return mel + 0.1 * torch.randn_like(mel), wanted

    def save(self, path: Path, *, done: int) -> None:
        tensors = pack(models=self._models(), optimizer=self._optimizer, device=_CPU)
        save_checkpoint(path, tensors=tensors, place=Place(step=done), settings=self._settings())

    def resume(self, path: Path) -> int:
        tensors, place = load_checkpoint(path, settings=self._settings())
        unpack(tensors, models=self._models(), optimizer=self._optimizer, device=_CPU)
        return place.step

    def _models(self) -> dict[str, nn.Module]:
        return {"network": self.network, "mean": self.mean}

    def _settings(self) -> dict[str, object]:
        return {**asdict(self._plan), "n_all_scenes": len(self._chances)}


def chances(log_odds: npt.NDArray[np.float16], *, power: float) -> npt.NDArray[np.float64]:
    """Weigh scenes so that those of common sorts are drawn less often.

    Args:
        log_odds: [N, T, 527] of the teachers. A scene's sort is its most probable class, compared
            with how probable that class is over all scenes.
        power: 0 weighs all alike; 1 gives every sort the same share.

    Returns:
        float64 [N], summing to 1.

    Example:
        >>> one, two = np.full((1, 2, 3), -5.0), np.full((1, 2, 3), -5.0)
        >>> one[..., 0], two[..., 1] = 2.0, 2.0
        >>> chances(np.concatenate([one, one, one, two]), power=1.0).round(3).tolist()
        [0.167, 0.167, 0.167, 0.5]
    """
    p = 1 / (1 + np.exp(-log_odds[:, ::2].astype(np.float32)))
    clip = (p * p).sum(axis=1) / p.sum(axis=1)
    sort = (np.log(clip) - 0.8 * np.log(clip.mean(axis=0))).argmax(axis=1)
    weight = np.bincount(sort, minlength=clip.shape[1])[sort] ** -float(power)
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def main_directions(log_odds: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Find the directions in which the teachers' log-odds vary, each scaled to a like spread.

    The teachers' last layer maps 256 numbers to 527 classes, most of them improbable at any time.
    Errors weighed by probability teach little of it; errors along these directions teach all.

    Args:
        log_odds: [N, 527], any frames.

    Returns:
        float32 [527, 192]: eigenvectors of the covariance over the fourth root of the variance.
    """
    variance, vectors = np.linalg.eigh(np.cov(log_odds.T))
    kept = slice(None, -_N_DIRECTIONS - 1, -1)
    spread = np.maximum(variance[kept], 1e-6 * variance[-1])  # few frames span few directions
    return np.asarray(vectors[:, kept] * spread**-0.25, dtype=np.float32)


def _loss(found: Tensor, wanted: Tensor, directions: Tensor) -> Tensor:
    likely = torch.sigmoid(wanted)
    along = (((found - wanted) @ directions) ** 2).sum(2).mean()
    cross = nnf.binary_cross_entropy_with_logits(found, likely, reduction="none").sum(2).mean()
    clip_found, clip_wanted = pool(found), pool(wanted)
    away = (torch.log(clip_found) - torch.log(clip_wanted)).clamp(-4, 4) ** 2
    clip = (away * (0.02 + clip_wanted.sqrt())).sum(1).mean()
    return 0.01 * along + cross + 0.03 * clip


def _average(mean: nn.Module, network: nn.Module, *, keep: float) -> None:
    with torch.no_grad():
        pairs = zip(mean.state_dict().values(), network.state_dict().values(), strict=True)
        for old, new in pairs:
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)
