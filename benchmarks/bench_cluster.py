"""What a local cluster of Ray costs over the same cores without it, and whether it changes a store.

    python -m benchmarks.bench_cluster --data DIR [--n 5000] [--model starter] [--workers 2]

DIR is any folder of media. The same files are added once with Ray and once without, with as many
workers; the seconds are those of `Engine.add`, and hold the start of the cluster and its actors,
some ten seconds, which more files outweigh.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.report import tell
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.media import scan

QUERIES = ("a dog", "a red thing", "rain", "something to eat", "a machine")


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of media")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    settings = load_settings({"workers": options.workers, "threads": options.workers})
    files = [found.path for found in scan([options.data], on_skip=lambda _: None)][: options.n]
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, float] = {}
        engines: dict[str, Engine] = {}
        for name, on in (("alone", ""), ("ray", "ray")):
            engine = Engine.open(
                Path(folder) / name, create=True, model=options.model, settings=settings
            )
            figures[name] = engine.add(*files, on=on).seconds
            engines[name] = engine
        alone, ray = engines["alone"], engines["ray"]
        same = sum(
            [(h.item_id, h.path) for h in alone.search(text, k=20)]
            == [(h.item_id, h.path) for h in ray.search(text, k=20)]
            for text in QUERIES
        )
        apart = _apart(alone, ray)
        tell(
            "cluster",
            {
                "files": len(files),
                "model": options.model,
                "seconds alone": figures["alone"],
                "seconds with Ray, its start included": figures["ray"],
                "overhead": figures["ray"] / figures["alone"] - 1,
                "target of it": 0.15,
                "same ids": alone.status().n_parts == ray.status().n_parts,
                "largest difference of a vector": apart,
                "same twenty answers": f"{same} of {len(QUERIES)}",
            },
        )
        for engine in engines.values():
            engine.close()


def _apart(one: Engine, other: Engine) -> float:
    """Tell the largest difference between the vectors of two stores, by part id."""
    worst = 0.0
    with one.serving.reading() as (_, left), other.serving.reading() as (_, right):
        for name, space in left.spaces.items():
            ids = space.ids()
            if not np.array_equal(ids, right.spaces[name].ids()):
                return float("inf")
            mine, theirs = space.lookup(ids), right.spaces[name].lookup(ids)
            a, b = mine[1][np.argsort(mine[0])], theirs[1][np.argsort(theirs[0])]
            worst = max(worst, float(np.abs(a - b).max(initial=0)))
    return worst


if __name__ == "__main__":
    main()
