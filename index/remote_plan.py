"""Which index Milvus should build: one table, by count, memory and device.

| vectors                        | index        | bytes per vector, on the server |
|--------------------------------|--------------|---------------------------------|
| to 10,000                      | FLAT         | 4 dim                           |
| as the memory allows           | HNSW         | 4 dim + 140                     |
| more                           | IVF_RABITQ   | 2 dim + dim / 8 + 8             |
| more still                     | DISKANN      | dim / 4 (the rest on its disk)  |
| device gpu                     | GPU_CAGRA    | 4 dim + 260, on the GPU         |

Where no memory is named, that of a large machine is supposed. Milvus Lite, in a file, knows FLAT,
HNSW and IVF_FLAT alone: what the table names beyond is replaced, and the plan says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from index.checks import check_dim
from index.errors import InputError
from index.types import Plan

FLAT_UP_TO = 10_000
SUPPOSED_BYTES = 64 << 30
"""Memory of the server where nobody names one: HNSW to 31 million vectors of 512 dimensions."""
_MOST_LISTS = 65_536  # Milvus's own limit


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An index that Milvus builds.

    Attributes:
        bytes_per_vector: of the server's memory, fixed and per dimension.
        is_lite: whether Milvus Lite knows it.
        build: our parameter names -> Milvus's.
        build_always: what is always said when it is built.
        effort: our name of how hard a search tries; empty for exact search.
        effort_there: Milvus's name of it.
        search_always: what is always said when it is searched.
        defaults: our parameters, the effort among them.
    """

    bytes_per_vector: tuple[float, float]
    is_lite: bool = False
    build: Mapping[str, str] = field(default_factory=dict)
    build_always: Mapping[str, str | int] = field(default_factory=dict)
    effort: str = ""
    effort_there: str = ""
    search_always: Mapping[str, int] = field(default_factory=dict)
    defaults: Mapping[str, int] = field(default_factory=dict)


# Parameters as https://milvus.io/docs names them for 2.6; a 1-bit code alone loses too much, so
# RaBitQ keeps the rows in float16 and scores four times the candidates with them.
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "FLAT": Algorithm((0, 4), is_lite=True),
        "HNSW": Algorithm(
            (140, 4), is_lite=True, build={"m": "M", "ef_construction": "efConstruction"},
            effort="ef_search", effort_there="ef",
            defaults={"m": 16, "ef_construction": 200, "ef_search": 64},
        ),
        "IVF_FLAT": Algorithm(
            (8, 4), is_lite=True, build={"n_lists": "nlist"}, effort="n_probes",
            effort_there="nprobe", defaults={"n_lists": 1024, "n_probes": 64},
        ),
        "IVF_RABITQ": Algorithm(
            (8, 2.125), build={"n_lists": "nlist"},
            build_always={"refine": "true", "refine_type": "FP16"}, effort="n_probes",
            effort_there="nprobe", search_always={"refine_k": 4},
            defaults={"n_lists": 1024, "n_probes": 64},
        ),
        "DISKANN": Algorithm(
            (0, 0.25), effort="ef_search", effort_there="search_list", defaults={"ef_search": 100}
        ),
        "GPU_CAGRA": Algorithm(
            (260, 4), build_always={"intermediate_graph_degree": 128, "graph_degree": 64},
            effort="ef_search", effort_there="itopk_size", defaults={"ef_search": 128},
        ),
    }
)  # fmt: skip


def choose_remote(
    n_vectors: int,
    *,
    dim: int,
    memory_bytes: int | None = None,
    device: str = "cpu",
    is_lite: bool = False,
) -> Plan:
    """Choose what Milvus builds; the table is at the head of this file.

    Args:
        n_vectors: how many there will be.
        dim: length of a vector.
        memory_bytes: what the index may take on the server; None: `SUPPOSED_BYTES`, which nothing
            is refused for.
        device: `cpu` or `gpu`, of the server.
        is_lite: it is Milvus Lite.

    Returns:
        The plan; its kind is `milvus`, and its reason tells of what Milvus Lite could not do.

    Raises:
        InputError: nothing that the server knows fits the memory.

    Example:
        >>> choose_remote(1_000_000, dim=512).factory, choose_remote(50_000_000, dim=512).factory
        ('HNSW', 'IVF_RABITQ')
        >>> choose_remote(1_000_000_000, dim=512, memory_bytes=256 << 30).factory
        'DISKANN'
        >>> choose_remote(50_000_000, dim=512, is_lite=True).factory
        'IVF_FLAT'
    """
    check_dim(dim)
    wished = _choose(n_vectors, dim=dim, memory_bytes=memory_bytes, device=device)
    name = wished if ALGORITHMS[wished].is_lite or not is_lite else _instead(wished)
    size = _bytes(name, n_vectors, dim)
    if memory_bytes is not None and size > memory_bytes:
        raise InputError(
            f"{n_vectors:,} vectors of dim {dim} need {size:,} bytes at least; "
            f"{memory_bytes:,} are allowed: allow more memory or index fewer items",
            code="too_little_memory",
        )
    parameters: dict[str, int | str] = {"algorithm": name, **ALGORITHMS[name].defaults}
    if "n_lists" in parameters:
        parameters["n_lists"] = min(_MOST_LISTS, 2 ** round(math.log2(4 * math.sqrt(n_vectors))))
    reason = f"{n_vectors:,} vectors in Milvus: {_WHY[name]}"
    if name != wished:
        reason += f" (Milvus Lite has no {wished}, which a server would build)"
    return Plan("milvus", name, parameters, reason, size)


_WHY = {
    "FLAT": "few enough to compare every one",
    "HNSW": "a graph, which its memory holds",
    "IVF_FLAT": "lists, as a graph does not fit its memory",
    "IVF_RABITQ": "1-bit codes in lists, as a graph does not fit its memory",
    "DISKANN": "a graph on its disk, as no codes fit its memory",
    "GPU_CAGRA": "a graph on its GPU",
}


def _choose(n_vectors: int, *, dim: int, memory_bytes: int | None, device: str) -> str:
    """Name the first index of the table that fits; the one that takes least where none does."""
    if device == "gpu":
        return "GPU_CAGRA"
    if n_vectors <= FLAT_UP_TO:
        return "FLAT"
    limit_bytes = SUPPOSED_BYTES if memory_bytes is None else memory_bytes
    names = ("HNSW", "IVF_RABITQ")
    fitting = (name for name in names if _bytes(name, n_vectors, dim) <= limit_bytes)
    return next(fitting, "DISKANN")


def _instead(name: str) -> str:
    """Name what Milvus Lite can do in the place of an index that it has not."""
    return "HNSW" if name == "GPU_CAGRA" else "IVF_FLAT"


def _bytes(name: str, n_vectors: int, dim: int) -> int:
    fixed, per_dim = ALGORITHMS[name].bytes_per_vector
    return int(n_vectors * (fixed + per_dim * dim))
