"""Train heads on the clothing and grocery pictures and measure them on the split never trained on.

    python benchmarks/quality/heads.py --data DIR [--out DIR] [--base starter] [--only clothing]

DIR holds clothing/ and grocery/ with their tables (train.csv, validation.csv or val.csv: path,
split, name, and coarse_name for grocery). Both halves go through the command line that users have:
`crossfind train heads --refit` on the train split, `crossfind evaluate --labels` on the other.
Nothing is chosen by the other split: how long to train and the learnt share are found with rows
held out of the train split, all of which then train.
Groceries are photographed in series; neighbouring numbers of one product stay on one side.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_SETS = {"clothing": ("validation", "name"), "grocery": ("val", "coarse_name")}
_SERIES = 8


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _group(row: dict[str, str], *, name: str) -> str:
    """Name the series of a grocery picture; a piece of clothing stands for itself."""
    stem = Path(row["path"]).stem
    number = stem.rpartition("_")[2]
    if name != "grocery" or not number.isdigit():
        return row["path"]
    return f"{row['name']} {int(number) // _SERIES}"


def _crossfind(*arguments: str) -> dict[str, object]:
    code = "from retrieval.cli import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--json"], stdout=subprocess.PIPE, check=False
    )
    if not done.stdout.strip():
        raise SystemExit(f"crossfind {' '.join(arguments)} ended with {done.returncode}")
    out: dict[str, object] = json.loads(done.stdout)
    return out


def run(name: str, *, data: Path, out: Path, base: str, more: list[str]) -> dict[str, object]:
    """Train and measure one data set: figures by name."""
    split, column = _SETS[name]
    folder = data / name
    pairs = [
        [str((folder / r["path"]).absolute()), r[column], _group(r, name=name)]
        for r in _rows(folder / "train.csv")
    ]
    labels = [
        [str((folder / r["path"]).absolute()), r[column]] for r in _rows(folder / f"{split}.csv")
    ]
    train = _write(out / f"{name}_train.csv", ["image", "text", "group"], pairs)
    held = _write(out / f"{name}_{split}.csv", ["path", "label"], labels)
    model = out / f"{name}.model"
    trained = _crossfind(
        "train", "heads", "--pairs", str(train), "--base", base, "--out", str(model),
        "--cache", str(out / "cache"), "--seed", "0", "--refit", *more,
    )  # fmt: skip
    figures: dict[str, object] = {"set": name, "split": split, "n_rows": len(labels)}
    for label, which in (("base", base), ("heads", str(model))):
        report = _crossfind("evaluate", "--labels", str(held), "--model", which)
        figures[label] = report["zero_shot_accuracy"]
    figures["n_pairs_in"] = trained["n_rows"]  # the train split, cut in three
    return figures | {key: trained[key] for key in ("shares", "training", "seconds")}


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="folder for models and cached features; kept")
    parser.add_argument("--base", default="starter")
    parser.add_argument("--only", choices=sorted(_SETS))
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as spare:
        out = (options.out or Path(spare)).absolute()
        out.mkdir(parents=True, exist_ok=True)
        names = [options.only] if options.only else sorted(_SETS)
        results = [run(n, data=options.data, out=out, base=options.base, more=more) for n in names]
    for result in results:
        told = {key: result[key] for key in ("base", "heads")}
        line = ", ".join(
            f"{key} {100 * v['value']:.1f} % ({100 * v['low']:.1f} to {100 * v['high']:.1f})"
            for key, v in told.items()
            if isinstance(v, dict)
        )
        print(f"{result['set']:10} {result['split']:10} {line}")
    print(json.dumps(results, sort_keys=True))


if __name__ == "__main__":
    main()
