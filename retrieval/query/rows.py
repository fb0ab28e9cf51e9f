"""Rows of the catalog that hits are made of, remembered while a generation lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from retrieval.catalog.read import Reader
from retrieval.types import Item, Part

_MOST_KEPT = 100_000
"""Rows of each kind; an item takes about 1 kB."""

Row = TypeVar("Row", Item, Part)


class RowCache:
    """Parts and items by id; a generation's rows never change, so none grows stale.

    Safe to share between threads: two may read the same row, which is the same.
    """

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}
        self._items: dict[int, Item] = {}
        self._stopped = False

    def parts(self, ids: Iterable[int], *, reader: Reader) -> dict[int, Part]:
        """Look up parts by id, as `Reader.parts` does."""
        return self._look_up(ids, self._parts, reader.parts)

    def items(self, ids: Iterable[int], *, reader: Reader) -> dict[int, Item]:
        """Look up items by id, as `Reader.items` does."""
        return self._look_up(ids, self._items, reader.items)

    def stop(self) -> None:
        """Read every row anew from now on: the catalog has gone ahead of this generation."""
        self._stopped = True
        self._parts, self._items = {}, {}

    def _look_up(
        self, ids: Iterable[int], known: dict[int, Row], read: Callable[[list[int]], dict[int, Row]]
    ) -> dict[int, Row]:
        wanted = list(ids)
        found = {id_: row for id_ in wanted if (row := known.get(id_)) is not None}
        if len(found) < len(wanted):
            more = read([id_ for id_ in wanted if id_ not in found])
            found |= more
            if not self._stopped:
                if len(known) + len(more) > _MOST_KEPT:
                    known.clear()
                known |= more
        return found
