"""Rows of a segment where they lie, proven when they are first read, and not kept in memory."""

from __future__ import annotations

import numpy as np

from index.row_blocks import RowBlock
from index.rows import StoredRows
from index.segments import Segment
from index.types import Ids


class SegmentBlock(RowBlock):
    """The rows of a mapped segment.

    Args:
        segment: opened with `verify=False`, or its rows were proven already.

    Example:
        >>> import tempfile, pathlib
        >>> from index.segments import open_segment, write_segment
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     info = write_segment(pathlib.Path(folder), np.eye(3, dtype=np.float32),
        ...         ids=np.arange(3), fingerprint="ab12", tmp=pathlib.Path(folder))
        ...     segment = open_segment(pathlib.Path(folder, info.name), verify=False)
        ...     SegmentBlock(segment).take(np.array([1])).tolist()
        [[0.0, 1.0, 0.0]]
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.name = segment.info.name
        self.n, self.dim = segment.rows.shape

    def take(self, at: Ids) -> StoredRows:
        """Copy rows out.

        Raises:
            DamagedError: they are not what was written.
        """
        self.segment.prove(at)
        rows: StoredRows = self.segment.rows[at]
        # The system maps 64 KiB around each row that is touched, and would keep them mapped; given
        # back they stay in the page cache.
        self.segment.release()
        return rows

    def slice(self, start: int, stop: int) -> StoredRows:
        """See rows that follow each other; what was seen before is not kept in memory.

        Raises:
            DamagedError: they are not what was written.
        """
        self.segment.release()
        self.segment.prove(np.arange(start, stop))
        return self.segment.rows[start:stop]
