"""Fusion as pure functions: of vectors (feature level), of ranks and of scores (decision level).

Scores of different Spaces are never added as they are: ranks are, or scores brought to one scale.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from index.types import Vectors
from retrieval.errors import InputError

# Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).
RRF_CONSTANT = 60

VectorRule = Literal["sum", "average", "max", "min", "concat"]
ScoreRule = Literal["sum", "mnz", "average", "max", "min"]
Scores = Mapping[int, float]

_MIN_NORM = 1e-6


def fuse_ranks(
    rankings: Sequence[Sequence[int]], *, weights: Sequence[float] | None = None
) -> list[int]:
    """Fuse rankings by reciprocal rank: sum of w / (60 + rank), rank from 1; ties by id.

    Args:
        rankings: ids, best first.
        weights: one for each ranking, not negative; 1 each when left out.

    Returns:
        Every id once, best first.

    Raises:
        InputError: the weights do not fit.

    Example:
        >>> fuse_ranks([[1, 2, 3], [2, 4]])
        [2, 1, 4, 3]
    """
    scores: dict[int, float] = defaultdict(float)
    for weight, ranking in zip(_weights(weights, len(rankings)), rankings, strict=True):
        for rank, id_ in enumerate(ranking, start=1):
            scores[id_] += weight / (RRF_CONSTANT + rank)
    return sorted(scores, key=lambda id_: (-scores[id_], id_))


def fuse_scores(
    lists: Sequence[Scores], *, rule: ScoreRule = "sum", weights: Sequence[float] | None = None
) -> dict[int, float]:
    """Fuse lists of scores (Fox and Shaw, TREC-2, 1994).

    Each list is first brought to [0, 1]: (s - min) / (max - min), or 1 where all are equal; an id
    that a list lacks has 0 there. `sum` is CombSUM, the weighted sum; `mnz` CombMNZ, that times
    the number of lists with the id; `average` the weighted mean over the lists that have it;
    `max` and `min` the largest and smallest over all lists, weights applied.

    Args:
        lists: id to score, higher is better.
        rule: how to fuse.
        weights: one for each list, not negative; 1 each when left out.

    Returns:
        Every id with its fused score, best first, ties by id.

    Raises:
        InputError: the weights do not fit, or the rule is unknown.

    Example:
        >>> fuse_scores([{1: 0.9, 2: 0.5}, {2: 7.0, 3: 3.0}], rule="mnz")
        {2: 2.0, 1: 1.0, 3: 0.0}
    """
    if rule not in _SCORE_RULES:
        raise InputError(f"rule is {rule!r}; it must be one of {', '.join(_SCORE_RULES)}")
    sizes = _weights(weights, len(lists))
    scaled = [scaled_scores(scores) for scores in lists]
    fused: dict[int, float] = {}
    for id_ in {id_ for scores in scaled for id_ in scores}:
        values = [w * s.get(id_, 0.0) for w, s in zip(sizes, scaled, strict=True)]
        present = [w for w, s in zip(sizes, scaled, strict=True) if id_ in s]
        fused[id_] = _SCORE_RULES[rule](values, present)
    return dict(sorted(fused.items(), key=lambda entry: (-entry[1], entry[0])))


def fuse_vectors(
    vectors: Mapping[str, Vectors],
    *,
    rule: VectorRule = "sum",
    weights: Mapping[str, float] | None = None,
) -> Vectors:
    """Fuse the vectors of an item's or query's modalities to one of unit length.

    A row that is all zero is a missing part: the others count alone, as if their weights had been
    brought to the same sum. `sum` adds them weighted (alpha, beta, gamma), `average` is the same
    with equal weights, `max` and `min` go dimension by dimension over what is there, `concat`
    puts them side by side in the order of their names, each times the root of its weight, so that
    the cosine of two such vectors is the weighted mean of the cosines.

    Args:
        vectors: modality to float32 [N, D], unit length or zero; one shape but for `concat`.
        rule: how to fuse.
        weights: modality to weight, above 0; 1 each when left out.

    Returns:
        float32 [N, D] ([N, sum of D] for `concat`), unit length; zero where nothing is there or
        all cancels out.

    Raises:
        InputError: shapes or weights do not fit, the rule is unknown, or a weight has no effect.

    Example:
        >>> image, text = np.eye(2, dtype=np.float32)[:1], np.eye(2, dtype=np.float32)[1:]
        >>> fuse_vectors({"image": image, "text": text}, weights={"image": 3, "text": 4}).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    names = sorted(vectors)
    if not names:
        raise InputError("there are no vectors to fuse")
    if rule not in ("sum", "average", "max", "min", "concat"):
        raise InputError(f"rule is {rule!r}; it must be sum, average, max, min or concat")
    if weights is not None and (rule not in ("sum", "concat") or sorted(weights) != names):
        raise InputError(f"weights must name {', '.join(names)}, for the rules sum and concat")
    sizes = _weights([weights[n] for n in names] if weights else None, len(names))
    if not all(size > 0 for size in sizes):
        raise InputError("each weight must be above 0; leave out the modality instead")
    shapes = {vectors[n].shape if rule != "concat" else vectors[n].shape[:1] for n in names}
    if len(shapes) > 1 or any(vectors[n].ndim != 2 for n in names):
        raise InputError(f"vectors of shapes {[vectors[n].shape for n in names]} cannot be fused")
    columns = [vectors[n].astype(np.float64) for n in names]
    if rule == "concat":
        scaled = [np.sqrt(s) * c for s, c in zip(sizes, columns, strict=True)]
        return _unit(np.concatenate(scaled, axis=1))
    if rule in ("sum", "average"):
        weighted = [s * c for s, c in zip(sizes, columns, strict=True)]
        return _unit(np.sum(weighted, axis=0))
    return _unit(_extreme(np.stack(columns), largest=rule == "max"))


