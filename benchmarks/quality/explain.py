"""Do explanations point at what was planted? 50 pictures and 50 sounds with a known answer.

    python -m benchmarks.quality.explain [--seed 1] [--only pictures]

A picture is one object of the demo set on a smooth noisy ground; the query is the picture the
object comes from, or its name. A sound is
one second of a demo sound in ten seconds of faint noise; the query is the sound it was cut from.
Counted is how often the peak lies inside the planted box or second. `hits` are the composites
where the name is among the model's ten best of all names: an explanation is asked of hits.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from retrieval.demo.run import DemoItem, load_demo
from retrieval.encoders.registry import open_encoder
from retrieval.explain.occlusion import picture_map, sound_profile
from retrieval.media import Loader, find_file

N = 50
_SECONDS = 10


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["pictures", "sounds"])
    options = parser.parse_args()
    encoder = open_encoder(options.model, threads=2)
    kinds = {"pictures": _pictures, "sounds": _sounds}
    chosen = [options.only] if options.only else list(kinds)
    found = {kind: kinds[kind](encoder, options.seed) for kind in chosen}
    print(json.dumps({"model": options.model, "seed": options.seed, "n": N, **found}))


class _Remembers:
    """An encoder that is asked for the same views twice, once by name and once by picture."""

    def __init__(self, encoder) -> None:
        self._encoder, self._views, self._vectors = encoder, None, None

    def encode(self, views, **asked):
        if self._views is None or not np.array_equal(self._views, views):
            self._views, self._vectors = views, self._encoder.encode(views, **asked)
        return self._vectors


def _items(modality: str) -> list[DemoItem]:
    return [item for item in load_demo().items if item.modality == modality]


def _pictures(encoder, seed: int) -> dict[str, float]:
    from PIL import Image

    rng, items = np.random.default_rng(seed), _items("image")
    names = sorted({item.concept for item in items})
    targets = encoder.encode(names, modality="text")
    inside, is_hit, by_picture, seconds = [], [], [], []
    viewer = _Remembers(encoder)
    for _ in range(N):
        item = items[rng.integers(len(items))]
        pixels, box = _composite(item, rng=rng, side_px=encoder.media.image_size_px)
        query = targets[names.index(item.concept)]
        started_s = time.perf_counter()
        found = picture_map(pixels, query=query, encoder=viewer, space=encoder.spaces[0])
        seconds.append(time.perf_counter() - started_s)
        x, y = found.peak
        inside.append(box[0] <= x <= box[2] and box[1] <= y <= box[3])
        source = Image.open(load_demo().path(item.name)).convert("RGB")
        side_px = encoder.media.image_size_px
        whole = encoder.encode([np.asarray(source.resize((side_px, side_px)))], modality="image")
        other = picture_map(pixels, query=whole[0], encoder=viewer, space=encoder.spaces[0])
        x, y = other.peak
        by_picture.append(box[0] <= x <= box[2] and box[1] <= y <= box[3])
        scores = targets @ encoder.encode([pixels], modality="image")[0]
        is_hit.append(int((scores > found.score + 1e-6).sum()) < 10)
    return {
        "inside_by_picture": float(np.mean(by_picture)),
        "inside_by_name": float(np.mean(inside)),
        "hits": float(np.mean(is_hit)),
        "seconds_a_picture": round(float(np.median(seconds)), 2),
        "inside_by_name_of_hits": float(np.mean(np.array(inside)[np.array(is_hit)])),
    }


def _composite(item: DemoItem, *, rng: np.random.Generator, side_px: int):
    from PIL import Image

    corners = rng.integers(90, 200, (2, 2, 3)).astype(np.uint8)
    smooth = Image.fromarray(corners).resize((side_px, side_px), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, dtype=float) + rng.normal(0, 6, (side_px, side_px, 1))
    ground = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    piece = Image.open(load_demo().path(item.name)).convert("RGBA")
    piece.thumbnail((side_px * 2 // 5, side_px * 2 // 5))
    x = int(rng.integers(0, side_px - piece.width + 1))
    y = int(rng.integers(0, side_px - piece.height + 1))
    ground.paste(piece, (x, y), piece)
    box = (x, y, x + piece.width, y + piece.height)
    return np.asarray(ground), tuple(edge / side_px for edge in box)


def _energy(samples: np.ndarray, width: int) -> np.ndarray:
    """Energy of the window that begins at every hundredth sample."""
    running = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    return (running[width:] - running[:-width])[::100] if len(samples) > width else running[-1:]


def _sounds(encoder, seed: int) -> dict[str, float]:
    rng, items = np.random.default_rng(seed), _items("audio")
    rate_hz, demo, inside = encoder.media.sample_rate_hz, load_demo(), []
    with Loader(spec=encoder.media) as loader:
        for _ in range(N):
            item = items[rng.integers(len(items))]
            source = loader.load(find_file(demo.path(item.name))).parts[0].payload
            query = encoder.encode([source], modality="audio")[0]
            start = int(np.argmax(_energy(source, rate_hz))) * 100
            second = source[start : start + rate_hz]
            at = int(rng.integers(0, _SECONDS * rate_hz - len(second) + 1))
            mixed = rng.normal(0, 0.002, _SECONDS * rate_hz).astype(np.float32)
            mixed[at : at + len(second)] += 0.5 * second / max(1e-3, float(np.abs(second).max()))
            pieces = sound_profile(
                mixed, sample_rate_hz=rate_hz, query=query, encoder=encoder, space=encoder.spaces[0]
            )
            best = max(pieces, key=lambda piece: piece.drop)
            middle = (best.start_s + best.end_s) / 2 * rate_hz
            inside.append(at <= middle <= at + len(second))
    return {"inside": float(np.mean(inside))}


if __name__ == "__main__":
    main()
