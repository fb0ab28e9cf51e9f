"""EfficientNet-Lite as plain torch, with the published tensor names, and its export to ONNX."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    Filter = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

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
_NORM_AFTER = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


def _width(channels: int, *, factor: float) -> int:
    """Round a scaled channel count to a multiple of 8, never below 90 % of it."""
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


@dataclass(frozen=True, slots=True)
class Block:
    """A bottleneck: widen by 1 x 1, filter each channel, narrow by 1 x 1.

    Attributes:
        name: of its tensors.
        stage: which of the seven.
        widens: its first part is there.
        stride: of the filter.
        channels: that come out.
        skips: what comes in is added to what comes out.
    """

    name: str
    stage: int
    widens: bool
    stride: int
    channels: int
    skips: bool


def blocks(variant: int) -> list[Block]:
    """List the blocks of a variant in their order.

    Example:
        >>> [(b.name, b.channels) for b in blocks(2)][-2:]
        [('_blocks.19', 208), ('_blocks.20', 352)]
    """
    width, depth = VARIANTS[variant]
    out: list[Block] = []
    for stage, (expand, _, stride, channels, repeats) in enumerate(_STAGES):
        scaled = stage not in (0, len(_STAGES) - 1)
        for repeat in range(math.ceil(depth * repeats) if scaled else repeats):
            step, name = stride if repeat == 0 else 1, f"_blocks.{len(out)}"
            n_out = _width(channels, factor=width)
            out.append(Block(name, stage, expand != 1, step, n_out, repeat > 0))
    return out


def early_blocks(variant: int) -> list[Block]:
    """List the blocks of `early`: those up to the last that halves the side.

    Example:
        >>> early_blocks(2)[-1].name
        '_blocks.15'
    """
    whole = blocks(variant)
    last = max(place for place, block in enumerate(whole) if block.stride > 1)
    return whole[: last + 1]


def fold(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fold each batch norm into the kernel before it.

    Args:
        weights: the published state dict.

    Returns:
        `NAME.weight` and `NAME.bias` of every convolution.
    """
    out: dict[str, torch.Tensor] = {}
    for key in [k for k in weights if k.endswith(".weight") and weights[k].ndim == 4]:
        conv = key.removesuffix(".weight")
        before, _, last = conv.rpartition(".")
        norm = f"{before}." * bool(before) + _NORM_AFTER[last]
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-3).sqrt()
        out[key] = weights[key] * scale[:, None, None, None]
        out[f"{conv}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return out


def _same_pad(x: torch.Tensor, *, kernel: int, stride: int) -> torch.Tensor:
    """Pad as TensorFlow's SAME does: the odd pixel goes right and below."""
    import torch.nn.functional as nnf

    pads: list[int] = []
    for side in (int(x.shape[3]), int(x.shape[2])):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return nnf.pad(x, pads) if any(pads) else x


def _convolve(
    x: torch.Tensor, *, folded: Mapping[str, torch.Tensor], name: str, stride: int = 1
) -> torch.Tensor:
    import torch.nn.functional as nnf

    kernel = folded[f"{name}.weight"]
    groups = int(x.shape[1]) if kernel.shape[1] == 1 else 1
    x = _same_pad(x, kernel=int(kernel.shape[2]), stride=stride)
    return nnf.conv2d(x, kernel, folded[f"{name}.bias"], stride=stride, groups=groups)


def through(
    x: torch.Tensor,
    block: Block,
    *,
    folded: Mapping[str, torch.Tensor],
    filtered: Filter | None = None,
) -> torch.Tensor:
    """Pass through a block.

    Args:
        x: float32 [N, C, S, S].
        block: of `blocks`.
        folded: from `fold`.
        filtered: filters each channel at stride 1, in place of a plain convolution, where the
            training has a faster one: (x, kernel, bias) -> the same.

    Returns:
        float32 [N, C', S', S'].
    """
    import torch.nn.functional as nnf

    y, middle = x, f"{block.name}._depthwise_conv"
    if block.widens:
        y = nnf.relu6(_convolve(y, folded=folded, name=f"{block.name}._expand_conv"))
    if filtered is None:
        y = _convolve(y, folded=folded, name=middle, stride=block.stride)
    else:
        y = filtered(y, folded[f"{middle}.weight"], folded[f"{middle}.bias"])
    y = _convolve(nnf.relu6(y), folded=folded, name=f"{block.name}._project_conv")
    if int(y.shape[1]) != block.channels:
        raise AssertionError(f"{block.name} has {y.shape[1]} channels")  # layout, not input
    return x + y if block.skips else y


def early(
    images: torch.Tensor, *, folded: Mapping[str, torch.Tensor], variant: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute what stays as published: up to the block that makes pictures smallest.

    Args:
        images: uint8 [N, S, S, 3] RGB.
        folded: from `fold`.
        variant: 0, 1 or 2.

    Returns:
        What comes out, float32 [N, C, S/32, S/32], and of three stages, the latest first, the mean
        and the largest value of each channel, float32 [N, M] (512 for variant 2).
    """
    import torch
    import torch.nn.functional as nnf

    middle: list[torch.Tensor] = []
    x = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
    x = nnf.relu6(_convolve(x, folded=folded, name="_conv_stem", stride=2))
    parts = early_blocks(variant)
    for block, after in pairwise(parts):
        x = through(x, block, folded=folded)
        if block.stage in _MIDDLE and after.stage != block.stage:
            middle = [x.mean((2, 3)), x.amax((2, 3)), *middle]
    return through(x, parts[-1], folded=folded), torch.cat(middle, dim=1)


def late(
    x: torch.Tensor,
    *,
    folded: Mapping[str, torch.Tensor],
    variant: int,
    filtered: Filter | None = None,
) -> torch.Tensor:
    """Compute pooled features from what `early` gave: float32 [N, 1280]; `filtered`: `through`."""
    import torch.nn.functional as nnf

    for block in blocks(variant)[len(early_blocks(variant)) :]:
        x = through(x, block, folded=folded, filtered=filtered)
    x = nnf.relu6(_convolve(x, folded=folded, name="_conv_head"))
    return x.float().mean((2, 3))


def features(
    images: torch.Tensor, *, folded: Mapping[str, torch.Tensor], variant: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute pooled features [N, 1280] and the middle of `early`, float32 [N, M]."""
    x, middle = early(images, folded=folded, variant=variant)
    return late(x, folded=folded, variant=variant), middle


def read(weights_path: str | Path) -> dict[str, torch.Tensor]:
    """Read the published state dict, each batch norm folded.

    Args:
        weights_path: safetensors file.
    """
    from safetensors.torch import load_file

    return fold(load_file(str(weights_path)))


def export(
    folded: Mapping[str, torch.Tensor],
    *,
    variant: int,
    target: Path,
    side_px: int,
    whole: bool = True,
) -> None:
    """Write the trunk as an ONNX file.

    Args:
        folded: from `read`.
        variant: 0, 1 or 2.
        target: the ONNX file to write; image uint8 [N, S, S, 3] -> `feature` and `middle`.
        side_px: of the pictures it will see.
        whole: else only `early`: image -> `early` and `middle`.
    """
    import torch

    class Trunk(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return (features if whole else early)(image, folded=folded, variant=variant)

    names = ["feature" if whole else "early", "middle"]
    with warnings.catch_warnings():
        # It warns of each shape that becomes a constant; all but the first are meant to.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Trunk(),
            (torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8),),
            str(target),
            input_names=["image"],
            output_names=names,
            dynamic_axes={name: {0: "n"} for name in ["image", *names]},
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
