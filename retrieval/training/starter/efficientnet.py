"""EfficientNet-Lite as plain torch, with the published tensor names, and its export to ONNX."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]

# expand, kernel, stride, out channels, repeats of the seven stages (width 1.0, depth 1.0)
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Stages whose means and maxima are kept too: outlines and textures, before they become classes.
_MIDDLE = (2, 3, 4)
# variant -> width, depth
VARIANTS = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}


def _width(channels: int, *, factor: float) -> int:
    """Round a scaled channel count to a multiple of 8, never below 90 % of it."""
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _same_pad(x: torch.Tensor, *, kernel: int, stride: int) -> torch.Tensor:
    """Pad as TensorFlow's SAME does: the odd pixel goes right and below."""
    import torch.nn.functional as nnf

    pads: list[int] = []
    for side in (int(x.shape[3]), int(x.shape[2])):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return nnf.pad(x, pads) if any(pads) else x


def _conv_bn(
    x: torch.Tensor,
    *,
    weights: dict[str, torch.Tensor],
    conv: str,
    norm: str,
    stride: int = 1,
    relu: bool = True,
) -> torch.Tensor:
    """Convolve with the batch norm folded into the kernel, then ReLU6."""
    import torch.nn.functional as nnf

    kernel = weights[f"{conv}.weight"]
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    groups = int(x.shape[1]) if kernel.shape[1] == 1 else 1
    x = _same_pad(x, kernel=int(kernel.shape[2]), stride=stride)
    x = nnf.conv2d(x, kernel * scale[:, None, None, None], bias, stride=stride, groups=groups)
    return nnf.relu6(x) if relu else x


def features(
    images: torch.Tensor, *, weights: dict[str, torch.Tensor], variant: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute pooled features.

    Args:
        images: uint8 [N, S, S, 3] RGB.
        weights: the published state dict.
        variant: 0, 1 or 2.

    Returns:
        float32 [N, 1280], and of three earlier stages, the latest first, the mean and the largest
        value of each channel, float32 [N, M] (512 for variant 2).
    """
    import torch

    middle: list[torch.Tensor] = []
    width, depth = VARIANTS[variant]
    x = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
    x = _conv_bn(x, weights=weights, conv="_conv_stem", norm="_bn0", stride=2)
    number = 0
    for stage, (expand, _, stride, channels, repeats) in enumerate(_STAGES):
        scaled = stage not in (0, len(_STAGES) - 1)
        for repeat in range(math.ceil(depth * repeats) if scaled else repeats):
            block, step, skip = f"_blocks.{number}", stride if repeat == 0 else 1, x
            if expand != 1:
                x = _conv_bn(x, weights=weights, conv=f"{block}._expand_conv", norm=f"{block}._bn0")
            x = _conv_bn(
                x,
                weights=weights,
                conv=f"{block}._depthwise_conv",
                norm=f"{block}._bn1",
                stride=step,
            )
            x = _conv_bn(
                x,
                weights=weights,
                conv=f"{block}._project_conv",
                norm=f"{block}._bn2",
                relu=False,
            )
            if int(x.shape[1]) != _width(channels, factor=width):
                raise AssertionError(f"{block} has {x.shape[1]} channels")  # layout, not input
            x = x + skip if repeat else x
            number += 1
        if stage in _MIDDLE:
            middle = [x.mean((2, 3)), x.amax((2, 3)), *middle]
    x = _conv_bn(x, weights=weights, conv="_conv_head", norm="_bn1")
    return x.mean((2, 3)), torch.cat(middle, dim=1)


def export(weights_path: str | Path, *, variant: int, target: Path, side_px: int) -> None:
    """Write the trunk as an ONNX file: image uint8 [N, S, S, 3] -> `features`, float32.

    Args:
        weights_path: safetensors file of the published state dict.
        variant: 0, 1 or 2.
        target: the ONNX file to write.
        side_px: of the pictures it will see.
    """
    import torch
    from safetensors.torch import load_file

    weights = load_file(str(weights_path))

    class Trunk(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return features(image, weights=weights, variant=variant)

    torch.onnx.export(
        Trunk(),
        (torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8),),
        str(target),
        input_names=["image"],
        output_names=["feature", "middle"],
        dynamic_axes={"image": {0: "n"}, "feature": {0: "n"}, "middle": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )


def classifier(weights_path: str | Path) -> tuple[Vectors, Vectors]:
    """Read the classifier: weight float32 [1000, 1280] and bias float32 [1000].

    Args:
        weights_path: safetensors file of the published state dict.
    """
    from safetensors.numpy import load_file

    weights = load_file(str(weights_path))
    return weights["_fc.weight"], weights["_fc.bias"]
