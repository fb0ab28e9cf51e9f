"""The audio weight files: the aiSFX trunk as ONNX, int8 by calibration, and the tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_audio import blocks, log_mel, mel_filters
from retrieval.encoders.starter_files import session
from retrieval.training.starter.pack import Arrays, quantise, write_tensors

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]

_POOLS = (2, 2, 2, 1)
_CALIBRATION_BATCH = 8


def export_trunk(weights_path: Path, *, target: Path) -> None:
    """Write aiSFX's embedding network as ONNX: mel [N, 100, 96] -> feature [N, 512].

    Args:
        weights_path: the published state dict (PyPI aisfx) as a safetensors file.
        target: the file.
    """
    import torch
    import torch.nn.functional as nnf
    from safetensors.torch import load_file

    weights = load_file(str(weights_path))

    def block(x: torch.Tensor, at: str, pool: int) -> torch.Tensor:
        for n in (1, 2):
            gain = weights[f"{at}.bn{n}.weight"]
            scale = gain / (weights[f"{at}.bn{n}.running_var"] + 1e-5).sqrt()
            bias = weights[f"{at}.bn{n}.bias"] - weights[f"{at}.bn{n}.running_mean"] * scale
            kernel = weights[f"{at}.conv{n}.weight"] * scale[:, None, None, None]
            x = nnf.relu(nnf.conv2d(x, kernel, bias, padding=1))
        return nnf.max_pool2d(x, pool) if pool > 1 else x

    class Trunk(torch.nn.Module):
        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            x = mel[:, None]
            for n, pool in enumerate(_POOLS, start=1):
                x = block(x, f"embedding_net.conv_block{n}", pool)
            return x.mean(3).amax(2)

    torch.onnx.export(
        Trunk(),
        (torch.zeros(2, 100, 96),),
        str(target),
        input_names=["mel"],
        output_names=["feature"],
        dynamic_axes={"mel": {0: "n"}, "feature": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )


def quantise_static(
    source: Path,
    *,
    target: Path,
    mels: npt.NDArray[Any],  # Any: spectrograms are float32, pictures uint8
    name: str = "mel",
    only: Sequence[str] = (),
) -> None:
    """Bring an ONNX network to int8 weights and uint8 activations, ranges by calibration.

    Args:
        source: float32 network.
        target: the int8 file.
        mels: [N, ...], what it usually hears (or sees).
        name: of its input.
        only: kinds of nodes that become int8, such as `Conv`; none given: all that can.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            starts = range(0, len(mels) - _CALIBRATION_BATCH + 1, _CALIBRATION_BATCH)
            self._parts = iter([{name: mels[s : s + _CALIBRATION_BATCH]} for s in starts])

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            return next(self._parts, None)

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(only) or None,
    )
    prepared.unlink()


def store_recurrent_as_int8(path: Path) -> None:
    """Store the recurrent weights of an ONNX network in int8; they are computed with in float32.

    Args:
        path: the file, which is written again; each row of a gate has its own scale.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    recurrent = [node for node in model.graph.node if node.op_type == "GRU"]
    for name in {n for node in recurrent for n in node.input[1:3]}:
        values = numpy_helper.to_array(stored[name])  # [directions, rows, inputs]
        scale = np.maximum(np.abs(values).max(axis=(0, 2)) / 127, 1e-12).astype(np.float32)
        small = np.rint(values / scale[None, :, None]).astype(np.int8)
        parts = {f"{name}_int8": small, f"{name}_scale": scale}
        model.graph.initializer.remove(stored[name])
        model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in parts.items())
        whole = helper.make_node("DequantizeLinear", list(parts), [name], axis=1)
        model.graph.node.insert(0, whole)
    onnx.save(model, str(path))


def trunk_blocks(sounds: Sequence[Vectors]) -> Vectors:
    """Cut sounds into the trunk's inputs: float32 [B, 100, 96]."""
    filters = mel_filters()
    return np.concatenate([blocks(log_mel(sound, filters=filters)) for sound in sounds])


def trunk_features(sounds: Iterator[Vectors], *, trunk: Path) -> Vectors:
    """Run the trunk as the encoder does.

    Args:
        sounds: float32 [T] each, at 44,100 Hz.
        trunk: the int8 file.

    Returns:
        float32 [N, 512], averaged over blocks.
    """
    run = session(trunk.read_bytes(), threads=2)
    out = [run.run(["feature"], {"mel": trunk_blocks([sound])})[0].mean(axis=0) for sound in sounds]
    return np.stack(out)


def write_audio_tensors(
    head: Mapping[str, Vectors], *, mix: Mapping[str, Vectors], path: Path
) -> None:
    """Write `audio.safetensors`.

    Args:
        head: from `audio_head.fit_head`.
        mix: `names` float32 [C, 384], `shift` [C] and `middle` [384], from `audio_head`.
        path: the file.
    """
    matrices = {"names": mix["names"]} | {k: head[k] for k in ("classes", "w1", "w2")}
    plain = {k: head[k] for k in ("bias", "b1", "b2", "mean", "spread")}
    plain |= {k: mix[k] for k in ("shift", "middle")}
    tensors: Arrays = {k: v for name, m in matrices.items() for k, v in quantise(name, m).items()}
    tensors |= {name: value.astype(np.float16) for name, value in plain.items()}
    write_tensors(path, tensors)
