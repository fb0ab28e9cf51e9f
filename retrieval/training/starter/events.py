"""The own sound event network: a small convolutional student of the teachers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

N_CLASSES = 527
# Log mel power is about -6 with a spread of 4 over the training sounds.
_CENTRE, _SPREAD = -6.0, 4.0


def make_network() -> torch.nn.Module:
    """Build the student: mel float32 [N, T, 64] -> log-odds float32 [N, ceil(T / 8), 527]."""
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
            self.o = nn.Conv1d(256, N_CLASSES, 1)

        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            seen = self.f(((mel - _CENTRE) / _SPREAD)[:, None])[..., 0]
            out: torch.Tensor = self.o(seen + self.t(seen)).transpose(1, 2)
            return out

    return Network()


def train_events(
    mels: npt.NDArray[np.float16],
    *,
    log_odds: npt.NDArray[np.float16],
    n_steps: int,
    batch_size: int = 32,
    seed: int = 0,
) -> torch.nn.Module:
    """Teach the student the teachers' log-odds, frame by frame.

    The loss is the binary cross entropy to the teachers' probabilities, and the squared error of
    the log-odds where they are not negligible. Sounds are rolled in time and lose a band.

    Args:
        mels: float16 [N, 250, 64].
        log_odds: float16 [N, 31, 527], averaged over 8 frames.
        n_steps: optimiser steps.
        batch_size: sounds a step.
        seed: of everything.

    Returns:
        The trained network, in evaluation mode.
    """
    import torch
    import torch.nn.functional as nnf

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = make_network()
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2e-3, total_steps=n_steps, pct_start=0.03
    )
    n_frames = log_odds.shape[1]
    for _ in range(n_steps):
        at = np.sort(rng.choice(len(mels), batch_size, replace=False))
        turn = int(rng.integers(n_frames))
        given = torch.roll(torch.tensor(np.asarray(mels[at], np.float32)), turn * 8, 1)
        wanted = torch.roll(torch.tensor(np.asarray(log_odds[at], np.float32)), turn, 1)
        if rng.random() < 0.5:
            low = int(rng.integers(0, 58))
            given[:, :, low : low + int(rng.integers(1, 6))] = -8.0
        found = network(given + 0.1 * torch.randn_like(given))[:, :n_frames]
        likely = torch.sigmoid(wanted)
        cross = nnf.binary_cross_entropy_with_logits(found, likely, reduction="none")
        squared = (found - wanted).clamp(-5, 5) ** 2 * (0.2 + 4 * likely)
        loss = cross.sum(2).mean() + 0.01 * squared.sum(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


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
