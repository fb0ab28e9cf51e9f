"""What the index layer demands of its input, said once. Nothing is converted in silence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from index.errors import InputError
from index.types import Ids

MAX_DIM = 65_536
MAX_K = 100_000
"""A batch of answers takes 20 bytes per column; callers facing the network set a lower limit."""

_FLOAT32 = np.dtype(np.float32)
UNIT_TOLERANCE = 1e-3
_LEAST_SQUARE, _MOST_SQUARE = (1 - UNIT_TOLERANCE) ** 2, (1 + UNIT_TOLERANCE) ** 2


def check_dim(dim: int) -> int:
    """Refuse a dimension that is no whole number in 1..65536."""
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not 1 <= dim <= MAX_DIM:
        raise InputError(f"dim is {dim!r}; it must be a whole number from 1 to {MAX_DIM}")
    return int(dim)


def check_k(k: int) -> int:
    """Refuse a k that is no whole number in 1..100000."""
    if type(k) is int and 1 <= k <= MAX_K:  # as nearly always
        return k
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_K:
        raise InputError(f"k is {k!r}; it must be a whole number from 1 to {MAX_K}", code="bad_k")
    return int(k)


def check_vectors(vectors: npt.NDArray[np.floating], *, dim: int, what: str) -> None:
    """Refuse anything but finite unit rows, float32 [N, dim], C-order.

    Args:
        vectors: as the caller gave them.
        dim: length that every row must have.
        what: how to call them in messages, e.g. `queries`.

    Raises:
        InputError: wrong type, dtype, shape, order, a NaN, an infinity or a length away from 1.

    Example:
        >>> check_vectors(np.eye(2, dtype=np.float32), dim=2, what="vectors")
    """
    _check_form(vectors, dim=dim, what=what)
    if len(vectors) == 1 and _LEAST_SQUARE <= float(np.vdot(vectors, vectors)) <= _MOST_SQUARE:
        return
    # einsum squares without a temporary; a NaN or an infinity surfaces as a bad length
    squares = np.einsum("nd,nd->n", vectors, vectors)
    if not len(squares) or (squares.min() >= _LEAST_SQUARE and squares.max() <= _MOST_SQUARE):
        return
    lengths = np.sqrt(squares)
    bad = np.flatnonzero(~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))
    if bad.size:
        row, length = int(bad[0]), float(lengths[bad[0]])
        if not np.isfinite(vectors[row]).all():
            raise InputError(
                f"{what} row {row} holds NaN or an infinity; check the encoder that made it",
                code="not_finite",
            )
        raise InputError(
            f"{what} row {row} has length {length:.6g}; it must be 1 within {UNIT_TOLERANCE}: "
            "divide each row by its length",
            code="not_unit",
        )


def _check_form(vectors: npt.NDArray[np.floating], *, dim: int, what: str) -> None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != _FLOAT32:
        kind = getattr(vectors, "dtype", type(vectors).__name__)
        raise InputError(
            f"{what} are {kind}; they must be a float32 array: use numpy.float32", code="bad_dtype"
        )
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise InputError(
            f"{what} have shape {list(vectors.shape)}; they must be [N, {dim}]", code="bad_shape"
        )
    if not vectors.flags.c_contiguous:
        raise InputError(
            f"{what} are not in C order: use numpy.ascontiguousarray", code="bad_order"
        )


def check_ids(ids: Ids, *, what: str = "ids") -> Ids:
    """Refuse anything but int64 [N], none negative.

    Example:
        >>> check_ids(np.array([3, 1])).tolist()
        [3, 1]
    """
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        kind = getattr(ids, "dtype", type(ids).__name__)
        shape = list(getattr(ids, "shape", []))
        raise InputError(f"{what} are {kind} {shape}; they must be int64 [N]", code="bad_ids")
    if ids.size and int(ids.min()) < 0:
        raise InputError(f"{what} hold {int(ids.min())}; ids start at 0", code="bad_ids")
    return ids


def check_unique(ids: Ids) -> Ids:
    """Refuse ids of which one occurs twice.

    Example:
        >>> check_unique(np.array([3, 1])).tolist()
        [3, 1]
    """
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise InputError(
            f"id {int(twice[0])} occurs twice in one call; each vector needs its own id",
            code="duplicate_ids",
        )
    return ids


def check_same_length(n_vectors: int, n_ids: int) -> None:
    """Refuse vectors and ids of which there are not as many.

    Example:
        >>> check_same_length(2, 2)
    """
    if n_vectors != n_ids:
        raise InputError(
            f"{n_vectors} vectors came with {n_ids} ids; there must be as many of each",
            code="bad_shape",
        )
