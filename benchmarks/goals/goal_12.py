"""Exact search on a GPU against what the device can do: bandwidth, matrix product, topk, the CPU.

Random unit vectors made on the device, in float16. One query reads every row: its bytes a second
are compared with those of a copy within the device. A batch of 1,024 multiplies: its rate, choosing
ten answers included, is compared with that of a product of 8,192 x 8,192 in bfloat16, and its time
with that of one product and `topk` over all of it. Answers are compared with those of the CPU over
the first 100,000 rows. Where faiss sees a GPU, too, its flat index is raced with ours around it.
Needs a GPU that torch sees; `--set device=cpu` with a small n runs the same lines on the CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Options, Row, Times, quartiles, race, ratio_row
from index.errors import BackendMissingError
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.faiss_kinds import import_faiss
from index.gpu import n_gpus, place
from index.torch_exact import TorchExactIndex
from index.types import Vectors

DEFAULTS = {"n": 10_000_000, "dim": 768}
THREADS = 16
K, LARGE_BATCH, BLOCK, N_CHECKED = 10, 1_024, 262_144, 100_000
SIDE, COPIED_VALUES = 8_192, 1 << 31

Tensor = Any  # torch is imported only where the goal runs


def run(options: Options) -> list[Row]:
    """Fill the index, then race it against copies, products and the CPU."""
    device = options.rest.get("device", "cuda")
    try:
        ix = TorchExactIndex(options.dim, device=device)
    except BackendMissingError as error:
        sys.exit(f"goal 12 cannot run here: {error}")
    side = int(options.rest.get("side", SIDE))
    n_copied = int(options.rest.get("copied", COPIED_VALUES))
    import torch

    torch.manual_seed(options.seed)
    first = _fill(torch, ix, options, device=device)
    queries = _unit(torch, LARGE_BATCH, options.dim, device=device).cpu().numpy()
    with torch.inference_mode():
        times = _times(torch, ix, queries, device=device, side=side, n_copied=n_copied, of=options)
    n_bytes, n_products = 2 * options.n * options.dim, 2 * LARGE_BATCH * options.n * options.dim
    return [
        _rate_row("batch 1: bytes a second / of a copy", times, "one", "copy",
                  n_bytes, 4 * n_copied, target=0.70, unit_of=1e12, unit="TB_s"),
        _rate_row(f"batch {LARGE_BATCH}: products a second / of {side} x {side}", times, "many",
                  "product", n_products, 2 * side**3, target=0.45, unit_of=1e12, unit="TFLOP_s"),
        ratio_row(f"batch {LARGE_BATCH}: speed over one product and topk", times, subject="plain",
                  peer="many", target=1.5),
        _agreement(ix, first, queries, options),
        *_faiss_rows(first, queries, options),
    ]  # fmt: skip


def _fill(torch: Any, ix: TorchExactIndex, options: Options, *, device: str) -> Vectors:
    """Fill the index by blocks; give the first rows of all."""
    first = np.empty((0, options.dim), np.float32)
    for start in range(0, options.n, BLOCK):
        n = min(BLOCK, options.n - start)
        rows = _unit(torch, n, options.dim, device=device).cpu().numpy()
        ix.add(rows, ids=np.arange(start, start + n))
        first = first if len(first) else rows[:N_CHECKED]
    return first


def _unit(torch: Any, n: int, dim: int, *, device: str) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, dim, device=device), dim=1)


def _times(
    torch: Any,
    ix: TorchExactIndex,
    queries: Vectors,
    *,
    device: str,
    side: int,
    n_copied: int,
    of: Options,
) -> Times:
    """Race searches with what bounds them, each waited for."""
    dtype = torch.float32 if device == "cpu" else torch.float16
    rows, asked = ix._rows[: of.n], torch.from_numpy(queries).to(device).to(dtype)
    source, sink = (torch.empty(n_copied, dtype=torch.float16, device=device) for _ in range(2))
    left, right = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))

    def waited(task: Callable[[], object]) -> Callable[[], None]:
        def wait() -> None:
            task()
            if device != "cpu":
                torch.cuda.synchronize()

        return wait

    tasks: dict[str, Callable[[], object]] = {
        "copy": lambda: sink.copy_(source),
        "product": lambda: left @ right,
        "one": lambda: ix.search(queries[:1], k=K),
        "many": lambda: ix.search(queries, k=K),
        "plain": lambda: (asked @ rows.T).topk(K, dim=1),
    }
    return race(
        {name: waited(task) for name, task in tasks.items()}, rounds=of.rounds, min_s=of.min_s
    )


def _rate_row(
    name: str,
    times: Times,
    subject: str,
    peer: str,
    work: float,
    peer_work: float,
    *,
    target: float,
    unit_of: float,
    unit: str,
) -> Row:
    """Compare two rates, each its work over its time; a copy reads and writes each byte."""
    mine = [work / seconds / unit_of for seconds in times[subject]]
    its = [peer_work / seconds / unit_of for seconds in times[peer]]
    values = [a / b for a, b in zip(mine, its, strict=True)]
    details = {
        f"{unit}": round(float(np.median(mine)), 3),
        f"{peer}_{unit}": round(float(np.median(its)), 3),
        "ms": round(1e3 * float(np.median(times[subject])), 3),
    }
    return Row(
        name, float(np.median(values)), target=target, spread=quartiles(values), details=details
    )


def _agreement(ix: TorchExactIndex, first: Vectors, queries: Vectors, options: Options) -> Row:
    """Compare the ten best among the first rows with those that the CPU finds."""
    exact = ExactIndex(options.dim, dtype="float16")
    ids = np.arange(len(first))
    exact.add(first, ids=ids)
    found, truth = ix.search(queries[:256], k=K, allowed=ids), exact.search(queries[:256], k=K)
    same = float(np.mean(found.ids == truth.ids))
    return Row("answers that GPU and CPU agree on", same, target=0.999, unit="share")


def _faiss_rows(first: Vectors, queries: Vectors, options: Options) -> list[Row]:
    """Race faiss's flat index on a GPU with ours around it, where there is one."""
    name = "faiss on the GPU: speed over raw, batch 1,024"
    try:
        there = n_gpus()
    except BackendMissingError as error:
        return [Row(name, None, target=0.95, note=str(error))]
    if not there:
        return [Row(name, None, target=0.95, note="faiss sees no GPU")]
    faiss = import_faiss()
    ours = FaissIndex(options.dim, kind="flat", dtype="float16")
    ours.add(first, ids=np.arange(len(first)))
    place(ours, gpus=[0])
    settings = faiss.GpuIndexFlatConfig()
    settings.useFloat16 = True
    resources = faiss.StandardGpuResources()
    raw = faiss.GpuIndexFlatIP(resources, options.dim, settings)
    raw.add(first)
    times = race(
        {"raw": lambda: raw.search(queries, K), "ours": lambda: ours.search(queries, k=K)},
        rounds=options.rounds,
        min_s=options.min_s,
    )
    return [ratio_row(name, times, subject="raw", peer="ours", target=0.95)]
