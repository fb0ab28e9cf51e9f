"""Groups of like items with words for them, and the items that are like no other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.around.words import WORDS
from retrieval.contents import Contents
from retrieval.encoders.base import Encoder
from retrieval.errors import UsageError
from retrieval.types import Item, Modality

__all__ = ["Cluster", "Outlier", "cluster_items", "find_outliers", "spherical_k_means"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_MAX_ROUNDS = 100
_WORD = re.compile(r"[^\W\d_]{3,}")
_MAX_VOCABULARY = 4000
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of like items.

    Attributes:
        number: from 1, the largest first.
        keywords: words nearest to it, best first; empty where the model reads no text.
        ids, paths: of its items, nearest to the centre first.
        modalities: how many items of each.
        cohesion: mean cosine of its items and its centre.
    """

    number: int
    keywords: tuple[str, ...]
    ids: tuple[int, ...]
    paths: tuple[str, ...]
    modalities: dict[str, int]
    cohesion: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """An item that is like no other.

    Attributes:
        id, path, modality: the item's.
        similarity: mean cosine to its nearest neighbours of the same modality.
        z: (similarity - mean) / spread over the items of its modality; the lower, the stranger.
    """

    id: int
    path: str
    modality: Modality
    similarity: float
    z: float


def cluster_items(
    contents: Contents,
    *,
    encoder: Encoder,
    n_clusters: int | None = None,
    modality: Modality | None = None,
    n_keywords: int = 5,
    seed: int = 0,
) -> list[Cluster]:
    """Group items by spherical k-means over their vectors.

    Each modality is centred first (its mean is subtracted): vectors of pictures and of sounds lie
    apart whatever they show, and clusters should be about what they show.

    Args:
        contents: of the store.
        encoder: of the store; for the keywords.
        n_clusters: 2 to the number of items; sqrt(n / 2), at most 50, when left out.
        modality: only items of this one.
        n_keywords: words a cluster, 0 for none.
        seed: of the first centres.

    Returns:
        The clusters, the largest first.

    Raises:
        UsageError: fewer than two items (`too_few_items`) or `n_clusters` out of range
            (`bad_k`).
    """
    ids, vectors = _chosen(contents, modality)
    n = len(ids)
    wanted = n_clusters or min(50, max(2, round(math.sqrt(n / 2))))
    if not 2 <= wanted <= n:
        raise UsageError(
            f"{wanted} clusters of {n} items are not possible; give 2 to {n}", code="bad_k"
        )
    centred = _centred(vectors, [contents.items[int(i)].modality for i in ids])
    labels, centres = spherical_k_means(centred, k=wanted, seed=seed)
    words, word_vectors = _vocabulary(contents, encoder) if n_keywords else ([], None)
    clusters: list[Cluster] = []
    for number in np.argsort(-np.bincount(labels, minlength=wanted), kind="stable").tolist():
        rows = np.flatnonzero(labels == number)
        if not len(rows):
            continue
        scores = centred[rows] @ centres[number]
        rows = rows[np.argsort(-scores, kind="stable")]
        members = [contents.items[int(i)] for i in ids[rows]]
        nearest = _nearest_words(centres[number], words, word_vectors, n=n_keywords)
        clusters.append(_cluster(len(clusters) + 1, members, nearest, float(scores.mean())))
    return clusters


def _cluster(
    number: int, members: Sequence[Item], keywords: tuple[str, ...], cohesion: float
) -> Cluster:
    kinds = [item.modality for item in members]
    return Cluster(
        number=number,
        keywords=keywords,
        ids=tuple(item.id for item in members),
        paths=tuple(item.path for item in members),
        modalities={m: kinds.count(m) for m in dict.fromkeys(kinds)},
        cohesion=round(cohesion, 4),
    )


def spherical_k_means(vectors: Vectors, *, k: int, seed: int = 0) -> tuple[Ids, Vectors]:
    """Cluster unit vectors by cosine (Dhillon and Modha 2001), first centres by k-means++.

    A centre is the unit mean of its members; a cluster that runs empty is restarted at the vector
    farthest from its own centre. Deterministic for a seed.

    Args:
        vectors: float32 [N, D], unit length.
        k: 1 to N.
        seed: of the first centres.

    Returns:
        Cluster of each row, int64 [N], and the centres, float32 [k, D], unit length.

    Example:
        >>> labels, _ = spherical_k_means(np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], k=2)
        >>> bool(labels[0] == labels[2] != labels[1] == labels[3])
        True
    """
    centres = _first_centres(vectors, k=k, rng=np.random.default_rng(seed))
    labels = np.full(len(vectors), -1, dtype=np.int64)
    for _ in range(_MAX_ROUNDS):
        scores = vectors @ centres.T
        found = np.argmax(scores, axis=1).astype(np.int64)
        if np.array_equal(found, labels):
            break
        labels = found
        best = scores[np.arange(len(vectors)), labels]
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, vectors)
        for empty in np.flatnonzero(np.bincount(labels, minlength=k) == 0):
            farthest = int(np.argmin(best))
            sums[empty], best[farthest] = vectors[farthest], np.inf
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 1e-6, sums / np.maximum(norms, 1e-6), centres)
    return labels, centres.astype(np.float32)


