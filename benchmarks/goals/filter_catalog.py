"""What it costs to turn a condition on catalog fields into allowed ids, against one query."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Options, Row
from index.allowed import Allowed
from index.exact import ExactIndex
from index.types import Vectors
from retrieval.catalog.records import Batch, FileRecord, ItemRecord
from retrieval.catalog.store import Catalog
from retrieval.query.filters import allowed_parts
from retrieval.query.generation import Generation
from retrieval.query.where import parse_where
from retrieval.types import Part

# Conditions that half, a tenth, a hundredth and a thousandth of the items meet.
_CONDITIONS = ("width_px < 500", "width_px < 100", "width_px < 10", "width_px = 1")


def fill_catalog(folder: Path, n: int) -> Catalog:
    """Write a catalog of n pictures with one part each; item and part i + 1 are picture i."""
    catalog = Catalog.open(folder / "catalog.sqlite", uuid="goal", create=True)
    with catalog.writing() as writer:
        for start in range(0, n, 10_000):
            writer.apply(_batch(start, min(start + 10_000, n)))
    return catalog


def _batch(start: int, stop: int) -> Batch:
    files = tuple(
        FileRecord(f"/pictures/{i:07}.jpg", 1_000, 0, "", f"{i:064x}") for i in range(start, stop)
    )
    items = tuple(
        ItemRecord(
            id=i + 1,
            content_hash=f"{i:064x}",
            record=0,
            modality="image",
            format="jpeg",
            size_bytes=1_000,
            width_px=i * 7_919 % 1_000,
            height_px=500,
            duration_s=None,
            caption=None,
            flags=(),
            parts=(Part(i + 1, i + 1, "image", None, None, None),),
        )
        for i in range(start, stop)
    )
    return Batch(files=files, items=items, next_item_id=stop + 1, next_part_id=stop + 1)


def catalog_rows(options: Options, pictures: Vectors) -> list[Row]:
    """Time conditions the first time and once a generation keeps them."""
    exact = ExactIndex(options.dim)
    exact.add(pictures, ids=np.arange(1, len(pictures) + 1))
    query = pictures[:1]
    query_s = _median_s(lambda: exact.search(query, k=10))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        catalog = fill_catalog(Path(folder), len(pictures))
        for text in _CONDITIONS:
            condition = parse_where(text)
            generation = Generation(number=1, spaces={})

            def compile_(generation: Generation | None = None, condition=condition) -> Allowed:
                found = allowed_parts(
                    part_modalities=None,
                    modality=None,
                    condition=condition,
                    reader=reader,
                    generation=generation or Generation(number=1, spaces={}),
                )
                assert found is not None
                return found

            with catalog.reading() as reader:
                first_s = _median_s(compile_)
                kept_s = _median_s(lambda made=generation, do=compile_: do(made))
            details = {"first_ms": 1_000 * first_s, "query_ms": 1_000 * query_s}
            rows += [
                Row(
                    f"compile '{text}' / one exact unfiltered query",
                    first_s / query_s,
                    target=1.0,
                    at_most=True,
                    details={name: round(value, 2) for name, value in details.items()},
                    note="of an index that compares every vector; next time it is kept",
                ),
                Row(f"'{text}' kept / one exact query", kept_s / query_s, target=1.0, at_most=True),
            ]
        catalog.close()
    return rows


def _median_s(task, n: int = 9) -> float:
    times = []
    task()
    for _ in range(n):
        started_s = time.perf_counter()
        task()
        times.append(time.perf_counter() - started_s)
    return statistics.median(times)
