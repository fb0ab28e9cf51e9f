"""The geometry of a store's vectors in figures: gap, alignment, uniformity, hubs, consistency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.contents import Contents
from retrieval.errors import UsageError

__all__ = [
    "Analysis", "Pairing", "Spread", "analyze", "group_items", "hub_counts", "hubness",
    "pair_cosines", "sample_rows", "uniformity",
]  # fmt: skip

Vectors = npt.NDArray[np.float32]

_MAX_ROWS = 4000
_K = 10


@dataclass(frozen=True, slots=True)
class Spread:
    """How the items of one modality lie.

    Attributes:
        modality: which.
        n_items: how many there are; of more than 4,000 a sample is measured.
        mean_cosine: of two different items; 1 says they all lie in one direction.
        uniformity: log mean exp(-2 |a - b|^2) over pairs; the lower, the better spread
            (Wang and Isola 2020; 0 at worst, about -4 for directions at random).
        hubness: skewness of how often an item is among the 10 nearest of another
            (Radovanovic et al. 2010); above 1 there are hubs that match everything.
    """

    modality: str
    n_items: int
    mean_cosine: float
    uniformity: float
    hubness: float


@dataclass(frozen=True, slots=True)
class Pairing:
    """How two modalities lie to each other.

    Attributes:
        modalities: their names, e.g. `image-text`.
        gap: distance of their mean vectors (Liang et al. 2022), in [0, 2].
        mean_cosine: of items of the one and of the other, at random.
        n_pairs: items that own both: a picture and its caption, a video's frames and its sound.
        alignment: mean |a - b|^2 of such pairs; 0 is perfect (Wang and Isola 2020).
        consistency: correlation of the cosines within the one modality with those of their
            partners within the other: whether both see the same likenesses. In [-1, 1].
    """

    modalities: str
    gap: float
    mean_cosine: float
    n_pairs: int
    alignment: float | None
    consistency: float | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of the vectors of a store.

    Attributes:
        model: whose they are.
        dim: their length.
        n_parts: how many there are.
        effective_dim: (sum of eigenvalues)^2 / sum of their squares of the covariance: in how many
            directions they really vary.
        spreads: by modality of the parts.
        pairings: of every two modalities.
    """

    model: str
    dim: int
    n_parts: int
    effective_dim: float
    spreads: tuple[Spread, ...]
    pairings: tuple[Pairing, ...]


def analyze(contents: Contents, *, seed: int = 0) -> Analysis:
    """Measure the geometry of a store's vectors.

    Items are compared by the mean of their parts of one modality.

    Args:
        contents: of the store.
        seed: of the samples of large modalities.

    Returns:
        The figures.

    Raises:
        UsageError: fewer than three parts (`too_few_items`).
    """
    if len(contents.parts) < 3:
        raise UsageError(
            f"the store has {len(contents.parts)} parts; three are needed", code="too_few_items"
        )
    rng = np.random.default_rng(seed)
    groups = {kind: group_items(contents, kind) for kind in ("image", "audio", "text")}
    groups = {kind: found for kind, found in groups.items() if found}
    sampled = {kind: sample_rows(np.stack(list(f.values())), rng) for kind, f in groups.items()}
    spreads = tuple(
        Spread(
            modality=kind,
            n_items=len(groups[kind]),
            mean_cosine=round(_mean_cosine(rows), 4),
            uniformity=round(uniformity(rows), 4),
            hubness=round(hubness(rows, k=min(_K, len(rows) - 1)), 4),
        )
        for kind, rows in sampled.items()
        if len(rows) > 1
    )
    kinds = list(groups)
    pairings = tuple(
        _pairing(a, b, groups=groups, sampled=sampled, rng=rng)
        for place, a in enumerate(kinds)
        for b in kinds[place + 1 :]
    )
    return Analysis(
        model=contents.space.model,
        dim=contents.space.dim,
        n_parts=len(contents.parts),
        effective_dim=round(_effective_dim(sample_rows(contents.vectors, rng)), 2),
        spreads=spreads,
        pairings=pairings,
    )


