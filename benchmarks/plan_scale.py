"""What 100 million and a billion parts would take, on paper: constants times counts, no more.

    python -m benchmarks.plan_scale [--dim 512] [--gpu-hour 4] [--gb-hour 0.0083] [--gb-month 0.023]

Nothing here was run at these sizes. Each constant says where it comes from: `measured` on the two
cores that every other figure of the README is from, `counted`, `estimated` or `cited`. Prices are
options, in dollars; the defaults are lists of May 2026: a GPU of the H200's class by the hour, a
gigabyte of a memory-heavy instance by the hour (an eighth of a core comes along), and of object
storage by the month.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from index.remote_plan import choose_remote

COUNTS = (100_000_000, 1_000_000_000)
MILVUS_MEMORY_BYTES = 256 << 30
HOURS_A_MONTH = 730.0


@dataclass(frozen=True, slots=True)
class Constant:
    """A figure that the plan is made of, and where it comes from."""

    value: float
    source: str


CONSTANTS = {
    "pictures/s, starter, 2 cores": Constant(80.0, "measured, MODEL_CARD.md"),
    "clips/s, starter, 2 cores": Constant(29.3, "measured, MODEL_CARD.md"),
    "pictures/s, ViT-B-32, 2 cores": Constant(16.0, "measured, benchmarks.bench_clip"),
    "pictures/s, ViT-B-32, one 4090": Constant(12_645, "cited, timm results/*.csv, forward only"),
    "pictures/s, ViT-L-14, one 4090": Constant(805, "cited, timm results/*.csv, forward only"),
    "of that with files": Constant(0.9, "measured on the CPU (.941), benchmarks.bench_clip"),
    "decoded 720p JPEGs/s, one core": Constant(223, "cited, torchcodec PR 1620, Pillow"),
    "bytes of the catalog a part": Constant(800, "measured, 80.0 MB of SQLite at 100,000 items"),
    "bytes a part in a process that searches": Constant(26, "counted: ids, their order, marks"),
    "parts/s that a filter reads": Constant(2.3e6, "measured, catalog/ids.py, warm SQLite"),
    "searches/s, one core, without the index": Constant(
        250, "estimated: 4.0 of 6.3 ms, bench_server"
    ),
    "searches/s, DISKANN, a billion texts": Constant(9_307, "cited, big-ann 2021 T3, one machine"),
}


def main() -> None:
    """Print the plan as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--gpu-hour", type=float, default=4.0)
    parser.add_argument("--gb-hour", type=float, default=0.0083)
    parser.add_argument("--gb-month", type=float, default=0.023)
    options = parser.parse_args()
    columns = [
        plan(n, dim=options.dim, gpu_hour=options.gpu_hour, gb_hour=options.gb_hour,
             gb_month=options.gb_month)
        for n in COUNTS
    ]  # fmt: skip
    print(f"| on paper, {options.dim} dimensions | 100 million parts | 1 billion parts |")
    print("|---|---|---|")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")
    print("\nConstants:")
    for name, constant in CONSTANTS.items():
        print(f"- {name}: {constant.value:,g} ({constant.source})")


def plan(n: int, *, dim: int, gpu_hour: float, gb_hour: float, gb_month: float) -> dict[str, str]:
    """Compute what n parts take.

    Args:
        n: parts.
        dim: length of a vector.
        gpu_hour: dollars for an H200-class GPU.
        gb_hour: dollars for a gigabyte of memory.
        gb_month: dollars for a gigabyte of object storage.

    Returns:
        What -> how much, for people.
    """
    b32 = _rate("pictures/s, ViT-B-32, one 4090") * _rate("of that with files")
    l14 = _rate("pictures/s, ViT-L-14, one 4090") * _rate("of that with files")
    segments_gb, catalog_gb = n * 2 * dim / 1e9, n * _rate("bytes of the catalog a part") / 1e9
    built = choose_remote(n, dim=dim, memory_bytes=MILVUS_MEMORY_BYTES)
    server_gb = n * _rate("bytes a part in a process that searches") / 1e9
    milvus_gb = built.memory_bytes / 1e9
    memory = (2 * server_gb + milvus_gb) * gb_hour * HOURS_A_MONTH
    storage = (segments_gb + catalog_gb + n * 4 * dim / 1e9) * gb_month
    return {
        "encode with `starter`, pictures, on CPUs": _hours(n, _rate(_STARTER) / 2, "core-hours"),
        "encode with ViT-B-32, one GPU": _hours(n, b32, "GPU-hours", price=gpu_hour),
        "cores that decode 720p JPEGs for that GPU": _count(b32 / _rate(_DECODED)),
        "encode with ViT-L-14, one GPU": _hours(n, l14, "GPU-hours", price=gpu_hour),
        "segments, float16": _size(segments_gb),
        "catalog": _size(catalog_gb),
        "Milvus builds, with 256 GB of memory": f"{built.factory}, {_size(milvus_gb)}",
        "memory of each `crossfind serve`": _size(server_gb),
        "a filter used for the first time": f"{n / _rate('parts/s that a filter reads'):,.0f} s",
        "searches a second, each core of a server": _count(_rate(_ALONE)),
        "searches a second, one DISKANN machine at most": _count(_rate(_DISKANN)),
        "memory and storage a month, two servers": f"${memory:,.0f} + ${storage:,.0f}",
    }


_STARTER = "pictures/s, starter, 2 cores"
_DECODED = "decoded 720p JPEGs/s, one core"
_ALONE = "searches/s, one core, without the index"
_DISKANN = "searches/s, DISKANN, a billion texts"


def _rate(name: str) -> float:
    return CONSTANTS[name].value


def _hours(n: int, per_s: float, unit: str, *, price: float | None = None) -> str:
    hours = n / per_s / 3600
    return (
        f"{hours:,.1f} {unit}" if price is None else f"{hours:,.1f} {unit}, ${hours * price:,.0f}"
    )


def _size(gb: float) -> str:
    return f"{gb / 1000:,.2f} TB" if gb >= 1000 else f"{gb:,.1f} GB"


def _count(number: float) -> str:
    return f"{number:,.0f}"


if __name__ == "__main__":
    main()
