"""Training of the centroids of lists: constants measured here, and queries in the mix."""

from __future__ import annotations

import numpy as np

from index.faiss_kinds import Core, import_faiss
from index.types import Vectors

# faiss takes 10 iterations over up to 256 vectors per list. At 100,000 x 512 and 1,024 lists 5
# iterations over 50 take a quarter of the time for half a point of recall (PERFORMANCE 1.4).
N_ITERATIONS = 5
VECTORS_PER_LIST = 50


def train_coarse(core: Core, vectors: Vectors, *, seed: int) -> None:
    """Find the centroids of a faiss IVF index by spherical k-means (Lloyd).

    Args:
        core: a faiss IVF index that has no centroids yet; gets them.
        vectors: float32 [N, D], unit length, at least as many as lists; those beyond 50 per list
            are not looked at.
        seed: of the draw.
    """
    faiss = import_faiss()
    n_used = min(len(vectors), VECTORS_PER_LIST * core.nlist)
    drawn = np.random.default_rng(seed).choice(len(vectors), n_used, replace=False)
    clustering = faiss.Clustering(core.d, core.nlist)
    clustering.niter, clustering.seed, clustering.spherical = N_ITERATIONS, seed, True
    clustering.min_points_per_centroid = 1  # who gives few knows; faiss would warn on stderr
    clustering.max_points_per_centroid = VECTORS_PER_LIST
    clustering.train(np.ascontiguousarray(vectors[np.sort(drawn)]), core.quantizer)
    core.quantizer.is_trained = True
