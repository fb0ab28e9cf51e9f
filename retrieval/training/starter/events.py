"""The own sound event network: a small convolutional student of the teachers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

N_CLASSES = 527
# Log mel power is about -6 with a spread of 4 over the training sounds. Digital silence is -36:
# far outside what the first layer could tell apart from a quiet room, so it ends at the floor.
_CENTRE, _SPREAD, _FLOOR = -6.0, 4.0, -20.0
_STRIDE = 8  # mel frames per judged frame
_GRU_LEVEL = 0.2
_N_DIRECTIONS = 192


@dataclass(frozen=True, slots=True)
class Judged:
    """Scenes and what the teachers said of them.

    Attributes:
        mels: float16 [N, 250, 64], may be a memory map.
        log_odds: float16 [N, 31, 527], averaged over 8 mel frames.
        n_each_step: how many of a step's scenes come from here.
    """

    mels: npt.NDArray[np.float16]
    log_odds: npt.NDArray[np.float16]
    n_each_step: int


def make_network() -> torch.nn.Module:
    """Build the student: mel float32 [N, T, 64] -> log-odds float32 [N, ceil(T / 8), 527].

    Convolutions see a second and a half around each frame, a recurrent layer the rest.
    """
    from torch import nn

    def block(n_in: int, n_out: int, kernel: Any, stride: Any, padding: Any) -> nn.Sequential:
        # Any: int or a pair, as torch takes them
        conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU())

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(
                block(1, 24, 5, (2, 2), 2),
                block(24, 48, 3, (2, 2), 1),
                block(48, 96, 3, (2, 2), 1),
                block(96, 192, 3, (1, 2), 1),
                block(192, 256, 3, (1, 2), 1),
                block(256, 256, (3, 2), (1, 1), (1, 0)),
            )
            self.t = nn.Sequential(
                nn.Conv1d(256, 256, 9, padding=4, groups=256, bias=False),
                nn.BatchNorm1d(256),
                nn.ReLU(),
                nn.Conv1d(256, 256, 1, bias=False),
                nn.BatchNorm1d(256),
                nn.ReLU(),
            )
            self.g = nn.GRU(256, 128, batch_first=True, bidirectional=True)
            # Starts at nothing, so that weights learnt without memory are a start.
            self.p = nn.Linear(256, 256, bias=False)
            nn.init.zeros_(self.p.weight)
            self.o = nn.Conv1d(256, N_CLASSES, 1)

        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            level = (mel.clamp(min=_FLOOR) - _CENTRE) / _SPREAD
            seen = self.f(level[:, None])[..., 0]
            near = seen + self.t(seen)
            far, _ = self.g(near.transpose(1, 2).float() * _GRU_LEVEL)
            out: torch.Tensor = self.o(near + self.p(far.tanh()).transpose(1, 2))
            return out.transpose(1, 2)

    return Network()


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
    return np.asarray(vectors[:, kept] * variance[kept] ** -0.25, dtype=np.float32)


def train_events(
    judged: Sequence[Judged],
    *,
    n_steps: int,
    learning_rate: float = 4e-3,
    start: dict[str, torch.Tensor] | None = None,
    seed: int = 0,
) -> torch.nn.Module:
    """Teach the student the teachers' log-odds, frame by frame.

    The loss has three terms: squared errors along the main directions; the binary cross entropy to
    the teachers' probabilities; squared errors of the scene's log probability. Some scenes lose a
    band. Weights are averaged over the last steps.

    Args:
        judged: sets of scenes.
        n_steps: optimiser steps.
        learning_rate: at the start; it falls to nothing in a line.
        start: weights to go on from.
        seed: of everything.

    Returns:
        The trained network, in evaluation mode.
    """
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sample = np.concatenate(
        [np.asarray(j.log_odds[::5, ::4], np.float32).reshape(-1, N_CLASSES) for j in judged]
    )
    directions = torch.from_numpy(main_directions(sample))
    network = make_network()
    if start is None:
        start = {**network.state_dict(), "o.bias": torch.from_numpy(sample.mean(axis=0))}
    network.load_state_dict(start)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean: torch.nn.Module = copy.deepcopy(network).eval()
    optimiser = _Optimiser(network)
    network.train()
    for step in range(n_steps):
        mel, wanted = _draw(judged, rng)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(mel)
        loss = _loss(found.float()[:, : wanted.shape[1]], wanted, directions)
        network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        warm = min(1.0, (step + 1) / 40)
        optimiser.step(learning_rate * warm * max(0.01, 1 - step / n_steps))
        _average(mean, network, keep=min(0.985, (step + 1) / (step + 10)))
    return mean


def _draw(judged: Sequence[Judged], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes and hide a band of some: mel [B, 248, 64], log-odds [B, 31, 527]."""
    import torch

    mels, targets = [], []
    for part in judged:
        n_frames = part.log_odds.shape[1]
        for at in np.sort(rng.choice(len(part.mels), part.n_each_step, replace=False)):
            mels.append(part.mels[at, : n_frames * _STRIDE])
            targets.append(part.log_odds[at])
    mel = torch.from_numpy(np.stack(mels).astype(np.float32))
    if rng.random() < 0.4:
        low = int(rng.integers(0, 60))
        mel[:, :, low : low + int(rng.integers(1, 5))] = -8.0
    wanted = torch.from_numpy(np.stack(targets).astype(np.float32))
    return mel + 0.1 * torch.randn_like(mel), wanted


