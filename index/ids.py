"""Which id stands at which position of an index, and which positions are still alive.

A back end only ever appends and knows positions 0..N-1. Removing an id marks its position dead;
adding it again gives it a new position.
"""

from __future__ import annotations

import numpy as np

from index.types import Ids, Mask


class IdTable:
    """Map ids to positions and back, in numpy, for millions of ids.

    Looking an id up is a binary search in a few sorted runs: each append makes a run, and a run is
    merged into its predecessor when it has grown to half of it. So there are O(log N) runs and
    each id is sorted O(log N) times, however small the appends. A dict would take 100 bytes an id.

    Example:
        >>> table = IdTable()
        >>> table.append(np.array([7, 3]))
        >>> table.find(np.array([3, 5])).tolist()
        [1]
        >>> table.remove(np.array([7, 9])), table.live_ids().tolist()
        (1, [3])
    """

    def __init__(self) -> None:
        self._ids = np.empty(0, np.int64)
        self._live = np.empty(0, np.bool_)
        self._n = 0
        self._n_live = 0
        self.version = 0  # rises with every change, so that what is derived can be kept
        # Ids ascending and their positions; where those follow each other, the first one alone.
        self._runs: list[tuple[Ids, Ids | int]] = []

    @property
    def n_positions(self) -> int:
        """Count positions, dead ones included."""
        return self._n

    @property
    def n_live(self) -> int:
        """Count positions that are alive."""
        return self._n_live

    @property
    def ids(self) -> Ids:
        """The id at each position, int64 [n_positions]; a view."""
        return self._ids[: self._n]

    @property
    def live(self) -> Mask:
        """Whether each position is alive, bool [n_positions]; a view."""
        return self._live[: self._n]

    def live_ids(self) -> Ids:
        """List the live ids, ascending, int64 [n_live]."""
        return np.sort(self.ids[self.live])

    def fork(self) -> IdTable:
        """Copy what a change would change; ids are shared, as none is ever overwritten.

        Only the last fork may be appended to: its new ids stand where those of the others end.
        """
        other = IdTable()
        other._ids, other._live = self._ids, self._live.copy()
        other._n, other._n_live = self._n, self._n_live
        other._runs = list(self._runs)
        other.version = self.version
        return other

    def append(self, ids: Ids) -> None:
        """Give the next positions to ids, of which none may be alive; the caller has checked."""
        if not ids.size:
            return
        self.version += 1
        start, stop = self._n, self._n + len(ids)
        self._reserve(stop)
        self._ids[start:stop] = ids
        self._live[start:stop] = True
        self._n, self._n_live = stop, self._n_live + len(ids)
        if (ids[1:] > ids[:-1]).all():
            self._runs.append((ids.copy(), start))
        else:
            order = np.argsort(ids, kind="stable")
            self._runs.append((ids[order], order + start))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._merge_last_two()

    def find(self, ids: Ids) -> Ids:
        """Find the positions of those ids that are alive; the others are left out."""
        found = [np.empty(0, np.int64)]
        for run_ids, run_positions in self._runs:
            at = np.searchsorted(run_ids, ids)
            at[at == len(run_ids)] = 0  # beyond the end: compare with any id, it will differ
            positions = _positions(run_positions, at[run_ids[at] == ids])
            found.append(positions[self._live[positions]])
        return np.concatenate(found)

    def remove(self, ids: Ids) -> int:
        """Mark ids dead and count those that were alive."""
        positions = np.unique(self.find(ids))
        self.version += 1
        self._live[positions] = False
        self._n_live -= len(positions)
        return len(positions)

    def restore(self, ids: Ids, live: Mask) -> None:
        """Fill an empty table with what a saved one held; `ids` becomes the table's own."""
        self.version += 1
        self._ids, self._live = ids, live.copy()
        self._n, self._n_live = len(ids), int(np.count_nonzero(live))
        if (ids[1:] > ids[:-1]).all():  # as a build leaves them: 9 bytes an id in all
            self._runs = [(ids, 0)] if ids.size else []
            return
        positions = np.flatnonzero(live)
        order = positions[np.argsort(ids[positions], kind="stable")]
        self._runs = [(ids[order], order)] if order.size else []

    def _reserve(self, n: int) -> None:
        if n > len(self._ids):
            room = max(n, 2 * len(self._ids)) - self._n
            self._ids = np.concatenate([self.ids, np.zeros(room, np.int64)])
            self._live = np.concatenate([self.live, np.zeros(room, np.bool_)])

    def _merge_last_two(self) -> None:
        # Dead positions are dropped here, so an id occurs once in a run.
        both = [_positions(at, np.arange(len(ids))) for ids, at in self._runs[-2:]]
        positions = np.concatenate(both)
        positions = positions[self._live[positions]]
        ids = self._ids[positions]
        order = np.argsort(ids, kind="stable")  # radix or tim sort: runs are already in order
        del self._runs[-2:]
        if order.size:
            self._runs.append((ids[order], positions[order]))


def _positions(of_run: Ids | int, at: Ids) -> Ids:
    """Give the positions of some entries of a run."""
    return at + of_run if isinstance(of_run, int) else of_run[at]
