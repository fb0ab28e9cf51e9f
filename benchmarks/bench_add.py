"""How much of the possible rate an add reaches.

    python -m benchmarks.bench_add --data DIR [--n 2000] [--model starter] [--rounds 3]

DIR is any folder of pictures (the published figures use those of the Grocery Store Dataset). In
each round three things run one after the other on the same files: decoding alone (the loader, its
results thrown away), encoding alone (the model, pictures already decoded), and the whole add (scan,
decode, encode, segments, catalog). The whole should come near the slower of the two parts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import spread, tell
from retrieval.config import load_settings
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.engine import Engine
from retrieval.media import Found, Loader, scan
from retrieval.types import Loaded


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = load_settings()
    encoder = open_encoder(options.model, threads=settings.threads)
    found = list(scan([options.data], on_skip=lambda _: None))
    found = [f for f in found if f.path.lower().endswith((".jpg", ".jpeg", ".png"))][: options.n]
    decode_s, encode_s, add_s = [], [], []
    for _ in range(options.rounds):
        seconds, payloads = decode(found, encoder, settings.workers)
        decode_s.append(seconds)
        encode_s.append(encode(payloads, encoder))
        del payloads
        add_s.append(add(found, options.model))
    rates = [[len(found) / s for s in seconds] for seconds in (decode_s, encode_s, add_s)]
    shares = [
        whole / min(decoding, encoding) for decoding, encoding, whole in zip(*rates, strict=True)
    ]
    tell(
        "add",
        {
            "files": len(found),
            "model": options.model,
            "decode only, files/s": spread(rates[0]),
            "encode only, files/s": spread(rates[1]),
            "whole add, files/s": spread(rates[2]),
            "share of the slower part": statistics.median(shares),
            "target": 0.85,
        },
    )


def decode(found: list[Found], encoder: Encoder, workers: int) -> tuple[float, list]:  # type: ignore[type-arg]
    """Decode all files; the time counts the loader's work only."""
    payloads = []
    with Loader(spec=encoder.media, n_workers=workers, look_ahead=128) as loader:
        next(iter(loader.load_many(found[:1])))  # the children have started
        started_s = time.perf_counter()
        for _, outcome in loader.load_many(found):
            assert isinstance(outcome, Loaded)
            payloads.append(outcome.parts[0].payload)
        return time.perf_counter() - started_s, payloads


def encode(payloads: list, encoder: Encoder) -> float:  # type: ignore[type-arg]
    """Encode all decoded pictures."""
    encoder.encode(payloads[:2], modality="image")  # the model is loaded
    started_s = time.perf_counter()
    encoder.encode(payloads, modality="image")
    return time.perf_counter() - started_s


def add(found: list[Found], model: str) -> float:
    """Add all files to a new store, everything included but Python's own start."""
    with tempfile.TemporaryDirectory() as folder:
        links = Path(folder) / "media"
        links.mkdir()
        for number, file in enumerate(found):  # the same files, so that the scan finds just these
            (links / f"{number:06}{Path(file.path).suffix}").hardlink_to(file.path)
        with Engine.open(Path(folder) / "store", create=True, model=model) as engine:
            side = engine.encoder.media.image_size_px
            grey = np.full((side, side, 3), 128, np.uint8)
            engine.encoder.encode([grey], modality="image")  # the model is loaded
            started_s = time.perf_counter()
            report = engine.add(links)
            seconds = time.perf_counter() - started_s
        assert report.n_loaded == len(found), report
    return seconds


if __name__ == "__main__":
    main()
