"""ONNX copies of an open_clip model's towers: written, measured, and used only if they win."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from index.storage import hash_file, publish
from retrieval.encoders.clip import ClipEncoder
from retrieval.encoders.onnx_towers import LEAST_COSINE, REPORT, OnnxTowers, TowerReport
from retrieval.encoders.torch_run import need
from retrieval.errors import ModelError
from retrieval.types import Modality, Payload

_ROUNDS = 5


def export_onnx(
    encoder: ClipEncoder,
    *,
    folder: Path,
    probe: Mapping[Modality, Sequence[Payload]],
    int8: bool,
    threads: int,
) -> list[TowerReport]:
    """Write ONNX copies of both towers into the model's folder, with what was measured.

    A copy serves from then on where it is faster than torch on this machine, interleaved in one
    run, and its vectors keep a cosine of at least 0.995 to the original's.

    Args:
        encoder: the model, on a CPU in fp32.
        folder: of the model.
        probe: pictures and texts to measure with.
        int8: quantise the weights of the matrix products.
        threads: CPU threads of both sides.

    Returns:
        One report per tower.

    Raises:
        BackendMissingError: onnx is not installed.
        ModelError: the model cannot be exported (`export_failed`).
    """
    encoder.onnx = None
    host = encoder.open()
    if host.device.type != "cpu":
        raise ModelError("the model runs on a GPU, where ONNX copies are not used; set "
                         "CROSSFIND_DEVICE=cpu", code="export_failed")  # fmt: skip
    (folder / "onnx").mkdir(exist_ok=True)
    reports = []
    for modality in ("image", "text"):
        inputs = list(probe[modality])
        target = folder / "onnx" / f"{modality}{'.int8' if int8 else ''}.onnx"
        _write_tower(encoder, modality, target=target, int8=int8)
        reports.append(_measure(encoder, modality, target, inputs, int8=int8, threads=threads))
    _publish(folder, reports)
    encoder.onnx = OnnxTowers(
        folder, reports={r.modality: r for r in reports if r.used}, threads=threads
    )
    return reports


def _write_tower(encoder: ClipEncoder, modality: Modality, *, target: Path, int8: bool) -> None:
    import torch

    try:
        import onnx  # noqa: F401 - the quantiser and torch's exporter need it
    except ImportError as error:
        raise need("onnx", extra="export", reason="exporting a model") from error
    module = encoder.open().module
    tower: Any = module.encode_image if modality == "image" else module.encode_text
    side = encoder.media.image_size_px
    sample = (
        torch.zeros((2, 3, side, side))
        if modality == "image"
        else torch.ones((2, encoder.context_length), dtype=torch.int64)
    )
    plain = target.with_suffix(".fp32.part") if int8 else target
    # The fused path of torch's attention has no ONNX form.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The tracer warns of every shape check; the measured cosine is the judge.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _as_module(tower), (sample,), str(plain), input_names=["values"],
                output_names=["vectors"], dynamo=False, opset_version=17,
                dynamic_axes={"values": {0: "n"}, "vectors": {0: "n"}},
            )  # fmt: skip
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise ModelError(
            f"the {modality} tower of {encoder.name} has no ONNX form: "
            f"{' '.join(str(error).split())[:200]}; it goes on running in torch",
            code="export_failed",
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    if int8:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            str(plain), str(target), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"]
        )
        plain.unlink()


def _as_module(tower: Callable[[Any], Any]) -> Any:
    import torch

    class Tower(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = tower(values)
            return out

    return Tower()


def _measure(
    encoder: ClipEncoder,
    modality: Modality,
    target: Path,
    inputs: list[Payload],
    *,
    int8: bool,
    threads: int,
) -> TowerReport:
    """Encode the probe by both, in turns; the medians of the times are compared."""
    sha256 = hash_file(target)
    name = str(target.relative_to(target.parents[1]))
    draft = TowerReport(modality, name, sha256, int8, cosine=0.0, speedup=0.0, used=False)
    copy = OnnxTowers(target.parents[1], reports={modality: draft}, threads=threads)
    times: dict[str, list[float]] = {"torch": [], "onnx": []}
    vectors = {}
    for round_ in range(_ROUNDS + 1):
        for side, towers in (("torch", None), ("onnx", copy)):
            encoder.onnx = towers
            started_s = time.perf_counter()
            vectors[side] = encoder.encode(inputs, modality=modality)
            if round_:
                times[side].append(time.perf_counter() - started_s)
    encoder.onnx = None
    cosine = float((vectors["torch"] * vectors["onnx"]).sum(axis=1).min())
    speedup = float(np.median(times["torch"]) / np.median(times["onnx"]))
    used = cosine >= LEAST_COSINE and speedup > 1.0
    return TowerReport(modality, name, sha256, int8, round(cosine, 6), round(speedup, 3), used)


def _publish(folder: Path, reports: Sequence[TowerReport]) -> None:
    text = json.dumps({"version": 1, "towers": [asdict(r) for r in reports]}, indent=1) + "\n"

    def write(sink: BinaryIO) -> None:
        sink.write(text.encode("utf-8"))

    publish(folder / REPORT, tmp=folder, write=write)
