"""The own sound event network: a small convolutional and recurrent student of the teachers."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

N_CLASSES = 527
STRIDE = 8  # mel frames per judged frame
# Log mel power is about -6 with a spread of 4 over the training sounds. Digital silence is -36:
# far outside what the first layer could tell apart from a quiet room, so it ends at the floor.
_CENTRE, _SPREAD, _FLOOR = -6.0, 4.0, -20.0
_GRU_LEVEL = 0.2
_WIDTHS = (32, 64, 128, 224)
_WIDE, _MEMORY = 448, 128


class _Joined(nn.Conv2d):
    """A convolution over all bands and three frames; it learns as one large, quick product."""

    def __init__(self, n_in: int, n_out: int, *, n_bands: int) -> None:
        super().__init__(n_in, n_out, (3, n_bands), padding=(1, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        frames = nnf.pad(x.permute(0, 2, 3, 1).flatten(2), (0, 0, 1, 1))
        three = torch.cat([frames[:, :-2], frames[:, 1:-1], frames[:, 2:]], dim=2)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return nnf.linear(three, weight).permute(0, 2, 1)[..., None]


def _block(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())


class EventNetwork(nn.Module):
    """The student: mel float32 [N, T, 64] -> log-odds float32 [N, ceil(T / 8), 527].

    Convolutions see a second and a half around each frame, a recurrent layer the rest.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = _WIDTHS
        self.bands = nn.Sequential(
            _block(nn.Conv2d(1, a, 5, (2, 2), 2, bias=False)),
            _block(nn.Conv2d(a, b, 3, (2, 2), 1, bias=False)),
            _block(nn.Conv2d(b, c, 3, (2, 2), 1, bias=False)),
            _block(nn.Conv2d(c, d, 3, (1, 2), 1, bias=False)),
            _block(_Joined(d, _WIDE, n_bands=4)),
        )
        self.frames = nn.Sequential(
            nn.Conv1d(_WIDE, _WIDE, 9, padding=4, groups=_WIDE, bias=False),
            nn.BatchNorm1d(_WIDE),
            nn.ReLU(),
            nn.Conv1d(_WIDE, _WIDE, 1, bias=False),
            nn.BatchNorm1d(_WIDE),
            nn.ReLU(),
        )
        self.memory = nn.GRU(_WIDE, _MEMORY, batch_first=True, bidirectional=True)
        self.recall = nn.Linear(2 * _MEMORY, _WIDE, bias=False)
        self.judge = nn.Conv1d(_WIDE, N_CLASSES, 1)

    def forward(self, mel: Tensor) -> Tensor:
        level = (mel.clamp(min=_FLOOR) - _CENTRE) / _SPREAD
        seen = self.bands(level[:, None])[..., 0]
        near = seen + self.frames(seen)
        far, _ = self.memory(near.transpose(1, 2).float() * _GRU_LEVEL)
        out: Tensor = self.judge(near + self.recall(far.tanh()).transpose(1, 2))
        return out.transpose(1, 2)

    def parts(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Split the parameters: matrices for Muon, and the others.

        The first layer has few rows, a depthwise one is no matrix, the recurrent one is several.
        """
        apart = ("bands.0.", "frames.0.", "memory.")
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, p in self.named_parameters():
            (matrices if p.ndim > 1 and not name.startswith(apart) else others).append(p)
        return matrices, others


def pool(log_odds: Tensor) -> Tensor:
    """Pool frames as the encoder does, sum p^2 / sum p: [N, T, C] -> [N, C]."""
    p = torch.sigmoid(log_odds)
    return ((p * p).sum(1) / p.sum(1)).clamp(1e-6, 1 - 1e-6)


def export_events(network: nn.Module, *, target: Path) -> None:
    """Write the network as ONNX: mel [N, T, 64] -> logits [N, ceil(T / 8), 527]."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 250, 64),),
        str(target),
        input_names=["mel"],
        output_names=["logits"],
        dynamic_axes={"mel": {0: "n", 1: "t"}, "logits": {0: "n", 1: "u"}},
        opset_version=17,
        dynamo=False,
    )
