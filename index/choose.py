"""Which index for how many vectors: one table, from measurements on two cores."""

from __future__ import annotations

import math

from index.base import Index
from index.checks import check_dim
from index.errors import InputError
from index.exact import ExactIndex
from index.types import Plan

# Upper bounds by count. Comparing everything is exact, needs no training, takes any filter and
# any removal; a query over 50,000 x 512 takes about 10 ms on two cores.
EXACT_UP_TO = 10_000
FLAT_UP_TO = 50_000
FASTSCAN_UP_TO = 1_000_000

# FastScan: candidates per answer that are scored again, by recall target. At 100,000 x 512 texts
# find 0.948 with 4, 0.997 with 16; at 1,000,000 0.987 with 16 and 1.000 with 64.
K_FACTOR = ((0.90, 8), (0.95, 16), (0.99, 64), (1.00, 256))

# IVF: share of the lists that is read, by recall target, again for queries of another modality.
PROBED_SHARE = ((0.90, 1 / 32), (0.95, 1 / 16), (0.99, 1 / 6), (1.00, 1 / 2))

ID_BYTES = 17  # id table: the id twice and a live flag
LARGEST_N_LISTS = 65_536


def choose(
    n_vectors: int, *, dim: int, recall: float = 0.95, memory_bytes: int | None = None
) -> Plan:
    """Choose the kind of index and its parameters.

    | vectors       | plan                            | bytes per vector        |
    |---------------|---------------------------------|-------------------------|
    | to 10,000     | exact (numpy, no faiss needed)  | 4 dim + 17              |
    | to 50,000     | flat                            | 4 dim + 17              |
    | to 1,000,000  | PQ{dim/2}x4fs,RFlat (FastScan)  | 4 dim + 17 + dim / 4    |
    | beyond        | IVF with 4 sqrt(n) lists        | 4 dim + 17 + 16         |
    | no room for it| exact in float16, or refused    | 2 dim + 17 + 4          |

    Args:
        n_vectors: how many there will be, at least 0.
        dim: length of a vector.
        recall: wanted recall@10 for queries of another modality, above 0, at most 1;
            1 means exact.
        memory_bytes: what the index may take; None for no limit.

    Returns:
        The plan; `make_index` carries it out.

    Raises:
        InputError: an argument is outside its limits, or nothing fits the memory.

    Example:
        >>> choose(5_000, dim=512).kind, choose(200_000, dim=512).factory
        ('exact', 'PQ256x4fs,RFlat')
    """
    dim = check_dim(dim)
    if n_vectors < 0 or not 0 < recall <= 1:
        raise InputError(
            f"n_vectors is {n_vectors} and recall {recall}; they must be at least 0, and above 0 "
            "and at most 1"
        )
    plan = _by_count(n_vectors, dim=dim, recall=recall)
    if memory_bytes is None or plan.memory_bytes <= memory_bytes:
        return plan
    return _by_memory(n_vectors, dim=dim, recall=recall, memory_bytes=memory_bytes)


def make_index(plan: Plan, *, dim: int) -> Index:
    """Make the empty index of a plan.

    Args:
        plan: from `choose`.
        dim: length of a vector.

    Returns:
        An index to add to.

    Raises:
        BackendMissingError: the plan needs faiss and it is not installed.
        InputError: the plan names an unknown kind or parameter.

    Example:
        >>> make_index(choose(100, dim=4), dim=4).kind
        'exact'
    """
    if plan.kind == "exact":
        return ExactIndex(dim, **{name: str(value) for name, value in plan.parameters.items()})
    from index.faiss_index import FaissIndex

    return FaissIndex(
        dim, kind=plan.kind, **{name: int(value) for name, value in plan.parameters.items()}
    )


def _by_count(n: int, *, dim: int, recall: float) -> Plan:
    if n <= EXACT_UP_TO:
        return _exact(n, dim=dim, reason=f"{n:,} vectors are compared in a few milliseconds")
    if n <= FLAT_UP_TO:
        return _flat(n, dim=dim, reason=f"{n:,} vectors are few enough to compare every one")
    if recall == 1:
        return _flat(n, dim=dim, reason="recall 1 is asked for: every vector is compared")
    if n <= FASTSCAN_UP_TO:
        return _fastscan(n, dim=dim, recall=recall)
    return _ivf(n, dim=dim, recall=recall)


def _by_memory(n: int, *, dim: int, recall: float, memory_bytes: int) -> Plan:
    """Give up speed before accuracy: first the codes, then half the bits."""
    if n > FLAT_UP_TO and recall < 1:
        lists = _ivf(n, dim=dim, recall=recall)
        if lists.memory_bytes <= memory_bytes:
            return lists
    half = _exact(n, dim=dim, reason="only float16 fits the memory; every vector is compared",
                  dtype="float16")  # fmt: skip
    if half.memory_bytes <= memory_bytes:
        return half
    raise InputError(
        f"{n:,} vectors of dim {dim} need {half.memory_bytes:,} bytes at least; "
        f"{memory_bytes:,} are allowed: allow more memory or index fewer items",
        code="too_little_memory",
    )


def _exact(n: int, *, dim: int, reason: str, dtype: str = "float32") -> Plan:
    row_bytes = 4 * dim if dtype == "float32" else 2 * dim + 4
    factory = "Flat" if dtype == "float32" else "SQfp16"
    return Plan("exact", factory, {"dtype": dtype}, reason, n * (row_bytes + ID_BYTES))


def _flat(n: int, *, dim: int, reason: str) -> Plan:
    return Plan("flat", "Flat", {}, reason, n * (4 * dim + ID_BYTES))


def _fastscan(n: int, *, dim: int, recall: float) -> Plan:
    n_codes = dim // 2 if dim % 2 == 0 else dim
    k_factor = int(_effort(K_FACTOR, recall))
    reason = (
        f"{n:,} vectors: 4-bit codes of all of them are compared and the best {k_factor} per "
        f"answer scored again, to aim at recall {recall:g} for queries of another modality, which "
        "lie off any graph"
    )
    parameters = {"m": n_codes, "k_factor": k_factor}
    memory_bytes = n * (4 * dim + -(-n_codes // 2) + ID_BYTES)
    return Plan("fastscan", f"PQ{n_codes}x4fs,RFlat", parameters, reason, memory_bytes)


def _ivf(n: int, *, dim: int, recall: float) -> Plan:
    n_lists = min(2 ** round(math.log2(4 * math.sqrt(n))), LARGEST_N_LISTS)
    n_probes = max(1, round(n_lists * _effort(PROBED_SHARE, recall)))
    reason = (
        f"{n:,} vectors: {n_lists:,} lists, of which {n_probes:,} are read for each query to aim "
        f"at recall {recall:g} for queries of another modality"
    )
    memory_bytes = n * (4 * dim + 16 + ID_BYTES) + n_lists * 4 * dim
    parameters = {"n_lists": n_lists, "n_probes": n_probes}
    return Plan("ivf", f"IVF{n_lists},Flat", parameters, reason, memory_bytes)


def _effort(table: tuple[tuple[float, float], ...], recall: float) -> float:
    """The first row that reaches the target; the last one reaches any."""
    return next(effort for reached, effort in table if recall <= reached)
