"""Which index Milvus should build: one table, by count, memory and device.

| vectors                        | index        | bytes per vector, on the server |
|--------------------------------|--------------|---------------------------------|
| to 10,000                      | FLAT         | 4 dim                           |
| as the memory allows           | HNSW         | 4 dim + 140                     |
| more                           | IVF_RABITQ   | 2 dim + dim / 8 + 8             |
| more still                     | DISKANN      | dim / 4 (the rest on its disk)  |
| device gpu                     | GPU_CAGRA    | 4 dim + 260, on the GPU         |

Milvus Lite, in a file, knows FLAT and HNSW of these.
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


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An index that Milvus builds.

    Attributes:
        bytes_per_vector: of the server's memory, fixed and per dimension.
        is_lite: whether Milvus Lite knows it.
        build: our parameter names -> Milvus's.
        effort: our name of how hard a search tries; empty for exact search.
        effort_there: Milvus's name of it.
        defaults: our parameters, the effort among them.
    """

    bytes_per_vector: tuple[float, float]
    is_lite: bool = False
    build: Mapping[str, str] = field(default_factory=dict)
    effort: str = ""
    effort_there: str = ""
    defaults: Mapping[str, int] = field(default_factory=dict)


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "FLAT": Algorithm((0, 4), is_lite=True),
        "HNSW": Algorithm(
            (140, 4), is_lite=True, build={"m": "M", "ef_construction": "efConstruction"},
            effort="ef_search", effort_there="ef",
            defaults={"m": 16, "ef_construction": 200, "ef_search": 64},
        ),
        "IVF_RABITQ": Algorithm(
            (8, 2.125), build={"n_lists": "nlist"}, effort="n_probes", effort_there="nprobe",
            defaults={"n_lists": 1024, "n_probes": 64},
        ),
        "DISKANN": Algorithm(
            (0, 0.25), effort="ef_search", effort_there="search_list", defaults={"ef_search": 100}
        ),
        "GPU_CAGRA": Algorithm(
            (260, 4), effort="ef_search", effort_there="itopk_size", defaults={"ef_search": 128}
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
        memory_bytes: what the index may take on the server; None for no limit.
        device: `cpu` or `gpu`, of the server.
        is_lite: it is Milvus Lite.

    Returns:
        The plan; its kind is `milvus`.

    Raises:
        InputError: nothing that the server knows fits the memory.

    Example:
        >>> choose_remote(1_000_000, dim=512).parameters["algorithm"]
        'HNSW'
        >>> choose_remote(100_000_000, dim=512, memory_bytes=150 << 30).factory
        'IVF_RABITQ'
    """
    check_dim(dim)
    names = ["GPU_CAGRA"] if device == "gpu" else ["HNSW", "IVF_RABITQ", "DISKANN"]
    if device == "cpu" and n_vectors <= FLAT_UP_TO:
        names = ["FLAT"]
    known = [name for name in names if ALGORITHMS[name].is_lite or not is_lite]
    sizes = {name: _bytes(name, n_vectors, dim) for name in known}
    for name, size in sizes.items():
        if memory_bytes is None or size <= memory_bytes:
            parameters: dict[str, int | str] = {"algorithm": name, **ALGORITHMS[name].defaults}
            if name == "IVF_RABITQ":
                parameters["n_lists"] = min(65_536, 2 ** round(math.log2(4 * math.sqrt(n_vectors))))
            reason = f"{n_vectors:,} vectors in Milvus: {_WHY[name]}"
            return Plan("milvus", name, parameters, reason, size)
    if not sizes:
        raise InputError(f"Milvus Lite has no index for device {device}; leave --device out")
    raise InputError(
        f"{n_vectors:,} vectors of dim {dim} need {min(sizes.values()):,} bytes at least; "
        f"{memory_bytes:,} are allowed: allow more memory or index fewer items",
        code="too_little_memory",
    )


_WHY = {
    "FLAT": "few enough to compare every one",
    "HNSW": "a graph, which its memory holds",
    "IVF_RABITQ": "1-bit codes in lists, as a graph does not fit its memory",
    "DISKANN": "a graph on its disk, as no codes fit its memory",
    "GPU_CAGRA": "a graph on its GPU",
}


def _bytes(name: str, n_vectors: int, dim: int) -> int:
    fixed, per_dim = ALGORITHMS[name].bytes_per_vector
    return int(n_vectors * (fixed + per_dim * dim))