def _loss(found: torch.Tensor, wanted: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    import torch
    import torch.nn.functional as nnf

    likely = torch.sigmoid(wanted)
    along = (((found - wanted) @ directions) ** 2).sum(2).mean()
    cross = nnf.binary_cross_entropy_with_logits(found, likely, reduction="none").sum(2).mean()
    clip_found, clip_wanted = _pool(found), _pool(wanted)
    away = (torch.log(clip_found) - torch.log(clip_wanted)).clamp(-4, 4) ** 2
    clip = (away * (0.02 + clip_wanted.sqrt())).sum(1).mean()
    return 0.01 * along + cross + 0.03 * clip


def _pool(log_odds: torch.Tensor) -> torch.Tensor:
    """Pool frames as the encoder does: sum p^2 / sum p."""
    import torch

    p = torch.sigmoid(log_odds)
    return ((p * p).sum(1) / p.sum(1)).clamp(1e-6, 1 - 1e-6)


def _average(mean: torch.nn.Module, network: torch.nn.Module, *, keep: float) -> None:
    import torch

    with torch.no_grad():
        pairs = zip(mean.state_dict().values(), network.state_dict().values(), strict=True)
        for old, new in pairs:
            if old.dtype.is_floating_point:
                old.mul_(keep).add_(new, alpha=1 - keep)
            else:
                old.copy_(new)


class _Optimiser:
    """Muon for the matrices (Jordan 2024; scaled as by Liu et al. 2025), AdamW for the rest.

    Muon takes the step whose singular values are all one, nearly; it needs about half the steps.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        import torch

        named = dict(network.named_parameters())
        # The first layer has 24 rows, the depthwise one is no matrix, the recurrent one is several.
        self._matrices = [
            p
            for k, p in named.items()
            if p.ndim > 1 and len(p) > 24 and not k.startswith(("t.0", "g."))
        ]
        ids = {id(p) for p in self._matrices}
        self._others = [p for p in named.values() if id(p) not in ids]
        self._adam = torch.optim.AdamW(self._others, weight_decay=0.01)
        self._momenta = [torch.zeros_like(p) for p in self._matrices]

    def step(self, rate: float) -> None:
        import torch

        torch.nn.utils.clip_grad_norm_(self._others, 5.0)
        for group in self._adam.param_groups:
            group["lr"] = 0.75 * rate
        self._adam.step()
        with torch.no_grad():
            for p, momentum in zip(self._matrices, self._momenta, strict=True):
                assert p.grad is not None
                momentum.mul_(0.95).add_(p.grad)
                flat = p.grad.add(momentum, alpha=0.95).reshape(len(p), -1)
                p.mul_(1 - 0.05 * rate)
                p.sub_(_orthogonal(flat).view(p.shape), alpha=0.2 * rate * max(flat.shape) ** 0.5)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Bring the singular values near one by four Newton-Schulz steps of fifth order."""
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(4):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    out: torch.Tensor = (x.T if tall else x).float()
    return out


def export_events(network: torch.nn.Module, *, target: Path) -> None:
    """Write the network as ONNX: mel [N, T, 64] -> logits [N, ceil(T / 8), 527]."""
    import torch

    torch.onnx.export(
        network,
        (torch.zeros(1, 250, 64),),
        str(target),
        input_names=["mel"],
        output_names=["logits"],
        dynamic_axes={"mel": {0: "n", 1: "t"}, "logits": {0: "n", 1: "u"}},
        opset_version=17,
        dynamo=False,
    )
