"""Building: over raw faiss with the same key, and training of lists with our constants.

Raw faiss trains with its defaults, adds everything and writes a file that nothing guards. Ours
builds from a segment: sample, train, add by blocks, ids, hashed file. Training alone is compared
for IVF: faiss's defaults (10 iterations, 256 vectors a list) against ours, with the recall of both
for texts at the same number of lists read. `--set kinds=hnsw+ivf`, `lists=1024`.
"""

from __future__ import annotations

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.measure import Options, Row, quartiles, ratios
from benchmarks.synthetic import SyntheticSet, make_set
from index.build import Source, build_index
from index.derived import save_index
from index.exact import ExactIndex
from index.faiss_kinds import import_faiss
from index.ivf_training import train_coarse
from index.segment_block import SegmentBlock
from index.segments import open_segment, write_segment
from index.types import Plan

DEFAULTS = {"n": 100_000, "dim": 256}
THREADS = 2
K = 10
Parameters = Mapping[str, int | str]


def run(options: Options) -> list[Row]:
    """Race builds by turns, then trainings."""
    data = make_set(options.n, dim=options.dim, n_queries=500, seed=options.seed)
    n_lists = int(options.rest.get("lists", 2 ** round(np.log2(3 * options.n**0.5))))
    half = options.dim // 2
    builds: dict[str, tuple[str, Parameters]] = {
        "hnsw": ("HNSW32", {"m": 32, "ef_construction": 40}),
        "ivf": (f"IVF{n_lists},Flat", {"n_lists": n_lists}),
        "fastscan": (f"RR{options.dim},PQ{half}x4fs,RFlat", {}),
        "ivf_fastscan": (
            f"RR{options.dim},IVF{n_lists},PQ{half}x4fs,RFlat",
            {"n_lists": n_lists},
        ),
    }
    wanted = options.rest.get("kinds", "hnsw+ivf+fastscan+ivf_fastscan").split("+")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in (kind for kind in wanted if kind in builds):
            factory, parameters = builds[kind]
            rows.append(_build_row(kind, factory, parameters, data, pathlib.Path(folder), options))
    if "training" in wanted or "kinds" not in options.rest:
        rows += _training_rows(data, n_lists, options)
    return rows


def _build_row(
    kind: str,
    factory: str,
    parameters: Parameters,
    data: SyntheticSet,
    folder: pathlib.Path,
    options: Options,
) -> Row:
    faiss, pictures = import_faiss(), data.pictures
    info = write_segment(
        folder, pictures, ids=np.arange(len(pictures)), fingerprint="f", tmp=folder
    )
    plan = Plan(kind, factory, parameters)

    def raw() -> None:
        core = faiss.index_factory(options.dim, factory, faiss.METRIC_INNER_PRODUCT)
        core.train(pictures)
        core.add(pictures)
        faiss.write_index(core, str(folder / "raw"))

    def ours() -> None:
        segment = open_segment(folder / info.name, sha256=info.sha256)
        live = np.ones(len(pictures), np.bool_)
        source = Source(SegmentBlock(segment), segment.ids, live)
        built = build_index(plan, dim=options.dim, sources=[source])
        (folder / "ours").unlink(missing_ok=True)
        save_index(built, folder / "ours", tmp=folder, fingerprint="f")

    times = _by_turns({"ours": ours, "raw": raw}, rounds=min(3, options.rounds))
    values = ratios(times, "ours", "raw")
    return Row(
        f"build, {factory}",
        float(np.median(values)),
        target=1.10,
        at_most=True,
        spread=quartiles(values),
        details={name: round(float(np.median(of)), 2) for name, of in times.items()},
    )


def _by_turns(tasks: Mapping[str, Callable[[], None]], *, rounds: int) -> dict[str, list[float]]:
    """Time whole builds by turns; they are long enough to be timed once a turn."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            started_s = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started_s)
    return times


def _training_rows(data: SyntheticSet, n_lists: int, options: Options) -> list[Row]:
    """Train the same lists with faiss's constants, ours, and ours with texts in the mix."""
    exact = ExactIndex(options.dim)
    exact.add(data.pictures, ids=np.arange(options.n))
    half = len(data.text_queries) // 2
    judged = data.text_queries[half:]
    truth = exact.search(judged, k=K).ids
    texts = data.text_queries[:half]
    copies = max(1, options.n // 10 // len(texts))
    mixed = np.concatenate([data.pictures, np.repeat(texts, copies, axis=0)])
    given = {"default": data.pictures, "ours": data.pictures, "mixed": mixed}
    trained: dict[str, Any] = {}  # Any: faiss's classes have no types

    def train(name: str) -> None:
        lists = trained[name] = _empty_lists(n_lists, options.dim)
        if name == "default":
            lists.train(data.pictures)
        else:
            train_coarse(lists, given[name], seed=options.seed)
            lists.train(given[name][:n_lists])

    tasks = {name: functools.partial(train, name) for name in given}
    times = _by_turns(tasks, rounds=min(3, options.rounds))
    rows, probed = [], max(1, n_lists // 16)
    recalls = {}
    for name, lists in trained.items():
        lists.add(data.pictures)
        lists.nprobe = probed
        found = lists.search(judged, K)[1]
        shared = [np.isin(row, true).mean() for row, true in zip(found, truth, strict=True)]
        recalls[name] = float(np.mean(shared))
        values = ratios(times, name, "default")
        rows.append(
            Row(
                f"training of {n_lists} lists, {name}",
                float(np.median(values)),
                target=0.35 if name == "ours" else None,
                at_most=True,
                spread=quartiles(values),
                details={
                    "s": round(float(np.median(times[name])), 2),
                    "text recall": round(recalls[name], 4),
                },
            )
        )
    loss = recalls["default"] - recalls["ours"]
    rows.append(
        Row(f"text recall lost at nprobe {probed}", loss, target=0.01, at_most=True, unit="recall")
    )
    gain = recalls["mixed"] - recalls["ours"]
    rows.append(Row("text recall gained by texts in the mix", gain, unit="recall"))
    return rows


def _empty_lists(n_lists: int, dim: int) -> Any:  # Any: faiss's classes have no types
    faiss = import_faiss()
    lists = faiss.index_factory(dim, f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    lists.cp.min_points_per_centroid = 1
    return lists
