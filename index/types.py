"""What crosses the border of the index layer: neighbours as arrays with counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


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
