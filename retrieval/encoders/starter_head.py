"""The small trained parts that the starter's image and audio towers share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrieval.encoders.starter_files import Tensors, dequantise

Floats = npt.NDArray[np.float32]

_TOP = 20
_ROWS = 16


def unit(rows: Floats) -> Floats:
    """Scale rows to length one; rows of zeros stay.

    Args:
        rows: float32 [N, D].

    Returns:
        float32 [N, D].

    Example:
        >>> unit(np.array([[3.0, 4.0]], np.float32)).round(1).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)


def times(rows: Floats, matrix: Floats, *, n_rows: int = _ROWS) -> Floats:
    """Multiply so that a row's product does not depend on the rows beside it.

    BLAS picks its kernel, and with it the order of the sums, by the number of rows; a file's vector
    must be the same bits whatever batch it came in. So rows go in blocks of one fixed number.

    Args:
        rows: float32 [N, F].
        matrix: float32 [F, D].
        n_rows: of a block; large ones are faster for many rows, small ones for a few.

    Returns:
        float32 [N, D].

    Example:
        >>> times(np.ones((3, 2), np.float32), np.ones((2, 1), np.float32)).tolist()
        [[2.0], [2.0], [2.0]]
    """
    out = np.empty((len(rows), matrix.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), n_rows):
        part = rows[start : start + n_rows]
        if len(part) == n_rows:
            np.matmul(part, matrix, out=out[start : start + n_rows])
            continue
        block = np.zeros((n_rows, rows.shape[1]), dtype=np.float32)
        block[: len(part)] = part
        out[start:] = (block @ matrix)[: len(part)]
    return out


def gelu(x: Floats) -> Floats:
    """Apply GELU by its tanh form: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).

    Example:
        >>> gelu(np.array([0.0, 10.0], np.float32)).round(3).tolist()
        [0.0, 10.0]
    """
    # x * x * x, since numpy's power is ten times as slow.
    inner = np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * (x * x * x)))
    return np.asarray(np.float32(0.5) * x * (1 + inner), dtype=np.float32)


class Head:
    """Two layers: normalised input -> hidden (GELU) -> the space.

    Args:
        tensors: `mean`, `spread` [F], `w1` [H, F], `b1` [H], `w2` [D, H], `b2` [D].
    """

    def __init__(self, tensors: Tensors) -> None:
        self._mean = tensors["mean"].astype(np.float32)
        self._spread = tensors["spread"].astype(np.float32)
        self._w1, self._b1 = dequantise(tensors, "w1").T, tensors["b1"].astype(np.float32)
        self._w2, self._b2 = dequantise(tensors, "w2").T, tensors["b2"].astype(np.float32)

    def __call__(self, feature: Floats) -> Floats:
        """Map features float32 [N, F] to float32 [N, D]."""
        return self.read(self.standardised(feature))

    def read(self, standard: Floats) -> Floats:
        """Map what `standardised` gave, float32 [N, F], to float32 [N, D]."""
        return np.asarray(times(self._inner(standard), self._w2) + self._b2, dtype=np.float32)

    def hidden(self, feature: Floats) -> Floats:
        """Compute the first layer: features float32 [N, F] to float32 [N, H]."""
        return self._inner(self.standardised(feature))

    def _inner(self, standard: Floats) -> Floats:
        return gelu(times(standard, self._w1) + self._b1)

    def standardised(self, feature: Floats) -> Floats:
        """Bring features float32 [N, F] to mean 0 and spread 1, as the training pictures have."""
        return np.asarray((feature - self._mean) / self._spread, dtype=np.float32)


def consensus(logits: Floats, *, names: Floats) -> tuple[Floats, Floats]:
    """Average the vectors of the likeliest class names (ConSE, Norouzi et al. 2014).

    Args:
        logits: float32 [N, C].
        names: float32 [C, D], unit length.

    Returns:
        norm(sum of p(c) name(c) over the 20 likeliest classes) float32 [N, D], and the largest
        p(c) float32 [N, 1].

    Example:
        >>> named, sure = consensus(np.array([[9.0, 0.0]]), names=np.eye(2))
        >>> bool(sure[0, 0] > 0.9)
        True
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    if p.shape[1] > _TOP:
        floor = np.partition(p, -_TOP, axis=1)[:, -_TOP, None]
        p = np.where(p >= floor, p, 0.0)
    named = unit(times(p.astype(np.float32), names.astype(np.float32)))
    return named, np.asarray(p.max(axis=1, keepdims=True), dtype=np.float32)
