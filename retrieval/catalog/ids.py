"""One column of ids out of the database, fast."""

from __future__ import annotations

from itertools import chain

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa


def fetch_ids(connection: sa.Connection, statement: sa.Executable) -> npt.NDArray[np.int64]:
    """Read a statement of one whole-number column.

    The driver's own rows are taken: SQLAlchemy's take longer to make than the query itself
    (100,000 items, half of them: 43 ms against 27).

    Returns:
        int64 [N], in the order of the statement.
    """
    result = connection.execute(statement)
    assert result.cursor is not None  # a select has one
    rows = result.cursor.fetchall()
    result.close()
    return np.fromiter(chain.from_iterable(rows), np.int64, len(rows))
