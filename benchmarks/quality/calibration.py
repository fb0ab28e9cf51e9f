"""Do calibrated scores tell present concepts from absent ones, and does centring help?

    python -m benchmarks.quality.calibration --data DATA [--model starter] [--n 4]

DATA holds `grocery/val.csv` and `esc10/clips.csv`: labelled pictures and sounds. Half of the
labels of each (every second one) is stored, N files a label; the other half is what a user asks
for in vain. Prints JSON: per direction AUROC of the best hit's cosine, z and confidence for
present against absent labels, R@10 of texts with and without centring, and the share of pictures
and sounds in mixed lists against their share among the relevant.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from retrieval.engine import Engine
from retrieval.query.calibrate import Calibrator
from retrieval.query.grammar import make_query
from retrieval.query.search import search
from retrieval.types import Hit


def auroc(present: Sequence[float], absent: Sequence[float]) -> float:
    """Give the share of pairs in which the present one is higher; a tie is half a pair."""
    one, other = np.asarray(present)[:, None], np.asarray(absent)[None, :]
    return float((one > other).mean() + 0.5 * (one == other).mean())


def labelled(path: Path) -> dict[str, list[Path]]:
    """Read label -> files from a csv with a path and a label column."""
    files: dict[str, list[Path]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = next(row[n] for n in ("path", "file", "image") if n in row)
            label = next((row[n] for n in ("coarse_name", "name") if n in row), "")
            files[(label or Path(name).parent.name).replace("_", " ").lower()].append(
                path.parent / name
            )
    return dict(files)


def recall(hits: Iterable[Hit], right: set[str]) -> float:
    """Give the share of the right ones (at most 10) among the hits."""
    return sum(hit.path in right for hit in hits) / min(10, len(right))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--n", type=int, default=4)
    options = parser.parse_args()
    sets = {
        "image": labelled(options.data / "grocery" / "val.csv"),
        "audio": labelled(options.data / "esc10" / "clips.csv"),
    }
    stored: dict[str, dict[str, set[str]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine.open(Path(folder) / "store", create=True, model=options.model) as engine,
    ):
        for modality, by_label in sets.items():
            n = options.n if modality == "image" else 4 * options.n
            kept = {label: by_label[label][:n] for label in sorted(by_label)[::2]}
            engine.add(*(path for paths in kept.values() for path in paths))
            stored[modality] = {x: {str(p.absolute()) for p in kept[x]} for x in kept}
        print(json.dumps(measure(engine, sets, stored), indent=2))


def measure(
    engine: Engine,
    sets: dict[str, dict[str, list[Path]]],
    stored: dict[str, dict[str, set[str]]],
) -> dict[str, object]:
    """Search every label, present or not, and compare."""
    report: dict[str, object] = {}
    with engine.serving.reading() as (reader, generation):
        for centred in (False, True):
            pairs = frozenset(("text", part) for part in ("image", "audio")) if centred else None
            calibrator = Calibrator(
                reader=reader,
                generation=generation,
                encoder=engine.encoder,
                centred=pairs or frozenset(),
            )
            for modality, by_label in sets.items():
                best: dict[bool, list[Hit]] = {True: [], False: []}
                recalls = []
                for label in sorted(by_label):
                    hits = search(
                        make_query(label, k=10, modality=modality, hybrid=False),
                        reader=reader,
                        generation=generation,
                        encoder=engine.encoder,
                        loader=engine.serving.loader,
                        calibrator=calibrator,
                    )
                    right = stored[modality].get(label, set())
                    best[bool(right)].append(hits[0])
                    recalls += [recall(hits, right)] if right else []
                report[f"text->{modality}{' centred' if centred else ''}"] = {
                    "n_present": len(best[True]),
                    "n_absent": len(best[False]),
                    "recall_at_10": round(float(np.mean(recalls)), 3),
                    **{
                        f"auroc_{name}": round(auroc(*(
                            [float(getattr(h, name) or 0) for h in best[p]] for p in (True, False)
                        )), 3)
                        for name in ("cosine", "z", "confidence")
                    },
                }  # fmt: skip
    report["any kind"] = pooled(engine, sets, stored)
    report["mixed"] = mixed(engine, stored)
    return report


def pooled(
    engine: Engine,
    sets: dict[str, dict[str, list[Path]]],
    stored: dict[str, dict[str, set[str]]],
) -> dict[str, float]:
    """Compare present with absent labels of all sets, where a user does not say what kind to find.

    Cosines of sounds and of pictures are not alike; what is sure of a label in one scale is not in
    the other.
    """
    best: dict[str, dict[bool, list[float]]] = {
        name: {True: [], False: []} for name in ("cosine", "confidence")
    }
    for modality, by_label in sets.items():
        for label in by_label:
            tops = [engine.search(label, k=1, modality=m, hybrid=False)[0] for m in sets]
            is_present = label in stored[modality]
            best["cosine"][is_present].append(max(hit.cosine for hit in tops))
            best["confidence"][is_present].append(max(hit.confidence or 0.0 for hit in tops))
    return {
        f"auroc_{name}": round(auroc(found[True], found[False]), 3) for name, found in best.items()
    }


def mixed(engine: Engine, stored: dict[str, dict[str, set[str]]]) -> dict[str, float]:
    """Give the share of pictures among the first 20, per label, and among the relevant of a label.

    Every label counts alike on both sides: of a label of pictures all relevant items are pictures.
    """
    shares: dict[str, dict[str, list[float]]] = {
        order: {modality: [] for modality in stored} for order in ("confidence", "cosine")
    }
    for modality, by_label in stored.items():
        for label in by_label:
            hits = engine.search(label, k=20, hybrid=False)
            shares["confidence"][modality].append(_share(hits))
            each = [engine.search(label, k=20, modality=m, hybrid=False) for m in stored]
            by_cosine = sorted((h for hits in each for h in hits), key=lambda h: -h.score)
            shares["cosine"][modality].append(_share(by_cosine[:20]))
    n_labels = sum(map(len, stored.values()))
    report = {"image_share_relevant": round(len(stored["image"]) / n_labels, 3)}
    for order, found in shares.items():
        everything = [share for own in found.values() for share in own]
        report[f"image_share_by_{order}"] = round(float(np.mean(everything)), 3)
        for modality, own in found.items():
            report[f"image_share_by_{order} of {modality} labels"] = round(float(np.mean(own)), 3)
    return report


def _share(hits: Sequence[Hit]) -> float:
    return sum(hit.modality == "image" for hit in hits) / max(1, len(hits))


if __name__ == "__main__":
    main()
