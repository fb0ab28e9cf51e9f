"""Hub correction: items that are near to every query are moved away from all of them.

    score(q, x) = q.x - alpha b(x)      b(x) = mean of the k largest similarities of x to a bank

(Nearest-neighbour normalisation, Chowdhury et al., EMNLP 2024.) The bank is a sample of queries
of the modality that asks. As one more component of the vectors, [x, b(x)] and [q, -alpha], the
corrected score is a plain inner product, which every index ranks by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.types import Vectors
from retrieval.errors import InputError

__all__ = ["ALPHAS", "Choice", "choose_alpha", "hub_bias", "with_alpha", "with_bias"]

N_NEAREST = 16
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_BLOCK_ROWS = 8192


def hub_bias(items: Vectors, *, bank: Vectors, k: int = N_NEAREST) -> Vectors:
    """Measure how near each item is to the queries of a bank.

    Args:
        items: float32 [N, D], unit length.
        bank: float32 [B, D], unit length, queries of the modality that asks.
        k: how many of the nearest queries count, 1 or more; all of a smaller bank.

    Returns:
        float32 [N], the mean of each item's k largest similarities, in [-1, 1].

    Raises:
        InputError: the bank is empty, or the shapes do not fit.

    Example:
        >>> bank = np.eye(3, dtype=np.float32)
        >>> hub_bias(np.array([[1, 0, 0], [0.6, 0.8, 0]], np.float32), bank=bank, k=2).round(2)
        array([0.5, 0.7], dtype=float32)
    """
    if not len(bank) or k < 1 or items.ndim != 2 or items.shape[1:] != bank.shape[1:]:
        raise InputError(
            f"items {items.shape}, bank {bank.shape}, k {k}: give a bank of queries of the items' "
            "dimension and k of 1 or more"
        )
    n_nearest = min(k, len(bank))
    out = np.empty(len(items), np.float32)
    for start in range(0, len(items), _BLOCK_ROWS):
        scores = items[start : start + _BLOCK_ROWS] @ bank.T
        nearest = np.partition(scores, len(bank) - n_nearest, axis=1)[:, len(bank) - n_nearest :]
        out[start : start + _BLOCK_ROWS] = nearest.mean(axis=1)
    return out


def with_bias(items: Vectors, *, bias: Vectors) -> Vectors:
    """Append each item's bias as one more component. float32 [N, D + 1], of no unit length."""
    return np.concatenate([items, bias[:, None]], axis=1, dtype=np.float32)


def with_alpha(queries: Vectors, *, alpha: float) -> Vectors:
    """Append -alpha to each query, so that inner products are corrected. float32 [Q, D + 1].

    Example:
        >>> item = with_bias(np.array([[1, 0]], np.float32), bias=np.array([0.5], np.float32))
        >>> (with_alpha(np.array([[0.8, 0.6]], np.float32), alpha=0.5) @ item.T).round(2).tolist()
        [[0.550000011920929]]
    """
    column = np.full((len(queries), 1), -alpha, np.float32)
    return np.concatenate([queries, column], axis=1, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Choice:
    """The strength of the correction for one direction.

    Attributes:
        alpha: 0 says that the correction stays off.
        values: alpha -> mean quality over the validation queries.
        gain: of the chosen alpha over 0.
    """

    alpha: float
    values: Mapping[float, float]
    gain: float


def choose_alpha(
    quality: Mapping[float, Sequence[float] | npt.NDArray[np.float64]], *, n_errors: float = 2.0
) -> Choice:
    """Choose the strength that is best for validation queries; off unless it surely helps.

    Args:
        quality: alpha -> quality of each validation query (recall at 10, say), the same queries
            for each; alpha 0 among them.
        n_errors: how many standard errors of the paired difference the gain must exceed.

    Returns:
        The choice; the smallest of equally good strengths.

    Raises:
        InputError: there is no alpha 0, or the queries are not the same.

    Example:
        >>> choose_alpha({0.0: [0, 0, 0, 1], 0.5: [1, 1, 1, 1]}).alpha
        0.5
        >>> choose_alpha({0.0: [0, 0, 0, 1], 0.5: [0, 1, 0, 1]}).alpha
        0.0
    """
    rows = {alpha: np.asarray(values, dtype=np.float64) for alpha, values in quality.items()}
    if 0.0 not in rows or len({row.shape for row in rows.values()}) > 1 or not len(rows[0.0]):
        raise InputError("give the quality of the same queries for each alpha, 0 among them")
    means = {alpha: float(row.mean()) for alpha, row in sorted(rows.items())}
    best = max(means, key=lambda alpha: means[alpha])
    change = rows[best] - rows[0.0]
    error = float(change.std(ddof=1)) / np.sqrt(len(change)) if len(change) > 1 else np.inf
    alpha = best if float(change.mean()) > n_errors * error else 0.0
    return Choice(alpha, means, means[alpha] - means[0.0])
