"""The exact rows beside an index of codes: blocks in memory or mapped from segments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from index.rows import StoredRows, read_rows
from index.types import Ids, Vectors

PIECE_ROWS = 16_384


class RowBlock(ABC):
    """Stored rows that lie together and never change.

    Attributes:
        n, dim: shape.
        name: of the file they stand in; empty for memory.
    """

    n: int
    dim: int
    name: str = ""

    @abstractmethod
    def take(self, at: Ids) -> StoredRows:
        """Copy rows out, float16 or float32 [P, D]; at: int64 [P]."""

    @abstractmethod
    def slice(self, start: int, stop: int) -> StoredRows:
        """See rows that follow each other, without copying them where that is possible."""


class ArrayBlock(RowBlock):
    """Rows of an array.

    Example:
        >>> block = ArrayBlock(np.eye(3, dtype=np.float16))
        >>> block.take(np.array([2])).tolist()
        [[0.0, 0.0, 1.0]]
    """

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows
        self.n, self.dim = rows.shape

    def take(self, at: Ids) -> StoredRows:
        return self._rows[at]

    def slice(self, start: int, stop: int) -> StoredRows:
        return self._rows[start:stop]


class RowBlocks:
    """Rows by position, over blocks that follow each other.

    Example:
        >>> blocks = RowBlocks(2)
        >>> blocks.append(ArrayBlock(np.eye(2, dtype=np.float32)))
        >>> blocks.append(ArrayBlock(-np.eye(2, dtype=np.float32)))
        >>> blocks.rows(np.array([3, 0])).tolist()
        [[-0.0, -1.0], [1.0, 0.0]]
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._blocks: list[RowBlock] = []
        self._starts = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[RowBlock]:
        return iter(self._blocks)

    def append(self, block: RowBlock) -> None:
        """Give the next positions to the rows of a block."""
        self._blocks.append(block)
        self._starts = np.append(self._starts, self._starts[-1] + block.n)

    def rows(self, positions: Ids) -> Vectors:
        """Read rows as float32 unit vectors [P, D]."""
        if len(self._blocks) == 1:
            return read_rows(self._blocks[0].take(positions))
        rows = np.empty((len(positions), self._dim), np.float32)
        of = np.searchsorted(self._starts, positions, side="right") - 1
        for number in np.unique(of):
            mine = of == number
            rows[mine] = read_rows(
                self._blocks[number].take(positions[mine] - self._starts[number])
            )
        return rows

    def pieces(self) -> Iterator[tuple[StoredRows, slice]]:
        """Give all rows in pieces small enough to be widened to float32, with their positions."""
        for start, block in zip(self._starts, self._blocks, strict=False):
            for first in range(0, block.n, PIECE_ROWS):
                last = min(first + PIECE_ROWS, block.n)
                yield block.slice(first, last), slice(int(start) + first, int(start) + last)
