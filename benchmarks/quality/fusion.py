"""Which fusion rule ranks best, on the demo set and on photos of which only some have a caption?

    python -m benchmarks.quality.fusion [--data DATA] [--model starter] [--seed 0]

The demo relevance set: every concept of the demo is a query, its pictures, sounds and texts are
right. With --data (a folder with `grocery/val.csv` and `grocery/descriptions.csv`): photos of the
shop, three of each kind, of which every second one has its kind's sentence beside it as a caption;
queries are the kinds' names, and file names say nothing. Prints the table of `crossfind evaluate
--fusion all`, whose learnt rules are measured on held-out queries.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from retrieval.cli.evaluate_fusion import run_fusion
from retrieval.demo.run import load_demo
from retrieval.engine import Engine


def demo_rows() -> list[tuple[str, Path]]:
    """List (concept, file) of the demo set."""
    demo = load_demo()
    return [(item.concept, demo.path(item.name)) for item in demo.items]


def grocery_rows(data: Path, folder: Path, *, n: int = 3) -> list[tuple[str, Path]]:
    """Copy n photos of each kind under names that say nothing; caption every second one."""
    with (data / "grocery" / "descriptions.csv").open(newline="", encoding="utf-8") as file:
        sentences = {row["name"]: row["description"] for row in csv.DictReader(file)}
    counts: dict[str, int] = {}
    rows = []
    with (data / "grocery" / "val.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["name"]
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > n:
                continue
            copy = folder / f"{len(rows):04}.jpg"
            shutil.copy(data / "grocery" / row["path"], copy)
            if counts[name] % 2 == 0 and sentences.get(name):
                copy.with_suffix(".txt").write_text(sentences[name], encoding="utf-8")
            rows.append((name.replace("-", " "), copy))
    return rows


def compare(rows: Iterable[tuple[str, Path]], folder: Path, *, model: str, seed: int) -> None:
    """Index the files, write the table, print the figures."""
    rows = list(rows)
    table = folder / "relevance.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "item"])
        writer.writerows((query, path) for query, path in rows)
    with Engine.open(folder / "store", create=True, model=model) as engine:
        engine.add(*(path for _, path in rows))
    run_fusion(table, rules=["all"], store=str(folder / "store"), seed=seed, as_json=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "demo").mkdir()
        print("demo")
        compare(demo_rows(), folder / "demo", model=options.model, seed=options.seed)
        if options.data:
            (folder / "shop").mkdir()
            rows = grocery_rows(options.data, folder / "shop")
            print("shop")
            compare(rows, folder / "shop", model=options.model, seed=options.seed)


if __name__ == "__main__":
    main()
