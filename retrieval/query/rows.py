"""What the catalog says again and again, remembered while a generation lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from retrieval.catalog.read import Reader
from retrieval.types import Item, Part

_MOST_KEPT = 100_000
"""Rows of each kind, and words; an item takes about 1 kB."""

Row = TypeVar("Row", Item, Part)


class RowCache:
    """Parts and items by id, and words that no text has; within a generation none grows stale.

    Safe to share between threads: two may read the same row, which is the same.
    """

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}
        self._items: dict[int, Item] = {}
        self._absent: set[str] = set()
        self._stopped = False

    def parts(self, ids: Iterable[int], *, reader: Reader) -> dict[int, Part]:
        """Look up parts by id, as `Reader.parts` does."""
        return self._look_up(ids, self._parts, reader.parts)

    def items(self, ids: Iterable[int], *, reader: Reader) -> dict[int, Item]:
        """Look up items by id, as `Reader.items` does."""
        return self._look_up(ids, self._items, reader.items)

    def has_texts_with(self, words: Sequence[str], *, reader: Reader) -> bool:
        """Tell whether some text has a word that begins with one of these."""
        wanted = [word for word in words if word not in self._absent]
        if not wanted:
            return False
        has_any = reader.has_texts_with(wanted)
        if not has_any and not self._stopped:
            if len(self._absent) + len(wanted) > _MOST_KEPT:
                self._absent.clear()
            self._absent.update(wanted)
        return has_any

    def stop(self) -> None:
        """Read everything anew from now on: the catalog has gone ahead of this generation."""
        self._stopped = True
        self._parts, self._items, self._absent = {}, {}, set()

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
