"""What crosses the border of the index layer: neighbours as arrays with counts, plans, segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
StoredDtype = Literal["float16", "float32"]


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The best vectors for each query, best first, ties by ascending id.

    Attributes:
        ids: int64 [Q, K]; columns at and beyond `counts[q]` are 0 and mean nothing.
        scores: float32 [Q, K], cosine in [-1, 1], higher is better; 0 beyond `counts[q]`.
        counts: int64 [Q]; how many columns of each row are answers (fewer than K where
            fewer vectors exist or are allowed).
    """

    ids: Ids
    scores: npt.NDArray[np.float32]
    counts: Ids


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """How hard one search tries; None means what the index was made with.

    Attributes:
        ef_search: HNSW only: how many candidates the walk keeps, at least 1.
        n_probes: IVF only: how many lists are read, at least 1.
        k_factor: FastScan only: how many candidates per answer are scored again, at least 1.
        exact: True compares the queries with every vector, whatever the kind.
    """

    ef_search: int | None = None
    n_probes: int | None = None
    k_factor: int | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A segment file, as its catalog row knows it.

    Attributes:
        name: file name inside the segments directory.
        n_vectors, dim: its shape.
        dtype: `float16` or `float32`, as stored.
        sha256: hex digest of the whole file, the one `sha256sum` prints.
        size_bytes: length of the file.
    """

    name: str
    n_vectors: int
    dim: int
    dtype: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Which index to build, and why.

    Attributes:
        kind: `exact`, `flat`, `fastscan`, `hnsw`, `ivf` or `ivf_fastscan`.
        factory: the same in faiss's words, e.g. `HNSW32`; for people and logs.
        parameters: keyword arguments of the constructor, e.g. `{"m": 32}`.
        reason: one sentence for people.
        memory_bytes: predicted, of the vectors and what the kind adds to them.
    """

    kind: str
    factory: str
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    reason: str = ""
    memory_bytes: int = 0
