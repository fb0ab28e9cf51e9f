"""The two sound event teachers (GPVAD, MIT): frame-wise log-odds of 527 AudioSet classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_audio import event_filters

if TYPE_CHECKING:
    import torch

_FFT, _WINDOW, _HOP = 2048, 882, 441


def scene_mel(scene: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the teachers' input as `event_mel` of the encoder does, at half its rate.

    Args:
        scene: float32 [T] at 22,050 Hz.

    Returns:
        float32 [1 + T // 441, 64], log mel power, 50 frames a second.

    Example:
        >>> scene_mel(np.zeros(110_250, np.float32)).shape
        (251, 64)
    """
    padded = np.pad(scene, _WINDOW // 2, mode="reflect")
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = (np.abs(np.fft.rfft(frames * window, _FFT)) ** 2).astype(np.float32)
    # The bins of 2,048 points at 22,050 Hz are those of 4,096 at 44,100 Hz, where the filters live.
    return np.asarray(np.log(power @ event_filters().T + 2.2e-16), dtype=np.float32)


def _pool(x: torch.Tensor, *, size: tuple[int, int]) -> torch.Tensor:
    """Power-average with p = 4: (sum of x^4)^(1/4); squares are far quicker than pow."""
    import torch.nn.functional as nnf

    fourth = (x * x) * (x * x)
    return (nnf.avg_pool2d(fourth, size) * (size[0] * size[1])).sqrt().sqrt()


class EventTeacher:
    """Mean log-odds of the teachers, for training only.

    Args:
        paths: their safetensors files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        import torch
        from safetensors.torch import load_file

        self._weights = [load_file(str(path)) for path in paths]
        self._recurrent = []
        for weights in self._weights:
            gru = torch.nn.GRU(128, 128, batch_first=True, bidirectional=True)
            gru.load_state_dict(
                {k.removeprefix("gru."): v for k, v in weights.items() if k.startswith("gru.")}
            )
            self._recurrent.append(gru.eval())

    def __call__(self, mels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Judge sounds.

        Args:
            mels: float32 [N, T, 64], from `scene_mel`.

        Returns:
            float32 [N, T // 4, 527], mean of the teachers' log-odds.
        """
        import torch

        with torch.inference_mode():
            given = torch.tensor(mels)[:, None]
            judged = [self._one(given, n) for n in range(len(self._weights))]
        return np.asarray(sum(judged).numpy() / len(judged))  # type: ignore[union-attr]

    def _one(self, x: torch.Tensor, number: int) -> torch.Tensor:
        import torch.nn.functional as nnf

        weights = self._weights[number]
        x = _pool(self._block(x, weights, 0), size=(2, 4))
        x = _pool(self._block(self._block(x, weights, 2), weights, 3), size=(2, 4))
        x = _pool(self._block(self._block(x, weights, 5), weights, 6), size=(1, 4))
        frames, _ = self._recurrent[number](x.transpose(1, 2).flatten(2))
        return nnf.linear(frames, weights["outputlayer.weight"], weights["outputlayer.bias"])

    @staticmethod
    def _block(x: torch.Tensor, weights: dict[str, torch.Tensor], number: int) -> torch.Tensor:
        import torch.nn.functional as nnf

        at = f"features.{number}.block"
        x = nnf.batch_norm(
            x,
            weights[f"{at}.0.running_mean"],
            weights[f"{at}.0.running_var"],
            weights[f"{at}.0.weight"],
            weights[f"{at}.0.bias"],
        )
        return nnf.leaky_relu(nnf.conv2d(x, weights[f"{at}.1.weight"], padding=1), 0.1)
