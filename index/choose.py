"""Which index for how many vectors: one table, from measurements on two cores.

| vectors      | plans                                             | bytes per vector        |
|--------------|---------------------------------------------------|-------------------------|
| to 10,000 *  | exact (numpy, no faiss needed), float32, float16  | 4 dim or 2 dim, + 17    |
| to 50,000 *  | flat, float32 or float16                          | 4 dim or 2 dim, + 17    |
| to 80,000    | RR{dim},PQ{dim/2}x4fs (FastScan)                  | dim / 4 + 17 + rows     |
| beyond       | IVF with n^0.75 / 22 lists of such codes          | dim / 4 + 25 + rows     |
| no room      | IVF with 1-bit codes (RaBitQ)                     | dim / 8 + 57            |
| no room yet  | IVF,SQfp16 whose lists stay in their file         | 25                      |
| device gpu   | torch_exact, float16 on the GPU                   | 2 dim there, 17 here    |

* where no recall is asked for: who asks for less than 1 gets FastScan from 2,000 vectors on.

The rows that score the best candidates again take 4 dim, 2 dim, or nothing where they stay in
the segments. Batches of 64 queries and more are compared with everything up to 200,000.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from index.base import Index
from index.checks import check_dim
from index.errors import InputError
from index.exact import ExactIndex
from index.types import Plan

# Upper bounds by count. Comparing everything is exact, needs no training, takes any filter and
# any removal; a query over 50,000 x 512 takes about 10 ms on two cores.
EXACT_UP_TO = 10_000
FLAT_UP_TO = 50_000
# Who is content with less than all gets it sooner from here on: at 2,000 x 512 codes answer in .6
# of the time of comparing everything, at 10,000 in a seventh.
FASTSCAN_FROM = 2_000
DEFAULT_RECALL = 0.95
# A batch of 64 queries multiplied by BLAS takes a tenth of the time per query (PERFORMANCE 3.1).
FLAT_BATCH_UP_TO = 200_000
LARGE_BATCH = 64
# Reading all codes takes 5 ms a query at 1,000,000 x 512; from here on lists are worth training.
# Where texts need every list read, they cost little more than reading all codes does.
FASTSCAN_UP_TO = 80_000

# FastScan: candidates per answer that are scored again, by recall target, before tuning. At
# 50,000 x 512 texts find 0.936 with 4, 0.984 with 8, 0.997 with 16.
K_FACTOR = ((0.90, 8), (0.95, 16), (0.99, 64), (1.00, 256))

# IVF: share of the lists that is read, by recall target, again for queries of another modality.
PROBED_SHARE = ((0.90, 1 / 16), (0.95, 1 / 7), (0.99, 1 / 3), (1.00, 1))

ID_BYTES = 17  # id table: the id twice and a live flag
LARGEST_N_LISTS = 65_536

ROW_BYTES = {"float32": 4, "float16": 2, "mapped": 0}  # per dimension, in memory


def choose(
    n_vectors: int,
    *,
    dim: int,
    recall: float | None = None,
    memory_bytes: int | None = None,
    batch_size: int = 1,
    device: str = "cpu",
) -> Plan:
    """Choose the kind of index and its parameters.

    The table is at the head of this file. Of the plans for a size the first one is taken that
    fits the memory.

    Args:
        n_vectors: how many there will be, at least 0.
        dim: length of a vector.
        recall: wanted recall@10 for queries of another modality, above 0, at most 1, which means
            exact; None for exact up to 50,000 vectors and 0.95 beyond.
        memory_bytes: what the index may take; None for no limit.
        batch_size: how many queries come at once, usually.
        device: `cpu` or `gpu`; on a GPU the memory meant is its own.

    Returns:
        The plan; `make_index` carries it out.

    Raises:
        InputError: an argument is outside its limits, or nothing fits the memory.

    Example:
        >>> choose(5_000, dim=512).kind, choose(5_000, dim=512, recall=0.95).factory
        ('exact', 'RR512,PQ256x4fs,RFlat')
        >>> choose(200_000, dim=512, memory_bytes=100_000_000).parameters["rows"]
        'mapped'
    """
    dim = check_dim(dim)
    recall_fits = recall is None or 0 < recall <= 1
    if n_vectors < 0 or not recall_fits or batch_size < 1 or device not in ("cpu", "gpu"):
        raise InputError(
            f"n_vectors is {n_vectors}, recall {recall}, batch_size {batch_size}, device "
            f"{device!r}; they must be at least 0, above 0 and at most 1, at least 1, cpu or gpu"
        )
    least = None
    for plan in _plans(n_vectors, dim=dim, recall=recall, batch_size=batch_size, device=device):
        if memory_bytes is None or plan.memory_bytes <= memory_bytes:
            return plan
        least = min(plan.memory_bytes, least or plan.memory_bytes)
    raise InputError(
        f"{n_vectors:,} vectors of dim {dim} need {least:,} bytes at least; "
        f"{memory_bytes:,} are allowed: allow more memory or index fewer items",
        code="too_little_memory",
    )


def choose_factory(text: str, *, n_vectors: int, dim: int) -> Plan:
    """Plan what a factory string of faiss says, with rows mapped unless it says otherwise.

    Args:
        text: e.g. `IVF4096,PQ64x4fs,RFlat`.
        n_vectors, dim: to predict the memory, which is that of the rows and ids alone: what codes
            take only faiss knows.

    Raises:
        InputError: the string is refused, with the reason.
        BackendMissingError: faiss is not installed.

    Example:
        >>> choose_factory("IVF16,SQ8,RFlat", n_vectors=5_000, dim=8).factory
        'IVF16,SQ8,RFlat'
    """
    from index.faiss_index import FaissIndex

    with_rows = text.endswith((",RFlat", ",Refine(SQfp16)"))
    parameters = {"factory": text} | ({} if with_rows else {"rows": "mapped"})
    with FaissIndex(check_dim(dim), kind="factory", **parameters) as made:
        rows = str(made.parameters["rows"])  # type: ignore[attr-defined]
        memory_bytes = n_vectors * (ROW_BYTES[rows] * dim + ID_BYTES)
        reason = f"asked for as {text}; its codes come on top of the memory"
        return Plan("factory", text, parameters, reason, memory_bytes)


def make_index(plan: Plan, *, dim: int) -> Index:
    """Make the empty index of a plan.

    Args:
        plan: from `choose`.
        dim: length of a vector.

    Returns:
        An index to add to.

    Raises:
        BackendMissingError: the plan needs faiss or torch and it is not installed.
        InputError: the plan names an unknown kind or parameter.

    Example:
        >>> make_index(choose(100, dim=4), dim=4).kind
        'exact'
    """
    words = {name: str(value) for name, value in plan.parameters.items()}
    if plan.kind == "exact":
        return ExactIndex(dim, **words)
    if plan.kind == "torch_exact":
        from index.torch_exact import TorchExactIndex

        return TorchExactIndex(dim, **words)
    from index.faiss_index import FaissIndex

    return FaissIndex(dim, kind=plan.kind, **plan.parameters)


def _plans(
    n: int, *, dim: int, recall: float | None, batch_size: int, device: str
) -> Iterator[Plan]:
    """Give every plan that would do, best first: speed is given up before accuracy."""
    is_small = n <= FLAT_UP_TO if recall is None else n < FASTSCAN_FROM
    large_batch = batch_size >= LARGE_BATCH and n <= FLAT_BATCH_UP_TO
    compares_all = is_small or recall == 1 or large_batch
    reason = _why_all(n, recall=recall)
    recall = DEFAULT_RECALL if recall is None else recall
    if device == "gpu":
        yield _torch(n, dim=dim)
    elif compares_all and n <= EXACT_UP_TO:
        for dtype in ("float32", "float16"):
            yield _exact(n, dim=dim, dtype=dtype, reason=reason)
    elif compares_all:
        yield from _flats(n, dim=dim, reason=reason)
    elif n <= FASTSCAN_UP_TO:
        yield from (_fastscan(n, dim=dim, recall=recall, rows=rows) for rows in ROW_BYTES)
        yield _lists_in_file(n, dim=dim, recall=recall)
    else:
        yield from (_ivf_fastscan(n, dim=dim, recall=recall, rows=rows) for rows in ROW_BYTES)
        yield _rabitq(n, dim=dim, recall=recall)
        yield _lists_in_file(n, dim=dim, recall=recall)


def _why_all(n: int, *, recall: float | None) -> str:
    """Say why every vector is compared, where that is so."""
    if recall == 1:
        return "recall 1 is asked for: every vector is compared"
    if n < FASTSCAN_FROM:
        return f"{n:,} vectors are compared in a millisecond or less"
    if recall is None and n <= FLAT_UP_TO:
        return (
            f"{n:,} vectors are few enough to compare every one, and nothing is missed; a recall "
            "below 1, where it is asked for, is reached sooner with codes"
        )
    return f"{n:,} vectors are compared with many queries at once by matrix multiplication"


def _exact(n: int, *, dim: int, dtype: str, reason: str) -> Plan:
    row_bytes = ROW_BYTES[dtype] * dim + (4 if dtype == "float16" else 0)
    factory = "Flat" if dtype == "float32" else "SQfp16"
    reason += _HALVED[dtype]
    return Plan("exact", factory, {"dtype": dtype}, reason, n * (row_bytes + ID_BYTES))


def _flats(n: int, *, dim: int, reason: str) -> Iterator[Plan]:
    for dtype, factory in (("float32", "Flat"), ("float16", "SQfp16")):
        memory_bytes = n * (ROW_BYTES[dtype] * dim + ID_BYTES)
        yield Plan("flat", factory, {"dtype": dtype}, reason + _HALVED[dtype], memory_bytes)


def _torch(n: int, *, dim: int) -> Plan:
    reason = f"{n:,} vectors are compared in float16 by the GPU, exactly, at its memory's speed"
    return Plan("torch_exact", "SQfp16", {"device": "cuda"}, reason, n * 2 * dim)


def _fastscan(n: int, *, dim: int, recall: float, rows: str) -> Plan:
    m, k_factor = _n_codes(dim), int(_effort(K_FACTOR, recall))
    reason = (
        f"{n:,} vectors: 4-bit codes of all of them are compared and the best {k_factor} per "
        f"answer scored again {_WHERE[rows]}, to aim at recall {recall:g} for queries of another "
        "modality, which lie off any graph"
    )
    parameters: dict[str, int | str] = {"m": m, "k_factor": k_factor, "rows": rows}
    memory_bytes = n * (ROW_BYTES[rows] * dim + -(-m // 2) + ID_BYTES)
    return Plan("fastscan", f"RR{dim},PQ{m}x4fs{_REFINE[rows]}", parameters, reason, memory_bytes)


def _ivf_fastscan(n: int, *, dim: int, recall: float, rows: str) -> Plan:
    m, k_factor = _n_codes(dim), int(_effort(K_FACTOR, recall))
    lists, reason = _lists(coded_lists(n), n=n, recall=recall)
    n_lists = lists["n_lists"]
    parameters: dict[str, int | str] = {**lists, "m": m, "k_factor": k_factor, "rows": rows}
    row_bytes = ROW_BYTES[rows] * dim + -(-m // 2) + 8 + ID_BYTES
    return Plan(
        "ivf_fastscan",
        f"RR{dim},IVF{n_lists},PQ{m}x4fs{_REFINE[rows]}",
        parameters,
        f"{reason}; 4-bit codes, the best {k_factor} per answer scored again {_WHERE[rows]}",
        n * row_bytes + n_lists * 4 * dim,
    )


def _rabitq(n: int, *, dim: int, recall: float) -> Plan:
    lists, reason = _lists(coded_lists(n), n=n, recall=recall)
    n_lists = lists["n_lists"]
    parameters: dict[str, int | str] = {**lists, "k_factor": 64, "rows": "mapped", "n_bits": 1}
    return Plan(
        "ivf_rabitq",
        f"RR{dim},IVF{n_lists},RaBitQfs",
        parameters,
        f"{reason}; 1-bit codes, as no larger ones fit, the best 64 per answer scored again "
        f"{_WHERE['mapped']}",
        n * (-(-dim // 8) + 32 + 8 + ID_BYTES) + n_lists * 4 * dim,
    )


def _lists_in_file(n: int, *, dim: int, recall: float) -> Plan:
    lists, reason = _lists(row_lists(n), n=n, recall=recall)
    n_lists = lists["n_lists"]
    return Plan(
        "ivf",
        f"IVF{n_lists},SQfp16",
        {**lists, "dtype": "float16"},
        f"{reason}; float16, left in their file, as no codes fit the memory",
        n * (8 + ID_BYTES) + n_lists * 4 * dim,
    )


def coded_lists(n: int) -> int:
    """Choose how many lists n codes stand in.

    A code takes 5 ns to compare, but a list 1.2 us to begin and .06 us to rank, and the share of
    the codes that texts need falls with the root of the number of lists. At 100,000 x 512 texts
    find .96 in 36 of 256 lists, in .6 of the time that 64 of 1,024 take.

    Example:
        >>> [coded_lists(n) for n in (100_000, 1_000_000, 10_000_000)]
        [256, 1024, 8192]
    """
    return max(16, min(1 << round(math.log2(n**0.75 / 22)), LARGEST_N_LISTS))


def row_lists(n: int) -> int:
    """Choose how many lists n float16 rows stand in, which take 50 ns each to compare.

    Example:
        >>> row_lists(100_000)
        1024
    """
    return min(1 << round(math.log2(4 * math.sqrt(n))), LARGEST_N_LISTS)


def _lists(n_lists: int, *, n: int, recall: float) -> tuple[dict[str, int], str]:
    n_probes = max(1, round(n_lists * _effort(PROBED_SHARE, recall)))
    reason = (
        f"{n:,} vectors: {n_lists:,} lists, of which {n_probes:,} are read for each query to aim "
        f"at recall {recall:g} for queries of another modality"
    )
    return {"n_lists": n_lists, "n_probes": n_probes}, reason


def _n_codes(dim: int) -> int:
    return dim // 2 if dim % 2 == 0 else dim


def _effort(table: tuple[tuple[float, float], ...], recall: float) -> float:
    """The first row that reaches the target; the last one reaches any."""
    return next(effort for reached, effort in table if recall <= reached)


_HALVED: Mapping[str, str] = {"float32": "", "float16": "; in float16, to fit the memory"}
_REFINE: Mapping[str, str] = {
    "float32": ",RFlat",
    "float16": ",Refine(SQfp16)",
    "mapped": "",
}
_WHERE: Mapping[str, str] = {
    "float32": "exactly",
    "float16": "in float16",
    "mapped": "with the rows of the segments, which stay on disk",
}
