"""Is a known clip found where it lies in a long sound? 50 sounds of clips put one after the other.

    python -m benchmarks.quality.moments [--model starter] [--n 50] [--seed 1]

A sound is eight clips of the demo set, of eight concepts, one after the other; one of them is asked
for, as the file it comes from, and by its name. Clips are as they are (5 s, half of a window of the
starter), and played twice. Prints JSON: how often the best moment has an intersection over union
with the clip of 0.5 or more, and the median of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np

from index.types import Vectors
from retrieval.demo.run import DemoItem, load_demo
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.media import find_file, load_file
from retrieval.media.audio import Sound, windows
from retrieval.query.moments import find_moments
from retrieval.types import LoadedPart

N_CLIPS = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    encoder = open_encoder(options.model, threads=2)
    found = {
        name: measure(encoder, n=options.n, seed=options.seed, repeats=repeats)
        for name, repeats in (("clips as they are", 1), ("clips played twice", 2))
    }
    print(json.dumps({"model": options.model, "n": options.n, **found}))


def measure(
    encoder: Encoder, *, n: int, seed: int, repeats: int = 1, depth: float = 0.4
) -> dict[str, object]:
    """Give the share of moments that lie on their clip, asked by file and by name."""
    rng = np.random.default_rng(seed)
    sounds = [item for item in load_demo().items if item.modality == "audio"]
    clips = {item: np.tile(_samples(item, encoder), repeats) for item in sounds}
    by_concept: dict[str, list[DemoItem]] = {}
    for item in clips:
        by_concept.setdefault(item.concept, []).append(item)
    overlaps: dict[str, list[float]] = {"file": [], "name": []}
    for _ in range(n):
        concepts = rng.permutation(sorted(by_concept))[:N_CLIPS].tolist()
        chosen = [by_concept[name][rng.integers(len(by_concept[name]))] for name in concepts]
        asked = int(rng.integers(N_CLIPS))
        lengths = [len(clips[item]) / encoder.media.sample_rate_hz for item in chosen]
        begin = sum(lengths[:asked])
        sound = Sound(np.concatenate([clips[item] for item in chosen]), 0.0, ())
        parts = windows(sound, spec=encoder.media)
        vectors = _encode(encoder, parts)
        known = _encode(encoder, windows(Sound(clips[chosen[asked]], 0.0, ()), spec=encoder.media))
        texts = encoder.encode([chosen[asked].concept], modality="text")
        spans = [(part.start_s or 0.0, part.end_s or 0.0) for part in parts]
        for way, query in (("file", known.mean(axis=0)), ("name", texts[0])):
            scores = (vectors @ query).tolist()
            best = find_moments(spans, scores=scores, n=1, depth=depth)[0]
            span = (best.start_s, best.end_s)
            overlaps[way].append(overlap(span, (begin, begin + lengths[asked])))
    return {
        way: {
            "iou>=0.5": float((np.array(o) >= 0.5).mean()),
            "median": round(float(np.median(o)), 3),
        }
        for way, o in overlaps.items()
    }


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Give the intersection over union of two spans.

    Example:
        >>> overlap((0.0, 2.0), (1.0, 3.0))
        0.3333333333333333
    """
    common = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return common / (one[1] - one[0] + other[1] - other[0] - common)


def _samples(item: DemoItem, encoder: Encoder) -> np.ndarray:
    """Give a demo sound whole."""
    loaded = load_file(find_file(load_demo().path(item.name)), spec=encoder.media)
    base = loaded.parts[0].payload
    assert isinstance(base, np.ndarray)
    return np.asarray(base if base.base is None else base.base, dtype=np.float32).reshape(-1)


def _encode(encoder: Encoder, parts: Sequence[LoadedPart]) -> Vectors:
    return encoder.encode([part.payload for part in parts], modality="audio")


if __name__ == "__main__":
    main()