def find_outliers(
    contents: Contents, *, n: int = 20, modality: Modality | None = None, n_neighbours: int = 5
) -> list[Outlier]:
    """Find the items least like their nearest neighbours of the same modality.

    Args:
        contents: of the store.
        n: how many, >= 1.
        modality: only items of this one.
        n_neighbours: over how many the similarity is averaged.

    Returns:
        The strangest first, by z, ties by id; a modality with fewer than three items has none.

    Raises:
        UsageError: nothing to compare (`too_few_items`).
    """
    ids, vectors = _chosen(contents, modality)
    kinds = np.array([contents.items[int(i)].modality for i in ids])
    found = []
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        if len(rows) < 3:
            continue
        near = _mean_of_nearest(vectors[rows], n=min(n_neighbours, len(rows) - 1))
        z = (near - near.mean()) / max(float(near.std()), 1e-9)
        for row, similarity, score in zip(rows, near.tolist(), z.tolist(), strict=True):
            item = contents.items[int(ids[row])]
            found.append(
                Outlier(item.id, item.path, item.modality, round(similarity, 4), round(score, 3))
            )
    return sorted(found, key=lambda one: (one.z, one.id))[:n]


def _chosen(contents: Contents, modality: Modality | None) -> tuple[Ids, Vectors]:
    ids, vectors = contents.item_vectors()
    kept = [
        row
        for row, id_ in enumerate(ids.tolist())
        if vectors[row].any() and modality in (None, contents.items[id_].modality)
    ]
    if len(kept) < 3:
        raise UsageError(
            f"the store has {len(kept)} items to compare; three are needed", code="too_few_items"
        )
    return ids[kept], vectors[kept]


def _centred(vectors: Vectors, modalities: Sequence[str]) -> Vectors:
    kinds = np.array(modalities)
    out = vectors.copy()
    for kind in np.unique(kinds):
        rows = kinds == kind
        if rows.sum() > 1:
            out[rows] -= out[rows].mean(axis=0)
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(norms > 1e-6, out / np.maximum(norms, 1e-6), vectors).astype(np.float32)


def _first_centres(vectors: Vectors, *, k: int, rng: np.random.Generator) -> Vectors:
    """Choose centres one by one, far ones more likely (Arthur and Vassilvitskii 2007)."""
    chosen = [int(rng.integers(len(vectors)))]
    distance = np.maximum(0.0, 1.0 - vectors @ vectors[chosen[0]]).astype(np.float64)
    while len(chosen) < k:
        total = distance.sum()
        rest = np.setdiff1d(np.arange(len(vectors)), chosen)
        weights = distance / total if total > 1e-9 else None
        pick = int(rng.choice(len(vectors), p=weights)) if weights is not None else int(rest[0])
        chosen.append(pick)
        distance = np.minimum(distance, np.maximum(0.0, 1.0 - vectors @ vectors[pick]))
        distance[chosen] = 0.0
    return vectors[chosen].copy()


def _vocabulary(contents: Contents, encoder: Encoder) -> tuple[list[str], Vectors | None]:
    """Everyday words and the words of the store's own texts, centred like the items."""
    if "text" not in contents.space.modalities or contents.space not in encoder.spaces:
        return [], None
    own: dict[str, int] = {}
    for part in contents.parts:
        for word in _WORD.findall((part.text or "").lower()):
            own[word] = own.get(word, 0) + 1
    # A word that one text alone has says more about the text than about a group.
    common = sorted((w for w in own if own[w] > 1), key=lambda word: (-own[word], word))
    words = list(dict.fromkeys([*WORDS, *common]))[:_MAX_VOCABULARY]
    vectors = encoder.encode(words, modality="text", space=contents.space)
    known = np.flatnonzero(vectors.any(axis=1))
    vectors = vectors[known]
    return [words[i] for i in known], _centred(vectors, ["text"] * len(vectors))


def _nearest_words(
    centre: Vectors, words: Sequence[str], vectors: Vectors | None, *, n: int
) -> tuple[str, ...]:
    if vectors is None or not len(words):
        return ()
    order = np.argsort(-(vectors @ centre), kind="stable")[:n]
    return tuple(words[i] for i in order)


def _mean_of_nearest(vectors: Vectors, *, n: int) -> npt.NDArray[np.float64]:
    out = np.empty(len(vectors), dtype=np.float64)
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        rows = np.arange(len(scores))
        scores[rows, start + rows] = -np.inf
        best = np.partition(scores, -n, axis=1)[:, -n:]
        out[start : start + len(scores)] = best.mean(axis=1)
    return out
