"""How good is the starter model? The table of its issue, one JSON line per row.

    python -m benchmarks.quality.starter --data DIR --tuxpaint DIR --openclipart DIR

DIR of --data holds esc10, clothing and grocery; the others are Debian's tuxpaint-stamps-default and
openclipart-svg. Everything goes through the product's loader and encoder with the weights in the
package, or with those of --weights, a folder that `crossfind train starter` made. No set here was
trained on, or used to choose anything.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import starter_sets as sets
from retrieval.encoders.base import Encoder, Vectors

Row = dict[str, Any]


def recalls(queries: Vectors, *, items: Vectors, ks: tuple[int, ...] = (1, 5, 10)) -> list[float]:
    """Percentage of queries whose own item (same row) is among the k best."""
    scores = queries @ items.T
    rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return [round(float((rank < k).mean() * 100), 1) for k in ks]


def accuracy(vectors: Vectors, *, labels: list[str], encoder: Encoder, template: str) -> float:
    """Top-1 accuracy from class names alone."""
    names = sorted(set(labels))
    texts = encoder.encode([template.format(plain(n)) for n in names], modality="text")
    chosen = (vectors @ texts.T).argmax(axis=1)
    right = [names[c] == label for c, label in zip(chosen, labels, strict=True)]
    return round(100 * float(np.mean(right)), 1)


def plain(name: str) -> str:
    """A class name as words: `Brown-Cap-Mushroom` -> `brown cap mushroom`."""
    known = {"longsleeve": "long sleeve", "outwear": "outerwear"}
    return known.get(name.lower(), name.replace("-", " ").replace("_", " ").lower())


def tuxpaint(encoder: Encoder, options: argparse.Namespace) -> Iterator[Row]:
    """Text -> image and back on captioned stamps, in five languages."""
    found = sets.stamps(options.tuxpaint)
    pictures = sets.encode_files(encoder, [s.path for s in found], modality="image")
    texts = encoder.encode([s.caption for s in found], modality="text")
    there, back = recalls(texts, items=pictures), recalls(pictures, items=texts)
    yield {"row": "tuxpaint text->image R@1/5/10", "n": len(found), "value": there}
    yield {"row": "tuxpaint image->text R@1/5/10", "n": len(found), "value": back}
    for language in sets.LANGUAGES:
        mine = [i for i, s in enumerate(found) if language in s.others]
        asked = encoder.encode([found[i].others[language] for i in mine], modality="text")
        scores = asked @ pictures.T
        rank = (scores > scores[np.arange(len(mine)), mine][:, None]).sum(axis=1)
        value = [round(float((rank < k).mean() * 100), 1) for k in (1, 5, 10)]
        yield {"row": f"tuxpaint {language} text->image R@1/5/10", "n": len(mine), "value": value}


def sounds(encoder: Encoder, options: argparse.Namespace) -> Iterator[Row]:
    """ESC-10 from class names, text -> sound, sound -> picture."""
    paths, labels = sets.clips(options.data)
    heard = sets.encode_files(encoder, paths, modality="audio")
    value = accuracy(heard, labels=labels, encoder=encoder, template="{}")
    yield {"row": "ESC-10 zero-shot accuracy", "n": len(paths), "value": value}
    names = sorted(set(labels))
    asked = encoder.encode(names, modality="text")
    best = np.argsort(-(asked @ heard.T), axis=1, kind="stable")[:, :10]
    right = [np.mean([labels[j] == names[i] for j in best[i]]) for i in range(len(names))]
    per = {n: round(100 * float(r)) for n, r in zip(names, right, strict=True)}
    value = round(100 * float(np.mean(right)), 1)
    yield {"row": "ESC-10 text->audio P@10", "value": value, "by_class": per}
    captions = [s.caption for s in sets.stamps(options.tuxpaint)]
    drawn = sets.encode_files(
        encoder, [s.path for s in sets.stamps(options.tuxpaint)], modality="image"
    )
    extra = sets.untrained_clipart(options.openclipart, digits="12")
    parts = [drawn]
    for start in range(0, len(extra), 32):
        block = [sets.draw(svg, spec=encoder.media) for _, _, svg in extra[start : start + 32]]
        parts.append(encoder.encode(block, modality="image"))
    captions += [title for _, title, _ in extra]
    yield from _heard_to_seen(heard, labels, np.concatenate(parts), captions)


def _heard_to_seen(
    heard: Vectors, labels: list[str], gallery: Vectors, captions: list[str]
) -> Iterator[Row]:
    for centred in (False, True):
        h = heard - heard.mean(axis=0) if centred else heard
        g = gallery - gallery.mean(axis=0) if centred else gallery
        g = g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9)
        best = np.argsort(-(h @ g.T), axis=1, kind="stable")[:, :10]
        per: dict[str, list[float]] = {}
        for name in sorted(set(labels)):
            right = np.array([sets.related(name, caption=c) for c in captions])
            rows = [i for i, label in enumerate(labels) if label == name]
            if right.any():
                hit = right[best[rows]]
                values = (hit[:, 0].mean(), hit.any(axis=1).mean(), right.sum() / 100)
                per[name] = [round(100 * float(v)) for v in values]
        mean = [round(float(np.mean([v[k] for v in per.values()])), 1) for k in (0, 1)]
        note = "hit@1, hit@10" + (", each side centred" if centred else "")
        row = {"row": f"audio->image {note}", "n_gallery": len(captions), "value": mean}
        yield {**row, "by_class_with_n_right": per}


def shops(encoder: Encoder, options: argparse.Namespace) -> Iterator[Row]:
    """Photos of clothes and groceries from class names."""
    for name, template in (("clothing", "{}"), ("grocery", "{}")):
        paths, labels = sets.photos(options.data, name=name)
        seen = sets.encode_files(encoder, paths, modality="image")
        value = accuracy(seen, labels=labels, encoder=encoder, template=template)
        row = {"row": f"{name} zero-shot top-1", "n": len(paths), "value": value}
        yield {**row, "n_classes": len(set(labels))}


def colours(encoder: Encoder, options: argparse.Namespace) -> Iterator[Row]:
    """100 pairs: one drawing in two colours; the query names one of them."""
    rng = np.random.default_rng(options.seed)
    right = n = 0
    for _, title, svg in sets.untrained_clipart(options.openclipart, digits="2"):
        if n == 100:
            break
        first, second = rng.choice(sorted(sets.HUES), 2, replace=False)
        pixels = sets.draw(svg, spec=encoder.media)
        turned = [sets.recolour(pixels, hue=sets.HUES[c]) for c in (first, second)]
        if turned[0] is None or turned[1] is None:
            continue
        query = encoder.encode([f"a {first} {title.lower()}"], modality="text")
        scores = query @ encoder.encode([p for p in turned if p is not None], modality="image").T
        right += int(scores[0, 0] > scores[0, 1])
        n += 1
    yield {"row": "colour pairs, right colour first", "n": n, "value": round(100 * right / n, 1)}


def speed(encoder: Encoder, options: argparse.Namespace) -> Iterator[Row]:
    """Size and rates, decoding included for pictures; the machine should be idle."""
    from retrieval.encoders.starter_files import open_weights

    files = open_weights(options.weights)
    size = sum(f["size_bytes"] for f in files.manifest["files"].values())
    yield {"row": "weights MB", "value": round(size / 1e6, 2)}
    paths, _ = sets.photos(options.data, name="grocery")
    sets.encode_files(encoder, paths[:16], modality="image")
    start = time.perf_counter()
    sets.encode_files(encoder, paths[:192], modality="image")
    yield {
        "row": "pictures/s with decoding",
        "value": round(192 / (time.perf_counter() - start), 1),
    }
    loaded = [sets.sounds_of(p, spec=encoder.media) for p in sets.clips(options.data)[0][:48]]
    encoder.encode(loaded[:8], modality="audio")
    start = time.perf_counter()
    encoder.encode(loaded, modality="audio")
    yield {"row": "5 s clips/s", "value": round(48 / (time.perf_counter() - start), 1)}
    texts = [s.caption for s in sets.stamps(options.tuxpaint)] * 30
    encoder.encode(texts[:1000], modality="text")
    start = time.perf_counter()
    encoder.encode(texts, modality="text")
    yield {"row": "texts/s", "value": round(len(texts) / (time.perf_counter() - start))}


PARTS: dict[str, Callable[[Encoder, argparse.Namespace], Iterator[Row]]] = {
    "tuxpaint": tuxpaint,
    "sounds": sounds,
    "shops": shops,
    "colours": colours,
    "speed": speed,
}


def main() -> None:
    """Measure and print one JSON object per row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tuxpaint", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--openclipart", type=Path, default=Path("/usr/share/openclipart/svg"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--weights", type=Path, help="folder of other starter weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(PARTS), action="append")
    options = parser.parse_args()
    encoder = sets.opened(options.model, weights=options.weights, threads=options.threads)
    for name in options.only or PARTS:
        for row in PARTS[name](encoder, options):
            print(json.dumps({"model": options.model, **row}), flush=True)


if __name__ == "__main__":
    main()
