"""A CLIP-like set with a gap between modalities, from a seed: where recall must be judged.

Two cones on the sphere. Pictures: a common direction, clusters of log-normal size with power-law
spectra, and a spread of their own. Texts: another common direction, part of what is peculiar to one
picture, and noise of their own. An index that answers picture queries at 0.99 can lose a third of
what text queries look for. The noise of the texts is above that of real captions: a stress test,
the gap is an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.types import Ids, Vectors

# Shares of a picture's squared length: the cone's direction, its cluster, itself.
_CONE, _CLUSTER, _OWN = 0.40, 0.33, 0.27
_TEXT_OF_TARGET, _TEXT_NOISE = 0.45, 0.40
_CENTRE_DECAY, _OWN_DECAY = 0.7, 0.5
_SPREAD, _SIZES = 0.25, 1.0
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class SyntheticSet:
    """Vectors and queries of two modalities.

    Attributes:
        pictures: float32 [N, D], unit length.
        clusters: int64 [N], the cluster of each picture.
        picture_queries: float32 [Q, D], fresh draws of the same kind.
        text_queries: float32 [Q, D], of the other modality.
        targets: int64 [Q], the picture each text is about.
    """

    pictures: Vectors
    clusters: Ids
    picture_queries: Vectors
    text_queries: Vectors
    targets: Ids


def make_set(n: int, *, dim: int, n_queries: int = 1_000, seed: int = 7) -> SyntheticSet:
    """Draw a set.

    Args:
        n: pictures.
        dim: length of a vector.
        n_queries: of each modality.
        seed: of everything.

    Returns:
        The same set for the same arguments.

    Example:
        >>> small = make_set(500, dim=32, n_queries=20)
        >>> small.pictures.shape, small.text_queries.shape
        ((500, 32), (20, 32))
    """
    rng = np.random.default_rng(seed)
    picture_cone, text_cone = _unit(rng.standard_normal((2, dim)))
    n_clusters = max(8, min(2_000, n // 50))
    centres = _coloured(rng, n_clusters, dim, _CENTRE_DECAY)
    sizes = rng.lognormal(sigma=_SIZES, size=n_clusters)
    clusters = rng.choice(n_clusters, n + n_queries, p=sizes / sizes.sum())
    drawn = np.empty((n + n_queries, dim), np.float32)
    for start in range(0, len(drawn), _BLOCK):
        of = clusters[start : start + _BLOCK]
        own = _coloured(rng, len(of), dim, _OWN_DECAY)
        own *= rng.lognormal(sigma=_SPREAD, size=(len(of), 1))
        mixed = np.sqrt(_CONE) * picture_cone + np.sqrt(_CLUSTER) * centres[of]
        drawn[start : start + _BLOCK] = _unit(mixed + np.sqrt(_OWN) * own)
    pictures, fresh = drawn[:n], drawn[n:]
    targets = rng.choice(n, n_queries, replace=n < n_queries)
    return SyntheticSet(
        pictures=pictures,
        clusters=clusters[:n],
        picture_queries=np.ascontiguousarray(fresh),
        text_queries=_texts(rng, pictures[targets], picture_cone, text_cone),
        targets=targets,
    )


def _texts(
    rng: np.random.Generator, about: Vectors, picture_cone: Vectors, text_cone: Vectors
) -> Vectors:
    residual = about - (about @ picture_cone)[:, None] * picture_cone
    noise = _unit(rng.standard_normal(about.shape))
    mixed = np.sqrt(_CONE) * text_cone + _TEXT_OF_TARGET * _unit(residual)
    return _unit(mixed + np.sqrt(_TEXT_NOISE) * noise)


def _coloured(rng: np.random.Generator, n: int, dim: int, decay: float) -> Vectors:
    """Gaussian rows whose i-th standard deviation is i ** -decay, of expected length 1."""
    scales = np.arange(1, dim + 1) ** -decay
    scales /= np.linalg.norm(scales)
    rows: Vectors = (rng.standard_normal((n, dim), dtype=np.float32) * scales).astype(np.float32)
    return rows


def _unit(rows: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> Vectors:
    unit: Vectors = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return np.ascontiguousarray(unit)
