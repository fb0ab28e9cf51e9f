"""Stored rows and what they mean: float16 on disk and in memory, float32 unit rows in every sum."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from index.errors import InputError
from index.types import Ids, StoredDtype, Vectors

Half = npt.NDArray[np.float16]
StoredRows = Half | npt.NDArray[np.float32]
Scales = npt.NDArray[np.float32]

CHUNK_ROWS = 1_024  # stays in the cache


def check_dtype(dtype: str) -> StoredDtype:
    """Refuse a storage dtype other than float16 and float32.

    Example:
        >>> check_dtype("float16")
        'float16'
    """
    if dtype == "float16":
        return "float16"
    if dtype == "float32":
        return "float32"
    raise InputError(f"dtype is {dtype!r}; it must be float16 or float32", code="bad_dtype")


def quantize(vectors: Vectors, *, dtype: str) -> Vectors:
    """Give vectors as they will read after being stored.

    Rounding to float16 moves a row off the unit sphere by up to 5e-4; reading moves it back. So
    what is searched before storing equals, bit for bit, what is searched after reopening. From
    dim 64 on, rows read from one segment and stored in another stay the same bits, too.

    Args:
        vectors: float32 [N, D], unit length.
        dtype: `float16` or `float32`.

    Returns:
        float32 [N, D], unit length; the same array for `float32`.

    Example:
        >>> quantize(np.array([[0.6, 0.8]], np.float32), dtype="float16").round(3).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    if check_dtype(dtype) == "float32":
        return vectors
    return read_rows(vectors.astype(np.float16))


def read_rows(stored: StoredRows, *, scales: Scales | None = None) -> Vectors:
    """Turn stored rows into the float32 unit rows they stand for.

    Args:
        stored: float16 or float32 [N, D].
        scales: float32 [N] from `row_scales`, when they are at hand.

    Returns:
        float32 [N, D]; a view where nothing needs to change.

    Example:
        >>> read_rows(np.array([[0.6, 0.8]], np.float32)).shape
        (1, 2)
    """
    if stored.dtype == np.float32:
        return stored  # type: ignore[return-value]  # the dtype was just compared
    half = cast(Half, stored)
    rows = widen(half)
    if scales is None:
        scales = _scales(rows) if len(half) <= CHUNK_ROWS else row_scales(half)
    rows *= scales[:, None]
    return rows


def widen(half: Half) -> Vectors:
    """Convert finite float16 to float32 seven times faster than `astype`, bit for bit the same.

    Shifted by 13 bits a float16 is a float32 whose exponent is too small by 112. Sign extension
    brings the sign to its place and three bits of exponent with it, which are masked away.

    Args:
        half: float16 [N, D], finite.

    Returns:
        float32 [N, D], a new array.

    Example:
        >>> widen(np.array([[-1.5, 6e-8]], np.float16)).tolist() == [[-1.5, 2.0**-24]]
        True
    """
    wide: Vectors = np.empty(half.shape, np.float32)
    for start in range(0, len(half), CHUNK_ROWS):
        here = slice(start, start + CHUNK_ROWS)
        bits = wide[here].view(np.int32)
        bits[:] = half[here].view(np.int16)
        bits <<= _TO_FLOAT32
        bits &= _NO_COPIED_SIGNS
        wide[here] *= _EXPONENTS_APART
    return wide


# As arrays, which numpy need not make of a number for every few rows.
_TO_FLOAT32 = np.array(13, np.int32)
_NO_COPIED_SIGNS = np.array(-0x70000001, np.int32)  # all but bits 28 to 30
_EXPONENTS_APART = np.array(2.0**112, np.float32)


class KeptScales:
    """What brings stored rows to length 1, computed when a row is first read: 4 bytes a row.

    Threads may share it; the worst is that both compute.

    Example:
        >>> kept, half = KeptScales(), np.array([[0.0, 2.0]], np.float16)
        >>> kept.read(half, at=np.array([7]), n=9).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self) -> None:
        # float32 [N, 1], times 2^112 for rows whose bits were shifted; 0: not computed yet.
        self._known: Scales = np.zeros((0, 1), np.float32)

    def read(self, half: Half, *, at: Ids, n: int) -> Vectors:
        """Turn float16 rows into float32 unit rows, to the last bit as `read_rows` does.

        Args:
            half: float16 [P, D].
            at: int64 [P], their positions, each of a row that never changes.
            n: how many positions there are.

        Returns:
            float32 [P, D], unit length, a new array.
        """
        factors = self._of(at, n=n)
        if np.count_nonzero(factors) < len(at) or len(half) > CHUNK_ROWS:
            return self.bring_to_one(widen(half), at=at, n=n)
        bits = half.view(np.int16).astype(np.int32)  # as `widen` does, with one product for two
        bits <<= _TO_FLOAT32
        bits &= _NO_COPIED_SIGNS
        rows: Vectors = bits.view(np.float32)
        rows *= factors
        return rows

    def bring_to_one(self, wide: Vectors, *, at: Ids, n: int) -> Vectors:
        """Divide rows that were float16 by their length; `read` where they still are.

        Args:
            wide: float32 [P, D], widened; changed in place.
            at, n: as for `read`.

        Returns:
            wide.
        """
        factors = self._of(at, n=n)
        if np.count_nonzero(factors) < len(at):
            self._known[at] = factors = _scales(wide)[:, None] * _EXPONENTS_APART
        wide *= factors / _EXPONENTS_APART
        return wide

    def _of(self, at: Ids, *, n: int) -> Scales:
        known = self._known
        if len(known) < n:
            n_kept = max(n, min(2 * len(known), len(known) + _MOST_SPARE))
            known = np.zeros((n_kept, 1), np.float32)
            known[: len(self._known)] = self._known
            self._known = known
        return known.take(at, axis=0)


_MOST_SPARE = 1_000_000


def row_scales(stored: StoredRows) -> Scales:
    """Compute what brings each stored row to length 1.

    Sums are taken in float64, so a row's scale does not depend on where it lies in the array.

    Args:
        stored: float16 [N, D].

    Returns:
        float32 [N]; infinite for a zero row, NaN for a row with an infinity or a NaN.

    Example:
        >>> row_scales(np.array([[0, 2]], np.float16)).tolist()
        [0.5]
    """
    scales = np.empty(len(stored), np.float32)
    for start in range(0, len(stored), CHUNK_ROWS):
        half = cast(Half, stored[start : start + CHUNK_ROWS])
        scales[start : start + len(half)] = _scales(widen(half))
    return scales


def _scales(wide: Vectors) -> Scales:
    rows = wide.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    scales: Scales
    if lengths.size and lengths.min() > 0 and lengths.max() < _LEAST_NOT_FINITE:
        scales = (1.0 / lengths).astype(np.float32)
        return scales
    with np.errstate(divide="ignore"):
        scales = (1.0 / lengths).astype(np.float32)
    scales[(np.abs(wide) >= _LEAST_NOT_FINITE).any(axis=1)] = np.nan
    return scales


_LEAST_NOT_FINITE = np.float32(2.0**16)  # `widen` makes it of an infinity, and more of a NaN
