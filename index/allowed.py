"""A filter that is used for many searches: which ids may be answers, as bits."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from index.checks import check_ids
from index.ids import IdTable
from index.types import Ids, Mask

# A bitmap over ids is looked up ten times faster than they are searched, while it stays small.
_BITS_PER_ID = 64


class Allowed:
    """Ids that may be answers, to be made once and given to many searches.

    What it means for an index, a mask over its positions, is remembered until the index changes.
    Safe to share between threads.

    Args:
        ids: int64 [A], any order, none negative; must not change afterwards.
        expression: the same set, or one that holds it, in the words of an engine that filters by
            fields of its own (see `index.remote`); empty where there are none.

    Raises:
        InputError: ids are of another type or shape.

    Example:
        >>> from index.exact import ExactIndex
        >>> exact = ExactIndex(2)
        >>> exact.add(np.eye(2, dtype=np.float32), ids=np.array([4, 9]))
        >>> exact.search(np.array([[0, 1]], np.float32), k=2, allowed=Allowed(np.array([4]))).counts
        array([1])
    """

    def __init__(self, ids: Ids, *, expression: str = "") -> None:
        self.ids = check_ids(ids, what="allowed")
        self.expression = expression
        self._masks: WeakKeyDictionary[IdTable, tuple[int, Mask, int]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self.ids)

    def over(self, table: IdTable) -> tuple[Mask, int]:
        """Give the positions of a table that are alive and allowed.

        Returns:
            bool [n_positions], not to be changed, and how many are True.
        """
        known = self._masks.get(table)
        if known is None or known[0] != table.version:
            mask = self._mask(table)
            known = (table.version, mask, int(np.count_nonzero(mask)))
            self._masks[table] = known
        return known[1], known[2]

    def _mask(self, table: IdTable) -> Mask:
        n = table.n_positions
        highest = int(self.ids.max()) if self.ids.size else -1
        if highest >= _BITS_PER_ID * (len(self.ids) + n):
            mask = np.zeros(n, np.bool_)
            mask[table.find(self.ids)] = True
            return mask
        bits = np.zeros(highest + 2, np.bool_)  # the last one stands for every higher id
        bits[self.ids] = True
        mask = bits[np.minimum(table.ids, highest + 1)]
        mask &= table.live
        return mask
