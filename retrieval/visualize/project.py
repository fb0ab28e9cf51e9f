"""Vectors to points in the plane: by principal components, or by neighbours (UMAP)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import BackendMissingError, InputError

__all__ = ["centre_groups", "kept_neighbours", "neighbour_plane", "principal_plane"]

Vectors = npt.NDArray[np.float32]
_ROWS = 1 << 16
_NEIGHBOURS, _MIN_ITEMS, _MAX_CHECKED = 15, 5, 2000


def principal_plane(vectors: Vectors) -> tuple[Vectors, float]:
    """Project vectors on their two principal components.

    Exact, from the covariance matrix [D, D]; each component's sign is chosen so that its largest
    weight is positive, so the same vectors always give the same points.

    Args:
        vectors: float32 [N, D], N >= 1, D >= 2.

    Returns:
        Points, float32 [N, 2], and the share of the variance they keep, in [0, 1].

    Raises:
        InputError: the shape is another (`bad_shape`).

    Example:
        >>> points, kept = principal_plane(np.array([[0, 0, 1], [0, 0, 3]], dtype=np.float32))
        >>> points[:, 0].tolist(), kept
        ([-1.0, 1.0], 1.0)
    """
    if vectors.ndim != 2 or len(vectors) < 1 or vectors.shape[1] < 2:
        raise InputError(
            f"vectors have shape {list(vectors.shape)}; [N >= 1, D >= 2] is needed",
            code="bad_shape",
        )
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _ROWS):
        block = vectors[start : start + _ROWS] - mean
        spread += block.T @ block
    values, axes = np.linalg.eigh(spread)
    plane = axes[:, ::-1][:, :2]
    signs = np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])
    points = (vectors - mean) @ (plane * np.where(signs == 0, 1, signs))
    total = float(np.maximum(values, 0).sum())
    kept = float(np.maximum(values[::-1][:2], 0).sum()) / total if total > 0 else 1.0
    return points.astype(np.float32), min(1.0, kept)


def neighbour_plane(vectors: Vectors, *, seed: int = 0) -> tuple[Vectors, float]:
    """Place vectors so that neighbours stay neighbours, by UMAP (McInnes et al. 2018).

    Args:
        vectors: float32 [N, D], N >= 5.
        seed: the same one gives the same points on one machine.

    Returns:
        Points, float32 [N, 2], around 0, and the share of neighbours kept, see `kept_neighbours`.

    Raises:
        BackendMissingError: umap-learn is not installed.
        InputError: fewer than five vectors (`too_few_items`).
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise BackendMissingError(
            "UMAP needs umap-learn; pip install 'crossfind[viz]', or draw with --method pca"
        ) from error
    if len(vectors) < _MIN_ITEMS:
        raise InputError(
            f"UMAP needs {_MIN_ITEMS} items or more, the store has {len(vectors)}; draw with pca",
            code="too_few_items",
        )
    model = UMAP(
        n_neighbors=min(_NEIGHBOURS, len(vectors) - 1), min_dist=0.15, metric="cosine",
        init="spectral" if len(vectors) > 2 * _NEIGHBOURS else "random", random_state=seed,
        n_jobs=1,
    )  # fmt: skip
    placed = np.asarray(model.fit_transform(vectors), dtype=np.float32)
    points = placed - (placed.max(axis=0) + placed.min(axis=0)) / 2
    return points, kept_neighbours(vectors, points=points)


def kept_neighbours(vectors: Vectors, *, points: Vectors, k: int = 10) -> float:
    """Measure which share of the k nearest neighbours are still among the k nearest in the plane.

    Args:
        vectors: float32 [N, D]; by cosine; the first 2,000 are asked.
        points: float32 [N, 2]; by distance.
        k: at most N - 1 are taken.

    Example:
        >>> rows = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
        >>> kept_neighbours(rows, points=rows, k=1)
        1.0
    """
    n_nearest, asked = min(k, len(vectors) - 1), slice(0, _MAX_CHECKED)
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    near = (vectors[asked] / norms[asked]) @ (vectors / norms).T
    far = np.linalg.norm(points[asked, None] - points[None], axis=2)
    own = np.arange(len(near))
    near[own, own], far[own, own] = -np.inf, np.inf
    first = np.argsort(-near, axis=1, kind="stable")[:, :n_nearest]
    second = np.argsort(far, axis=1, kind="stable")[:, :n_nearest]
    both = [len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)]
    return float(np.mean(both)) / max(1, n_nearest)


def centre_groups(vectors: Vectors, *, groups: npt.NDArray[np.int64]) -> Vectors:
    """Subtract each group's own mean: what is left is content, without the modality gap.

    Args:
        vectors: float32 [N, D].
        groups: int64 [N].

    Returns:
        float32 [N, D].

    Example:
        >>> rows = np.array([[1, 0], [3, 0], [5, 5]], dtype=np.float32)
        >>> centre_groups(rows, groups=np.array([0, 0, 1])).tolist()
        [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    """
    out = vectors.astype(np.float32).copy()
    for group in np.unique(groups):
        out[groups == group] -= vectors[groups == group].mean(axis=0)
    return out
