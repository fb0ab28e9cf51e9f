"""What words beside vectors are worth: recall with and without, where names help, say nothing, lie.

    python -m benchmarks.quality.hybrid --data DATA [--stamps DIR] [--model starter] [--n 6]

DATA holds `grocery/val.csv`; DIR captioned pictures (tuxpaint-stamps-default). Prints JSON, per set
R@1 and R@10 of the vectors alone, of the hybrid search, and the least R@10 that its bound allows
(of the first 10 by vector, those that cannot have been pushed out):
    names     grocery photos in folders named by class; every class name is asked
    opaque    the same photos named by number: words find nothing
    lying     the same photos, each named by a class it is not of
    captions  pictures with a caption each; half of the telling words of each are asked
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.quality.calibration import labelled
from benchmarks.quality.starter_sets import stamps
from retrieval.catalog.words import query_words
from retrieval.engine import Engine
from retrieval.query.hybrid import allowance

K = 10
_SEED = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--n", type=int, default=6)
    options = parser.parse_args()
    photos = labelled(options.data / "grocery" / "val.csv")
    kept = {label: paths[: options.n] for label, paths in sorted(photos.items())}
    report = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("names", "opaque", "lying"):
            wanted = lay_out(kept, folder / kind, kind=kind)
            report[kind] = measure(folder / kind, wanted, model=options.model)
        wanted = lay_out_captions(options.stamps, folder / "captions", n=20 * options.n)
        report["captions"] = measure(folder / "captions", wanted, model=options.model)
    print(json.dumps(report, indent=2))


def lay_out(
    photos: Mapping[str, Sequence[Path]], folder: Path, *, kind: str
) -> list[tuple[str, set[str]]]:
    """Copy photos under names that help, say nothing or lie; give queries and right paths."""
    labels = list(photos)
    lies = labels[7:] + labels[:7]
    wanted = []
    for label, lie in zip(labels, lies, strict=True):
        right = set()
        for number, path in enumerate(photos[label]):
            place = {"names": label, "opaque": "photos", "lying": lie}[kind]
            serial = labels.index(label) * 1000 + number
            target = folder / place / f"{serial}{path.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            right.add(str(target.absolute()))
        wanted.append((label, right))
    return wanted


def lay_out_captions(source: Path, folder: Path, *, n: int) -> list[tuple[str, set[str]]]:
    """Copy captioned pictures under numbers; ask for half of the words of each caption."""
    rng = random.Random(_SEED)
    folder.mkdir(parents=True)
    found = [stamp for stamp in stamps(source) if stamp.path.suffix == ".png"]
    wanted = []
    for number, stamp in enumerate(rng.sample(found, min(n, len(found)))):
        target = folder / f"{number}.png"
        shutil.copy(stamp.path, target)
        target.with_suffix(".txt").write_text(stamp.caption)
        telling = query_words(stamp.caption)
        asked = rng.sample(telling, (len(telling) + 1) // 2)
        wanted.append((" ".join(asked), {str(target.absolute())}))
    return wanted


def measure(
    folder: Path, wanted: Sequence[tuple[str, set[str]]], *, model: str
) -> dict[str, float]:
    """Ask everything twice."""
    sums = dict.fromkeys(("r@1 vectors", "r@1", "r@10 vectors", "r@10", "r@10 at least"), 0.0)
    # What is within the first `sure` of the vectors is within the first K of any fused list.
    sure = max(rank for rank in range(1, K + 1) if rank + allowance(rank) <= K)
    with Engine.open(folder / "store", create=True, model=model) as engine:
        engine.add(folder)
        for query, right in wanted:
            alone = [h.path for h in engine.search(query, k=K, hybrid=False, modality="image")]
            fused = [h.path for h in engine.search(query, k=K, modality="image")]
            most = min(K, len(right))
            sums["r@1 vectors"] += alone[0] in right
            sums["r@1"] += fused[0] in right
            sums["r@10 vectors"] += len(right.intersection(alone)) / most
            sums["r@10"] += len(right.intersection(fused)) / most
            sums["r@10 at least"] += len(right.intersection(alone[:sure])) / most
    return {name: round(total / len(wanted), 3) for name, total in sums.items()}


if __name__ == "__main__":
    main()
