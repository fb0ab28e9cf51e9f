"""A CLIP-like set with a gap between modalities, from a seed: where recall must be judged.

Two cones on the sphere. Pictures: a common direction, clusters of log-normal size with power-law
spectra, and a spread of their own. Texts: another common direction, part of what is peculiar to one
picture, and noise of their own. An index that answers picture queries at 0.99 can lose a third of
what text queries look for. The noise of the texts is above that of real captions: a stress test,
the gap is an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.types import Ids, Vectors

Blocks = Iterator[Vectors]

# Shares of a picture's squared length: the cone's direction, its cluster, itself.
_CONE, _CLUSTER, _OWN = 0.40, 0.33, 0.27
_TEXT_OF_TARGET, _TEXT_NOISE = 0.45, 0.40
_CENTRE_DECAY, _OWN_DECAY = 0.7, 0.5
_SPREAD, _SIZES = 0.25, 1.0
_BLOCK, STREAMED_ROWS = 65_536, 262_144


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
    world = _world(rng, n, dim)
    clusters = rng.choice(len(world.centres), n + n_queries, p=world.shares)
    drawn = np.empty((n + n_queries, dim), np.float32)
    for start in range(0, len(drawn), _BLOCK):
        drawn[start : start + _BLOCK] = _pictures(rng, world, clusters[start : start + _BLOCK])
    pictures, fresh = drawn[:n], drawn[n:]
    targets = rng.choice(n, n_queries, replace=n < n_queries)
    return SyntheticSet(
        pictures=pictures,
        clusters=clusters[:n],
        picture_queries=np.ascontiguousarray(fresh),
        text_queries=_texts(rng, world, about=pictures[targets]),
        targets=targets,
    )


def stream_set(n: int, *, dim: int, n_queries: int, seed: int = 7) -> tuple[Vectors, Blocks]:
    """Draw a set of the same kind block by block, where it does not fit the memory.

    Args:
        n, dim, n_queries, seed: as for `make_set`; other vectors than its come of them.

    Returns:
        The texts, float32 [Q, D], each about a picture of the first block, and the pictures, in
        blocks of float32 [at most 262,144, D].

    Example:
        >>> texts, blocks = stream_set(500, dim=32, n_queries=20)
        >>> texts.shape, [block.shape for block in blocks]
        ((20, 32), [(500, 32)])
    """
    world = _world(np.random.default_rng(seed), n, dim)

    def blocks() -> Blocks:
        for start in range(0, n, STREAMED_ROWS):
            rng = np.random.default_rng((seed, start))
            size = min(STREAMED_ROWS, n - start)
            yield _pictures(rng, world, rng.choice(len(world.centres), size, p=world.shares))

    first, rng = next(blocks()), np.random.default_rng((seed, n))
    about = first[rng.choice(len(first), n_queries, replace=len(first) < n_queries)]
    return _texts(rng, world, about=about), blocks()


@dataclass(frozen=True, slots=True)
class _World:
    """The directions of both cones, the clusters, and the share of the pictures that each has."""

    picture_cone: Vectors
    text_cone: Vectors
    centres: Vectors
    shares: npt.NDArray[np.float64]


def _world(rng: np.random.Generator, n: int, dim: int) -> _World:
    picture_cone, text_cone = _unit(rng.standard_normal((2, dim)))
    n_clusters = max(8, min(2_000, n // 50))
    centres = _coloured(rng, n_clusters, dim, _CENTRE_DECAY)
    sizes = rng.lognormal(sigma=_SIZES, size=n_clusters)
    return _World(picture_cone, text_cone, centres, sizes / sizes.sum())


def _pictures(rng: np.random.Generator, world: _World, clusters: Ids) -> Vectors:
    own = _coloured(rng, len(clusters), len(world.picture_cone), _OWN_DECAY)
    own *= rng.lognormal(sigma=_SPREAD, size=(len(clusters), 1))
    mixed = np.sqrt(_CONE) * world.picture_cone + np.sqrt(_CLUSTER) * world.centres[clusters]
    return _unit(mixed + np.sqrt(_OWN) * own)


def _texts(rng: np.random.Generator, world: _World, *, about: Vectors) -> Vectors:
    residual = about - (about @ world.picture_cone)[:, None] * world.picture_cone
    noise = _unit(rng.standard_normal(about.shape))
    mixed = np.sqrt(_CONE) * world.text_cone + _TEXT_OF_TARGET * _unit(residual)
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
