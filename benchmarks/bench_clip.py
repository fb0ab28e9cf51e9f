"""How much of a pretrained model's own rate an add reaches.

    python -m benchmarks.bench_clip --data DIR [--n 384] [--architecture ViT-B-32] [--rounds 3]

DIR is any folder of pictures. The model is an open_clip architecture with random weights: speed
does not depend on them. In each round two things run one after the other on the same machine: the
forward pass alone (tensors that are ready, in full batches), and the whole add (scan, decode,
resize as the library does, normalise, encode, segments, catalog). The whole should reach 90 % of
the forward on a CPU. One query's text encoding is measured too, fresh and remembered.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.report import spread, tell
from retrieval.config import load_settings
from retrieval.encoders.clip import CONFIG, ClipEncoder
from retrieval.encoders.model_folder import Manifest, entry_of, folder_name, write_manifest
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.text_cache import TextCache
from retrieval.encoders.torch_cure import cure_torchvision
from retrieval.engine import Engine

WEIGHTS = "open_clip_model.safetensors"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--n", type=int, default=384)
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for the random weights")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        run(Path(folder), options)


def run(folder: Path, options: argparse.Namespace) -> None:
    """Measure in turns and tell the medians."""
    settings = load_settings()
    name = make_random(folder / "models", options.architecture)
    os.environ["CROSSFIND_MODELS_DIR"] = str(folder / "models")
    pictures = choose(options.data, n=options.n, folder=folder / "pictures")
    encoder = open_encoder(name, threads=settings.threads)
    assert isinstance(encoder, ClipEncoder)
    forward(encoder, n=2 * encoder.batch_size["image"])  # weights are read, kernels chosen
    forwards, adds = [], []
    for round_ in range(options.rounds):
        forwards.append(options.n / forward(encoder, n=options.n))
        adds.append(options.n / add(pictures, folder / f"store{round_}", encoder))
    shares = [whole / alone for whole, alone in zip(adds, forwards, strict=True)]
    cold_s, kept_s = texts(encoder)
    tell(
        "clip",
        {
            "architecture": options.architecture,
            "pictures": options.n,
            "threads": settings.threads,
            "decode workers": settings.workers,
            "forward only, pictures/s": spread(forwards),
            "whole add, pictures/s": spread(adds),
            "share of the forward rate": spread(shares),
            "target": 0.90,
            "text query encoded, ms": 1000 * cold_s,
            "text query remembered, ms": 1000 * kept_s,
        },
    )


def make_random(models_dir: Path, architecture: str) -> str:
    """Write an open_clip architecture with random weights as an installed model."""
    cure_torchvision()
    import open_clip
    from safetensors.torch import save_file

    name = f"open_clip:{architecture}/random"
    folder = models_dir / folder_name(name)
    folder.mkdir(parents=True)
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (folder / CONFIG).write_text(json.dumps(config))
    model = open_clip.create_model(architecture, pretrained=None)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / WEIGHTS)
    files = {p.name: entry_of(p) for p in folder.iterdir()}
    write_manifest(folder, manifest=Manifest(name, "random", "", "none", WEIGHTS, files))
    return name


def choose(data: Path, *, n: int, folder: Path) -> Path:
    """Link n pictures of a folder, over and over if there are fewer."""
    found = sorted(p for p in data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise SystemExit(f"no pictures in {data}")
    folder.mkdir()
    for number in range(n):
        source = found[number % len(found)]
        target = folder / f"{number:05}{source.suffix}"
        # Equal contents would be encoded once: a trailing byte makes each its own.
        target.write_bytes(source.read_bytes() + number.to_bytes(4, "big"))
    return folder


def forward(encoder: ClipEncoder, *, n: int) -> float:
    """Time the forward pass of n pictures that are ready."""
    import torch

    host, size = encoder.open(), encoder.media.image_size_px
    batch = encoder.batch_size["image"]
    ready = torch.rand((batch, 3, size, size), device=host.device).to(host.dtype)
    started_s = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, n, batch):
            out = host.module.encode_image(ready[: min(batch, n - start)])
        out.sum().item()  # waits for a GPU
    return time.perf_counter() - started_s


def add(pictures: Path, store: Path, encoder: ClipEncoder) -> float:
    """Time a whole add; the model is open already, as in a server."""
    with Engine.open(store, create=True, model=encoder.name) as engine:
        engine.serving.__dict__["encoder"] = encoder
        started_s = time.perf_counter()
        report = engine.add(pictures)
        seconds = time.perf_counter() - started_s
        engine.serving.__dict__.pop("encoder")
    assert report.n_bad == 0
    return seconds


def texts(encoder: ClipEncoder) -> tuple[float, float]:
    """Time one query's text: encoded, and remembered."""
    cache, space = TextCache(), encoder.spaces[0]
    cache.encode(["warm"], encoder=encoder, space=space)
    times: dict[str, list[float]] = {"cold": [], "kept": []}
    for number in range(10):
        for kind in ("cold", "kept"):
            started_s = time.perf_counter()
            cache.encode([f"a photo of thing {number}"], encoder=encoder, space=space)
            times[kind].append(time.perf_counter() - started_s)
    return statistics.median(times["cold"]), statistics.median(times["kept"])


if __name__ == "__main__":
    main()
