"""Encoding: how busy an add keeps the model, and the shipped trunk against eager torch.

(a) 2,000 JPEGs of mixed size are added to a new store, and the same pictures, decoded before, go
through the same model in the same batches on the same cores. Decoders share these cores, so a CPU
cannot reach 1: what decoding and encoding take one after the other, each on all cores with nothing
else to do, stands beside it, and the add over that tells what the engine itself loses. (b) The
trunk that ships (ONNX Runtime, int8) is raced with the same trunk in eager torch, whose float32
weights are the shipped ones widened: so the cosine tells what rounding activations costs, and not
what rounding weights did. `--set data=DIR` takes pictures of yours, `parts=add` or `parts=trunk`
only one of both.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.bench_add import add, decode, encode
from benchmarks.measure import Options, Row, Times, quartiles, race, ratio_row, ratios
from retrieval.config import load_settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.starter_colour import colour_shares
from retrieval.encoders.starter_files import WeightFiles, open_weights
from retrieval.encoders.starter_image import ImageTower, Pixels
from retrieval.media import Found, scan
from retrieval.training.starter import efficientnet

DEFAULTS = {"n": 2_000, "dim": 384}
THREADS = 2
DATA = "JPEGs, generated or of a folder that is named"
MODEL, VARIANT = "starter", 2
SIZES_PX = ((480, 320), (640, 480), (1280, 720), (1920, 1080))
N_COMPARED = 256
_GRAINS = 64

Tensor = Any  # torch is imported only where the goal runs
Floats = npt.NDArray[np.float32]


def run(options: Options) -> list[Row]:
    """Race adds against forwards, then the two trunks."""
    parts = options.rest.get("parts", "add+trunk").split("+")
    settings = load_settings()
    encoder = open_encoder(MODEL, threads=settings.threads)
    with tempfile.TemporaryDirectory() as name:
        found = _pictures(Path(name), options)
        rows = _add_rows(found, encoder, options) if "add" in parts else []
        if "trunk" in parts:
            payloads = decode(found[:N_COMPARED], encoder, settings.workers)[1]
            batch = encoder.batch_size["image"]
            rows += trunk_rows(payloads, batch=batch, threads=settings.threads, options=options)
    return rows


def _pictures(folder: Path, options: Options) -> list[Found]:
    """List the pictures of the folder that is named, or make some."""
    data = Path(options.rest["data"]) if "data" in options.rest else folder
    if data == folder:
        make_pictures(folder, n=options.n, seed=options.seed)
    found = scan([data], on_skip=lambda _: None)
    wanted = (f for f in found if f.path.lower().endswith((".jpg", ".jpeg", ".png")))
    return list(itertools.islice(wanted, options.n)) or sys.exit(f"no pictures in {data}")


def make_pictures(folder: Path, *, n: int, seed: int) -> None:
    """Write JPEGs of four sizes, upright and wide: soft colours under a grain.

    Args:
        folder: where they go.
        n: how many; no two are equal.
        seed: of all of it.
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    longest = max(side for size in SIZES_PX for side in size)
    room = longest + _GRAINS
    grain = rng.integers(-12, 13, (room, room, 1), dtype=np.int16)
    for number in range(n):
        width, height = SIZES_PX[number % len(SIZES_PX)][:: 1 if number // 4 % 2 else -1]
        soft = rng.integers(12, 244, (12, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(soft).resize((width, height), Image.Resampling.BICUBIC)
        y, x = rng.integers(0, _GRAINS, 2)
        rough = np.asarray(smooth, np.int16) + grain[y : y + height, x : x + width]
        pixels = np.clip(rough, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=85)


def _add_rows(found: list[Found], encoder: Encoder, options: Options) -> list[Row]:
    workers, n = load_settings().workers, len(found)
    times: Times = {"decode": [], "forward": [], "add": []}
    for _ in range(min(3, options.rounds)):  # long enough to be timed once a round
        seconds, payloads = decode(found, encoder, workers)
        times["decode"].append(seconds)
        times["forward"].append(encode(payloads, encoder))
        del payloads
        times["add"].append(add(found, MODEL))
    pairs = zip(times["decode"], times["forward"], strict=True)
    times["ideal"] = [decoding + forward for decoding, forward in pairs]
    rates: dict[str, float | int | str | bool | None] = {
        f"{name}_per_s": round(n / statistics.median(of), 1) for name, of in times.items()
    }
    loaded = {"files": n, "decoders": workers, "threads": load_settings().threads}

    def row(name: str, subject: str, peer: str, **more: Any) -> Row:  # Any: fields of Row
        values = ratios(times, peer, subject)
        return Row(name, statistics.median(values), spread=quartiles(values), **more)

    return [
        row("files to stored vectors over forward only", "add", "forward", target=0.92,
            details={**loaded, **rates}),
        row("decode, then encode, over forward only", "ideal", "forward",
            note="no add can be far above it: both take the same cores"),
        row("files to stored vectors over decode, then encode", "add", "ideal"),
    ]  # fmt: skip


def trunk_rows(
    payloads: Sequence[Pixels], *, batch: int, threads: int, options: Options
) -> list[Row]:
    """Race the trunk that ships with the same trunk in eager torch, and compare their vectors.

    Args:
        payloads: uint8 [S, S, 3] as the starter reads them.
        batch: how many go at once.
        threads: CPU threads of each.
        options: of the goal.
    """
    import torch

    torch.set_num_threads(threads)
    files = open_weights()
    tower = ImageTower(files, threads=threads)
    folded = shipped_weights(files)

    def eager(pictures: Sequence[Pixels]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            images = torch.from_numpy(np.stack(pictures))
            return efficientnet.features(images, folded=folded, variant=VARIANT)

    some = payloads[:batch]
    times = race({"shipped": lambda: tower.features(some), "torch": lambda: eager(some)},
                 rounds=options.rounds, min_s=options.min_s)  # fmt: skip
    cosines = _cosines(tower, eager, payloads, batch=batch)
    return [
        ratio_row(
            f"speed of the shipped trunk over eager float32 torch, batch {len(some)}",
            times, subject="torch", peer="shipped", target=1.8,
            details={"threads": threads}, note="the shipped one measures colours, too",
        ),
        Row(
            "cosine of their vectors", float(cosines.mean()), target=0.99, unit="cosine",
            details={"pictures": len(payloads), "lowest": round(float(cosines.min()), 4)},
            note="weights of both are the shipped int8 ones",
        ),
    ]  # fmt: skip


def _cosines(
    tower: ImageTower,
    eager: Callable[[Sequence[Pixels]], tuple[Tensor, Tensor]],
    payloads: Sequence[Pixels],
    *,
    batch: int,
) -> Floats:
    """Compare the vectors of both trunks under the same head, picture by picture: float32 [N]."""
    found = []
    for start in range(0, len(payloads), batch):
        some = payloads[start : start + batch]
        feature, middle = (part.numpy() for part in eager(some))
        seen = np.concatenate([feature, colour_shares(some), middle], axis=1, dtype=np.float32)
        mine, theirs = tower.encode(some), tower.project(seen)
        lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
        found.append((mine * theirs).sum(axis=1) / lengths)
    return np.concatenate(found)


def shipped_weights(files: WeightFiles) -> dict[str, Tensor]:
    """Widen the kernels of the shipped trunk: `NAME.weight` and `NAME.bias`, as `efficientnet.fold`
    gives them.
    """
    import torch

    try:
        import onnx
    except ImportError:
        sys.exit("goal 7 reads the shipped weights with onnx: pip install 'crossfind[export]'")
    graph = onnx.load_model_from_string(files.read("image.onnx")).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    widened: dict[str, Tensor] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            values, scale, zero = (stored[name] for name in node.input)
            channels = (-1, *(1,) * (values.ndim - 1))
            wide = (values - zero.reshape(channels).astype(np.int32)) * scale.reshape(channels)
            widened[node.output[0]] = torch.from_numpy(wide.astype(np.float32))
    kernels = [node.input[1:] for node in graph.node if node.op_type == "Conv"]
    folded: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(_convolutions(), kernels, strict=True):
        folded |= {f"{name}.weight": widened[weight], f"{name}.bias": widened[bias]}
    return folded


def _convolutions() -> list[str]:
    """Name the convolutions in the order in which they are computed."""
    names = ["_conv_stem"]
    for block in efficientnet.blocks(VARIANT):
        parts = ("_expand_conv",) * block.widens + ("_depthwise_conv", "_project_conv")
        names += [f"{block.name}.{part}" for part in parts]
    return [*names, "_conv_head"]