def project_vectors(vectors: Vectors, *, dim: int, seed: int = 0) -> Vectors:
    """Shorten vectors, such as concatenated ones, without looking at any data.

    v -> unit(v R), R float64 [D, dim] with orthonormal columns: the Q factor of a seeded normal
    matrix. Cosines are kept up to about 1 / sqrt(dim) (Johnson and Lindenstrauss 1984), and as
    nothing is fitted, vectors of other days and machines fit the same projection.

    Args:
        vectors: float32 [N, D], unit length or zero.
        dim: of the result, 1 to D.
        seed: vectors are comparable when D, dim and seed are the same.

    Returns:
        float32 [N, dim], unit length, zero where the input was.

    Raises:
        InputError: dim is outside 1 to D.

    Example:
        >>> project_vectors(np.eye(4, dtype=np.float32), dim=2).shape
        (4, 2)
    """
    own = vectors.shape[1] if vectors.ndim == 2 else 0
    if not 1 <= dim <= own:
        raise InputError(f"dim is {dim}; vectors of {own} dimensions project to 1 to {own}")
    normal = np.random.default_rng(seed).normal(size=(own, dim))
    orthonormal, upper = np.linalg.qr(normal)
    # Signs as on every machine: LAPACK is free to flip a column.
    return _unit(vectors @ (orthonormal * np.sign(np.diag(upper))))


def _extreme(columns: np.ndarray, *, largest: bool) -> np.ndarray:
    """Take the largest or smallest of each dimension over the rows that are there."""
    there = columns.any(axis=2, keepdims=True)
    filled = np.where(there, columns, -np.inf if largest else np.inf)
    found = filled.max(axis=0) if largest else filled.min(axis=0)
    return np.where(there.any(axis=0), found, 0.0)


def scaled_scores(scores: Scores) -> dict[int, float]:
    """Bring scores to [0, 1]: (s - min) / (max - min), or 1 where all are equal.

    Example:
        >>> scaled_scores({7: 2.0, 8: 4.0, 9: 3.0})
        {7: 0.0, 8: 1.0, 9: 0.5}
    """
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {id_: (score - low) / (high - low) for id_, score in scores.items()}


def _mean(values: Sequence[float], present: Sequence[float]) -> float:
    total = sum(present)
    return sum(values) / total if total else 0.0


_SCORE_RULES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "sum": lambda values, _: sum(values),
    "mnz": lambda values, present: sum(values) * len(present),
    "average": _mean,
    "max": lambda values, _: max(values),
    "min": lambda values, _: min(values),
}


def _weights(weights: Sequence[float] | None, n: int) -> list[float]:
    if weights is None:
        return [1.0] * n
    good = len(weights) == n and all(np.isfinite(w) and w >= 0 for w in weights)
    if not good:
        raise InputError(f"weights are {list(weights)}; they must be {n} numbers, none negative")
    return [float(w) for w in weights]


def _unit(rows: np.ndarray) -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Vectors = np.where(norms > _MIN_NORM, rows / np.maximum(norms, _MIN_NORM), 0.0).astype(
        np.float32
    )
    return unit
