"""Reading what is known of items beyond their own row: their words, and the user's columns."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from retrieval.catalog.chunks import chunks
from retrieval.catalog.conditions import Kind
from retrieval.catalog.fields import OF_TABLE, all_tags, columns, details
from retrieval.catalog.fulltext import TextMatch, count, is_there_any, match, named
from retrieval.catalog.records import PartScalars
from retrieval.catalog.schema import DetailRow, ItemRow, PartRow, TextRow
from retrieval.types import ROW_FLAG, Details


class FieldReader:
    """What a Reader can do with words and columns."""

    _connection: sa.Connection

    def columns(self) -> dict[str, Kind]:
        """List the user's own columns and their kinds."""
        return columns(self._connection)

    def details(self, item_ids: Sequence[int]) -> dict[int, Details]:
        """List what the files of items say of themselves; those that say nothing are left out."""
        return details(self._connection, item_ids)

    def part_scalars(self, part_ids: Sequence[int]) -> dict[int, PartScalars]:
        """List what never changes of parts and their items; those that are gone are left out."""
        found: dict[int, PartScalars] = {}
        statement = (
            sa.select(
                PartRow.id, PartRow.modality.label("part"), ItemRow.modality, ItemRow.flags,
                ItemRow.format, ItemRow.id.label("item_id"), ItemRow.size_bytes, ItemRow.width_px,
                ItemRow.height_px, ItemRow.duration_s, DetailRow.taken_ns,
            )
            .join(ItemRow, ItemRow.id == PartRow.item_id)
            .outerjoin(DetailRow, DetailRow.item_id == ItemRow.id)
            .where(PartRow.id.in_(sa.bindparam("ids", expanding=True)))
        )  # fmt: skip
        for chunk in chunks(part_ids):
            for id_, part, modality, flags, *rest in self._connection.execute(
                statement, {"ids": chunk}
            ):
                is_row = ROW_FLAG in flags.split(",")
                found[int(id_)] = PartScalars(part, modality, is_row, *rest)
        return found

    def given_tags(self, item_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """List the tags that the user gave to items; those without are left out."""
        return all_tags(self._connection, item_ids, source=OF_TABLE)

    def text_matches(
        self, word: str, *, limit: int, prefix: bool = False, among: Sequence[str] = ()
    ) -> list[TextMatch]:
        """List the captions, names, tags and texts that have a word; see `fulltext.match`."""
        return match(self._connection, word, limit=limit, prefix=prefix, among=among)

    def has_texts_with(self, words: Sequence[str]) -> bool:
        """Tell whether some text has a word that begins with one of these; a quick first look."""
        return is_there_any(self._connection, words)

    def count_texts_with(self, word: str, *, limit: int) -> int:
        """Count the texts that have a word, up to a limit."""
        return count(self._connection, word, limit=limit)

    def items_named(self, text: str, *, limit: int) -> list[int]:
        """List the items with a file of exactly this name; see `fulltext.named`."""
        return named(self._connection, text, limit=limit)

    def count_texts(self) -> int:
        """Count the texts that were ever written, about: what full-text search weighs with."""
        return int(self._connection.execute(sa.select(sa.func.max(TextRow.pk))).scalar() or 0)
