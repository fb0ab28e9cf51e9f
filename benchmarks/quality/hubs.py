"""Do hub correction and centring find more, per direction?

    python -m benchmarks.quality.hubs --data DIR [--model starter] [--seed 0]

DIR holds `grocery/val.csv` with `descriptions.csv`, `clothing/` and `esc10/clips.csv`; the demo
set comes along. For each direction the labels are dealt in two halves by seed: alpha is chosen on
the queries of one half, R@10 is that of the other half's queries, then the other way round; the
gallery is whole (R@10: the share of the right items, at most 10, among the first 10). Banks: the
everyday texts of `retrieval.query.bank`; for pictures and sounds as queries, the choosing half.
`hubs` and `both` are with the strength that is best for the choosing half, 0 excepted; `alpha` is
what the rule of `choose_alpha` allows, off where the gain may be chance.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality.calibration import labelled
from index.types import Vectors
from retrieval.demo.run import load_demo
from retrieval.encoders.base import Encoder
from retrieval.encoders.registry import open_encoder
from retrieval.media import Loader, find_file
from retrieval.query.bank import TEXTS
from retrieval.query.calibrate import CENTRED
from retrieval.query.hubs import ALPHAS, choose_alpha, hub_bias
from retrieval.types import Modality

N_PICTURES, N_SOUNDS = 6, 30
WAYS = ("plain", "centred", "hubs", "both")


@dataclass(frozen=True)
class Side:
    """Vectors with labels: float32 [N, D], unit length, and one label a row."""

    modality: Modality
    vectors: Vectors
    labels: list[str]


def main() -> None:
    """Measure and print a table; --json for a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    encoder = open_encoder(options.model, threads=2)
    sets = read_sets(encoder, options.data)
    centred = CENTRED.get(options.model, frozenset())
    rows = []
    for name, (one, other) in sets.items():
        for queries, items in ((one, other), (other, one)):
            direction = (queries.modality, items.modality)
            figures = measure(encoder, queries, items, seed=options.seed)
            rows.append({"set": name, "direction": "->".join(direction), **figures,
                         "centred_by_default": direction in centred})  # fmt: skip
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'R@10':<26}{'n':>5}{'plain':>8}{'centred':>9}{'hubs':>7}{'both':>7}   alpha")
    for row in rows:
        print(
            f"{row['set']:<10}{row['direction']:<16}{row['n_queries']:>5}{row['plain']:>8.3f}"
            f"{row['centred']:>9.3f}{row['hubs']:>7.3f}{row['both']:>7.3f}   "
            f"{row['alpha']}{'  centred by default' if row['centred_by_default'] else ''}"
        )


def read_sets(encoder: Encoder, data: Path) -> dict[str, tuple[Side, Side]]:
    """Encode labels and files; a text stands for a label, by name or by its sentence."""
    shop = labelled(data / "grocery" / "val.csv")
    clips = labelled(data / "esc10" / "clips.csv")
    worn = labelled(data / "clothing" / "validation.csv")
    demo: dict[Modality, dict[str, list[Path]]] = {"image": {}, "audio": {}}
    for item in load_demo().items:
        if item.modality in demo:
            demo[item.modality].setdefault(item.concept, []).append(load_demo().path(item.name))
    with (data / "grocery" / "descriptions.csv").open(newline="", encoding="utf-8") as file:
        sentences = [(r["description"], r["coarse_name"].replace("-", " ").lower())
                     for r in csv.DictReader(file)]  # fmt: skip
    with Loader(spec=encoder.media) as loader:
        pictures = _files(encoder, loader, "image", shop, N_PICTURES)
        clothes = _files(encoder, loader, "image", worn, 5 * N_PICTURES)
        sounds = _files(encoder, loader, "audio", clips, N_SOUNDS)
        seen = _files(encoder, loader, "image", demo["image"], N_PICTURES)
        heard = _files(encoder, loader, "audio", demo["audio"], N_PICTURES)
    return {
        "shop": (_texts(encoder, [(x, x) for x in sorted(shop)]), pictures),
        "sentence": (_texts(encoder, sentences), pictures),
        "clothing": (_texts(encoder, [(x, x) for x in sorted(worn)]), clothes),
        "esc10": (_texts(encoder, [(x, x) for x in sorted(clips)]), sounds),
        "demo": (_texts(encoder, [(x, x) for x in sorted(demo["image"])]), seen),
        "demo 2": (heard, seen),
    }


