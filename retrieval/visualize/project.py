"""Vectors to points in the plane by principal components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError

__all__ = ["centre_groups", "principal_plane"]

Vectors = npt.NDArray[np.float32]
_ROWS = 1 << 16


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