def uniformity(vectors: Vectors) -> float:
    """Measure how evenly unit vectors cover the sphere: log mean exp(-2 |a - b|^2), a != b.

    Args:
        vectors: float32 [N, D], N >= 2, unit length.

    Returns:
        At most 0; lower is more even.

    Example:
        >>> round(uniformity(np.array([[1, 0], [-1, 0]], dtype=np.float32)), 3)
        -8.0
    """
    cosines = pair_cosines(vectors)
    return float(np.log(np.mean(np.exp(-2.0 * (2.0 - 2.0 * cosines)))))


def hub_counts(vectors: Vectors, *, k: int) -> npt.NDArray[np.int64]:
    """Count how often each row is among the k nearest of another row.

    Args:
        vectors: float32 [N, D], unit length.
        k: 1 to N - 1.

    Returns:
        int64 [N], summing to N k.
    """
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.bincount(nearest.ravel(), minlength=len(vectors))


def hubness(vectors: Vectors, *, k: int) -> float:
    """Measure hubs: skewness of the counts of how often each row is among the k nearest of others.

    Args:
        vectors: float32 [N, D], unit length.
        k: 1 to N - 1.

    Returns:
        The third standardised moment; 0 where all counts are equal.

    Example:
        >>> hubness(np.eye(3, dtype=np.float32), k=2)
        0.0
    """
    counts = hub_counts(vectors, k=k).astype(np.float64)
    spread = float(counts.std())
    return float(np.mean(((counts - counts.mean()) / spread) ** 3)) if spread > 0 else 0.0


def _pairing(
    a: str,
    b: str,
    *,
    groups: dict[str, dict[int, Vectors]],
    sampled: dict[str, Vectors],
    rng: np.random.Generator,
) -> Pairing:
    both = sorted(set(groups[a]) & set(groups[b]))
    if len(both) > _MAX_ROWS:
        both = sorted(rng.choice(both, _MAX_ROWS, replace=False).tolist())
    alignment = consistency = None
    if both:
        left = np.stack([groups[a][i] for i in both])
        right = np.stack([groups[b][i] for i in both])
        alignment = round(float(np.mean(np.sum((left - right) ** 2, axis=1))), 4)
        one, other = pair_cosines(left), pair_cosines(right)
        if len(both) > 2 and one.std() > 1e-9 and other.std() > 1e-9:
            consistency = round(float(np.corrcoef(one, other)[0, 1]), 4)
    first, second = sampled[a], sampled[b]
    gap = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    return Pairing(
        modalities=f"{a}-{b}",
        gap=round(float(gap), 4),
        mean_cosine=round(float(first.mean(axis=0) @ second.mean(axis=0)), 4),
        n_pairs=len(both),
        alignment=alignment,
        consistency=consistency,
    )


def group_items(contents: Contents, kind: str) -> dict[int, Vectors]:
    """Average each item's parts of one modality. Item id -> float32 [D], unit length."""
    rows: dict[int, list[int]] = {}
    for row, part in enumerate(contents.parts):
        if part.modality == kind:
            rows.setdefault(part.item_id, []).append(row)
    means = {id_: contents.vectors[own].mean(axis=0) for id_, own in rows.items()}
    lengths = {id_: float(np.linalg.norm(mean)) for id_, mean in means.items()}
    return {id_: means[id_] / lengths[id_] for id_ in means if lengths[id_] > 1e-6}


def sample_rows(rows: Vectors, rng: np.random.Generator) -> Vectors:
    """Take at most 4,000 rows, in order. float32 [M, D]"""
    if len(rows) <= _MAX_ROWS:
        return rows
    return rows[np.sort(rng.choice(len(rows), _MAX_ROWS, replace=False))]


def pair_cosines(vectors: Vectors) -> npt.NDArray[np.float64]:
    """Give the cosine of every two different rows. float64 [N (N - 1) / 2]"""
    scores = (vectors @ vectors.T).astype(np.float64)
    return scores[np.triu_indices(len(vectors), k=1)]


def _mean_cosine(vectors: Vectors) -> float:
    return float(pair_cosines(vectors).mean())


def _effective_dim(vectors: Vectors) -> float:
    values = np.maximum(np.linalg.eigvalsh(np.cov(vectors.T)), 0)
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / squares if squares > 0 else 0.0