def _texts(encoder: Encoder, pairs: Sequence[tuple[str, str]]) -> Side:
    vectors = encoder.encode([text for text, _ in pairs], modality="text")
    return Side("text", vectors, [label for _, label in pairs])


def _files(
    encoder: Encoder, loader: Loader, modality: Modality, by_label: dict[str, list[Path]], n: int
) -> Side:
    labels, payloads = [], []
    for label in sorted(by_label):
        for path in by_label[label][:n]:
            payloads.append(loader.load(find_file(path)).parts[0].payload)
            labels.append(label)
    return Side(modality, encoder.encode(payloads, modality=modality), labels)


def measure(encoder: Encoder, queries: Side, items: Side, *, seed: int) -> dict[str, object]:
    """Give R@10 in the four ways, each half of the queries with what the other half chose."""
    names = sorted(set(queries.labels) & set(items.labels))
    chosen = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2].tolist())
    known = np.array([label in names for label in queries.labels])
    half = np.array([label in chosen for label in queries.labels])
    texts = encoder.encode(list(TEXTS), modality="text")
    found: dict[str, list[np.ndarray]] = {name: [] for name in WAYS}
    alphas = []
    for choosing in (half, ~half):
        bank = texts if queries.modality == "text" else queries.vectors[choosing]
        rows = np.flatnonzero(known & choosing), np.flatnonzero(known & ~choosing)
        own = _halves(queries, items, bank=bank[bank.any(axis=1)], rows=rows)
        alphas.append(own.pop("alpha"))
        for name, values in own.items():
            found[name].append(values)
    means = {name: round(float(np.concatenate(found[name]).mean()), 3) for name in WAYS}
    shown = "/".join(str(float(alpha)) if alpha else "off" for alpha in alphas)
    return {"n_queries": int(known.sum()), **means, "alpha": shown}


def _halves(
    queries: Side, items: Side, *, bank: Vectors, rows: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    validation, test = rows
    out: dict[str, np.ndarray] = {}
    for name, corrected, shift in (
        ("plain", "hubs", np.zeros(bank.shape[1])),
        ("centred", "both", bank.mean(axis=0)),
    ):
        asked, centre = _unit(queries.vectors - shift), _unit(bank - shift)
        bias = hub_bias(items.vectors, bank=centre)
        scores = asked @ items.vectors.T
        quality = {a: _recall(scores - a * bias, queries, items, validation) for a in ALPHAS}
        choice = choose_alpha(quality)
        best = max(ALPHAS[1:], key=lambda alpha: choice.values[alpha])
        out[name] = _recall(scores, queries, items, test)
        out[corrected] = _recall(scores - best * bias, queries, items, test)
        out.setdefault("alpha", np.float64(choice.alpha))
    return out


def _recall(scores: np.ndarray, queries: Side, items: Side, rows: np.ndarray) -> np.ndarray:
    labels = np.array(items.labels)
    out = []
    for row in rows:
        right = labels == queries.labels[row]
        if queries.modality == items.modality:
            right[row] = False
        first = np.argsort(-scores[row], kind="stable")[:10]
        out.append(right[first].sum() / min(10, max(1, right.sum())))
    return np.array(out, dtype=np.float64)


def _unit(rows: np.ndarray) -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-6), dtype=np.float32)


if __name__ == "__main__":
    main()
