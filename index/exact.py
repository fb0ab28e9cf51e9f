"""Brute force in numpy: the reference, and what serves while a faiss file is rebuilt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from index.base import Index, check_new_ids
from index.checks import check_vectors
from index.errors import InputError
from index.rows import Scales, StoredRows, check_dtype, row_scales
from index.scan import Block, scan
from index.types import Ids, Mask, Neighbors, SearchParameters, StoredDtype, Vectors

BUFFER_ROWS = 65_536

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(slots=True)
class _Rows:
    """Rows at positions that follow each other; `n` of them are in use."""

    rows: StoredRows
    scales: Scales | None
    n: int


class ExactIndex(Index):
    """Compare every query with every vector.

    Args:
        dim: length of a vector, 1 to 65536.
        dtype: `float32`, or `float16` for half the memory; scores then are those of
            `quantize(vectors, dtype="float16")`, as after storing and reopening a segment.

    Raises:
        InputError: dim or dtype is outside its limits.

    Example:
        >>> exact = ExactIndex(3, dtype="float16")
        >>> exact.add(np.eye(3, dtype=np.float32), ids=np.array([10, 11, 12]))
        >>> exact.search(np.eye(3, dtype=np.float32)[:1], k=1).ids.tolist()
        [[10]]
    """

    kind = "exact"

    def __init__(self, dim: int, *, dtype: str = "float32") -> None:
        super().__init__(dim)
        self._dtype: StoredDtype = check_dtype(dtype)
        self._parts: list[_Rows] = []
        self._growing = False  # whether the last part is a buffer of ours with room

    def add_block(self, rows: StoredRows, *, ids: Ids) -> None:
        """Store vectors without copying them, e.g. `segment.rows`, mapped from a file.

        Args:
            rows: float16 or float32 [N, D], C-order, finite; float32 rows of unit length, float16
                rows of any but zero, read as unit vectors. Must not change afterwards.
            ids: int64 [N], none negative, none twice, none in use.

        Raises:
            InputError: a rule above is broken; nothing was added.

        Example:
            >>> exact = ExactIndex(2)
            >>> exact.add_block(np.eye(2, dtype=np.float16), ids=np.array([4, 9]))
            >>> len(exact)
            2
        """
        scales = self._check_block(rows)
        check_new_ids(ids, n_vectors=len(rows))
        with self._guard.change():
            self._check_open()
            self._check_unused(ids)
            if len(ids):
                self._parts.append(_Rows(rows, scales, len(rows)))
                self._growing = False
                self._table.append(ids)

    def _check_block(self, rows: StoredRows) -> Scales | None:
        if not isinstance(rows, np.ndarray) or rows.dtype != np.float16:
            check_vectors(rows, dim=self.dim, what="rows")
            return None
        if rows.ndim != 2 or rows.shape[1] != self.dim or not rows.flags.c_contiguous:
            raise InputError(
                f"rows have shape {list(rows.shape)}; they must be [N, {self.dim}] in C order",
                code="bad_shape",
            )
        scales = row_scales(rows)
        bad = np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))
        if bad.size:
            raise InputError(f"rows row {int(bad[0])} is zero, NaN or infinite", code="not_finite")
        return scales

    def _add(self, vectors: Vectors, *, ids: Ids) -> None:  # noqa: ARG002
        """Copy into a buffer that doubles up to 65,536 rows; what is larger gets its own part.

        So many small adds make few parts, and no row is copied more than a few times.
        """
        rows: StoredRows = vectors.astype(self._dtype)
        scales = row_scales(rows) if rows.dtype == np.float16 else None
        if len(rows) >= BUFFER_ROWS:
            self._parts.append(_Rows(rows, scales, len(rows)))
            self._growing = False
            return
        if not self._growing or self._parts[-1].n + len(rows) > BUFFER_ROWS:
            self._parts.append(_Rows(rows, scales, len(rows)))
            self._growing = True
            return
        _extend(self._parts[-1], rows, scales)

    def _search(
        self,
        queries: Vectors,
        *,
        k: int,
        wanted: Mask | None,
        parameters: SearchParameters,  # noqa: ARG002  # the base refuses any with an effect
    ) -> Neighbors:
        if wanted is None and self._table.n_live < self._table.n_positions:
            wanted = self._table.live
        return scan(self._blocks(wanted), queries, k=k)

    def _blocks(self, wanted: Mask | None) -> Iterator[Block]:
        start = 0
        for part in self._parts:
            here = slice(start, start + part.n)
            yield Block(
                part.rows[: part.n],
                self._table.ids[here],
                wanted=None if wanted is None else wanted[here],
                scales=None if part.scales is None else part.scales[: part.n],
            )
            start += part.n

    def _forked(self) -> bool:
        # Rows behind a part's n belong to whoever comes last; n itself is each one's own.
        self._parts = [replace(part) for part in self._parts]
        return True

    def _close(self) -> None:
        self._parts = []


def _with_room(array: npt.NDArray[_Scalar], n: int) -> npt.NDArray[_Scalar]:
    grown = np.empty((n, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _extend(part: _Rows, rows: StoredRows, scales: Scales | None) -> None:
    n = part.n + len(rows)
    if n > len(part.rows):
        room = min(max(n, 2 * len(part.rows)), BUFFER_ROWS)  # n itself never exceeds it
        part.rows = cast(StoredRows, _with_room(part.rows[: part.n], room))
        part.scales = None if part.scales is None else _with_room(part.scales[: part.n], room)
    part.rows[part.n : n] = rows
    if part.scales is not None and scales is not None:
        part.scales[part.n : n] = scales
    part.n = n
