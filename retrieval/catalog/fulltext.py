"""Full text over captions, file names, tags, texts and transcripts: what is written and found.

A row of `texts` says whose words they are. The words themselves stand in `texts_words`, an FTS5
table whose rowid is the row's pk, or, with PostgreSQL, in the tsvector column `words` under a GIN
index. Both hold what `words.py` makes of a text, so both find the same. All of it changes in the
transaction that changes the rows it speaks of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from retrieval.catalog.records import ItemRecord, path_key, printable
from retrieval.catalog.schema import FileRow, ItemRow, PartRow, TextRow
from retrieval.catalog.seal import Row, digest, sealed
from retrieval.catalog.words import fold, name_forms, path_words, words

# In the place of a file name: the row holds an item's tags. No file is called so.
_TAGS = "/tags"
# Rows written or deleted by one statement.
_CHUNK = 500
# A tsvector holds at most 1 MB; a caption of 20,000 characters is far below.
_MAX_WORDS = 20_000

_FTS = sa.table("texts_words", sa.column("rowid"), sa.column("words"))
_PG = sa.table("texts", sa.column("pk"), sa.column("words"))

_Entry = tuple[dict[str, Any], list[str]]  # Any: the values of a row of `texts`; its words


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A text that has a word: whose it is, and the part it is, where it is one."""

    item_id: int
    part_id: int | None


def create(connection: sa.Connection) -> None:
    """Make what the models cannot say: the full-text index beside the table `texts`."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            "CREATE VIRTUAL TABLE texts_words USING fts5("
            "words, tokenize='unicode61 remove_diacritics 2', prefix='3')"
        )
    else:
        connection.exec_driver_sql("ALTER TABLE texts ADD COLUMN words tsvector")
        connection.exec_driver_sql("CREATE INDEX texts_words ON texts USING gin (words)")


def fill(connection: sa.Connection) -> None:
    """Write the texts of everything the catalog holds, for a catalog that had none."""
    files = connection.execute(
        sa.select(FileRow.path_key, FileRow.path).where(FileRow.content_hash.is_not(None))
    ).all()
    _insert(connection, (_name_entry(key, path) for key, path in files))
    items = connection.execute(
        sa.select(ItemRow.id, ItemRow.caption).where(ItemRow.caption.is_not(None))
    ).all()
    _insert(connection, (_entry(caption or "", item_id=id_) for id_, caption in items))
    parts = connection.execute(
        sa.select(PartRow.id, PartRow.item_id, PartRow.text)
        .join(ItemRow, ItemRow.id == PartRow.item_id)
        .where(PartRow.text.is_not(None), ItemRow.modality == "text")
    ).all()
    _insert(
        connection, (_entry(text or "", item_id=item, part_id=id_) for id_, item, text in parts)
    )


def rows(connection: sa.Connection) -> Iterator[tuple[Row, list[str]]]:
    """Yield each text's row and its words, as they stand in the full-text index."""
    if connection.dialect.name == "sqlite":
        said = sa.select(TextRow, _FTS.c.words).outerjoin(_FTS, _FTS.c.rowid == TextRow.pk)
    else:
        listed = sa.func.tsvector_to_array(sa.literal_column("texts.words")).label("words")
        said = sa.select(TextRow, listed)
    for found in connection.execution_options(yield_per=_CHUNK).execute(said).mappings():
        row = dict(found)
        own = row.pop("words") or ""
        if isinstance(own, str):
            yield row, own.split()
        else:  # PostgreSQL's list, or what a flipped bit has made of a text
            yield row, [str(word) for word in own] if isinstance(own, list) else [repr(own)]


def seal(connection: sa.Connection) -> None:
    """Write the checksums of texts that have none yet."""
    own = TextRow.pk == sa.bindparam("_pk")
    statement = sa.update(TextRow).where(own).values(checksum=sa.bindparam("_checksum"))
    found = [(row["pk"], digest(TextRow, row, words=own)) for row, own in rows(connection)]
    for start in range(0, len(found), _CHUNK):
        values = [{"_pk": pk, "_checksum": sum_} for pk, sum_ in found[start : start + _CHUNK]]
        connection.execute(statement, values)


def check(connection: sa.Connection) -> list[str]:
    """Compare SQLite's full-text index with the words it was made of; needs a write transaction.

    What keeps SQLite from looking, such as a disk that takes no writes, is raised.
    """
    if connection.dialect.name != "sqlite":
        return []
    try:
        connection.exec_driver_sql(
            "INSERT INTO texts_words (texts_words) VALUES ('integrity-check')"
        )
    except sa.exc.DatabaseError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [f"the index of words does not agree with the words ({error.orig})"]
    return []


def put_names(connection: sa.Connection, paths: Iterable[str]) -> None:
    """Write the names of files that are used; `drop_names` has taken away what stood there."""
    _insert(connection, (_name_entry(path_key(path), printable(path)) for path in paths))


def put_items(connection: sa.Connection, items: Iterable[ItemRecord]) -> None:
    """Write the captions and texts of new items."""
    _insert(connection, (entry for item in items for entry in _item_entries(item)))


def put_tags(connection: sa.Connection, tags: Mapping[int, Sequence[str]]) -> None:
    """Write the tags of items over those they had."""
    ids = sorted(tags)
    for start in range(0, len(ids), _CHUNK):
        own = TextRow.item_id.in_(ids[start : start + _CHUNK])
        _drop(connection, sa.and_(own, TextRow.name == _TAGS))
    told = ((id_, tags[id_]) for id_ in ids if tags[id_])
    _insert(connection, (_entry(" ".join(own), item_id=id_, name=_TAGS) for id_, own in told))


def drop_names(connection: sa.Connection, keys: Sequence[bytes]) -> None:
    """Take away the names of files, by their path keys (a chunk of them)."""
    _drop(connection, TextRow.path_key.in_(keys))


def drop_items(connection: sa.Connection, item_ids: Sequence[int]) -> None:
    """Take away the texts of items (a chunk of them); the names of their files stay."""
    _drop(connection, TextRow.item_id.in_(item_ids))


def match(
    connection: sa.Connection,
    word: str,
    *,
    limit: int,
    prefix: bool = False,
    among: Sequence[str] = (),
) -> list[TextMatch]:
    """List the texts that have a word.

    Args:
        connection: in a transaction.
        word: one of `words.query_words`.
        limit: how many texts at most, those first that were written first.
        prefix: words of file names that begin so count instead.
        among: only texts that also have one of these words.

    Returns:
        The matches; a file's name belongs to its item, that of a table to the item of its first
        row.
    """
    owner = sa.func.coalesce(TextRow.item_id, ItemRow.id)
    first = (
        sa.select(sa.func.min(ItemRow.record))
        .where(ItemRow.content_hash == FileRow.content_hash)
        .correlate(FileRow)
        .scalar_subquery()
    )
    statement = (
        sa.select(owner, TextRow.part_id)
        .select_from(TextRow)
        .outerjoin(FileRow, FileRow.path_key == TextRow.path_key)
        .outerjoin(
            ItemRow, sa.and_(ItemRow.content_hash == FileRow.content_hash, ItemRow.record == first)
        )
        .where(TextRow.pk.in_(_having(connection, word, prefix=prefix, among=among, limit=limit)))
        .where(owner.is_not(None))
    )
    if prefix:
        statement = statement.where(TextRow.path_key.is_not(None))
    return [TextMatch(int(item), part) for item, part in connection.execute(statement)]


def is_there_any(connection: sa.Connection, wanted: Sequence[str]) -> bool:
    """Tell by one look whether some text has a word that begins with one of these."""
    sqlite = connection.dialect.name == "sqlite"
    pattern = (
        " OR ".join(f'"{w}"*' for w in wanted) if sqlite else " | ".join(f"'{w}':*" for w in wanted)
    )
    found = sa.select(sa.literal(1)).where(_fits(connection, pattern)).limit(1)
    return connection.execute(found).first() is not None


def count(connection: sa.Connection, word: str, *, limit: int) -> int:
    """Count the texts that have a word, up to a limit."""
    having = _having(connection, word, prefix=False, among=(), limit=limit).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(having)).scalar_one())


def named(connection: sa.Connection, text: str, *, limit: int) -> list[int]:
    """List the items with a file of exactly this name, with or without suffix or folders, by id."""
    wanted = fold(text)
    name = wanted.rpartition("/")[2]
    if not name or "\x00" in name:  # no file has such a name, and PostgreSQL takes no NUL
        return []
    rows = connection.execute(
        sa.select(ItemRow.id, TextRow.path_key)
        .join(FileRow, FileRow.content_hash == ItemRow.content_hash)
        .join(TextRow, TextRow.path_key == FileRow.path_key)
        .where(sa.or_(TextRow.name == name, TextRow.stem == name))
        .order_by(ItemRow.record, ItemRow.id)
        .limit(limit)
    )
    folded = ((id_, fold(bytes(key or b"").decode("utf-8", "replace"))) for id_, key in rows)
    return list(dict.fromkeys(int(id_) for id_, path in folded if _is_end(wanted, path)))


def _is_end(wanted: str, path: str) -> bool:
    """Tell whether a text names a path from some folder on, with or without its suffix."""
    if "/" not in wanted:
        return True
    whole = wanted if wanted.startswith("/") else f"/{wanted}"
    return path.endswith(whole) or path.rpartition(".")[0].endswith(whole)


def _having(
    connection: sa.Connection, word: str, *, prefix: bool, among: Sequence[str], limit: int
) -> Any:  # Any: a select of either table
    if connection.dialect.name == "sqlite":
        pattern = f'"{word}"' + ("*" if prefix else "")
        if among:
            pattern += " AND (" + " OR ".join(f'"{other}"' for other in among) + ")"
        found = sa.select(_FTS.c.rowid).where(_fits(connection, pattern))
        return found.order_by(_FTS.c.rowid).limit(limit)
    pattern = f"'{word}'" + (":*" if prefix else "")
    if among:
        pattern += " & (" + " | ".join(f"'{other}'" for other in among) + ")"
    return sa.select(_PG.c.pk).where(_fits(connection, pattern)).order_by(_PG.c.pk).limit(limit)


def _fits(connection: sa.Connection, pattern: str) -> sa.ColumnElement[bool]:
    if connection.dialect.name == "sqlite":
        return _FTS.c.words.op("MATCH", is_comparison=True)(pattern)
    query = sa.cast(sa.literal(pattern), postgresql.TSQUERY)
    return _PG.c.words.op("@@", is_comparison=True)(query)


def _item_entries(item: ItemRecord) -> Iterator[_Entry]:
    if item.caption:
        yield _entry(item.caption, item_id=item.id)
    for part in item.parts:  # what is said has a time; a caption has none, and stands above
        if part.text is not None and (item.modality == "text" or part.start_s is not None):
            yield _entry(part.text, item_id=item.id, part_id=part.id)


def _entry(
    text: str, *, item_id: int, part_id: int | None = None, name: str | None = None
) -> _Entry:
    row = {"item_id": item_id, "part_id": part_id, "path_key": None, "name": name, "stem": None}
    return row, words(text)


def _name_entry(key: bytes, path: str) -> _Entry:
    name, stem = name_forms(path)
    row = {"item_id": None, "part_id": None, "path_key": key, "name": name, "stem": stem}
    return row, path_words(path)


def _insert(connection: sa.Connection, entries: Iterable[_Entry]) -> None:
    iterator = iter(entries)
    while chunk := list(islice(iterator, _CHUNK)):
        # There is one writer, so nobody else takes these numbers.
        last = connection.execute(sa.select(sa.func.max(TextRow.pk))).scalar() or 0
        rows = [
            sealed(TextRow, {"pk": last + n, **row}, words=found[:_MAX_WORDS])
            for n, (row, found) in enumerate(chunk, start=1)
        ]
        connection.execute(sa.insert(TextRow), rows)
        said = [
            {"key": row["pk"], "said": " ".join(found[:_MAX_WORDS])}
            for row, (_, found) in zip(rows, chunk, strict=True)
        ]
        connection.execute(_write_words(connection), said)


def _write_words(connection: sa.Connection) -> sa.TextClause:
    if connection.dialect.name == "sqlite":
        return sa.text("INSERT INTO texts_words (rowid, words) VALUES (:key, :said)")
    return sa.text(
        "UPDATE texts SET words = array_to_tsvector("
        "array_remove(string_to_array(:said, ' '), '')) WHERE pk = :key"
    )


def _drop(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> None:
    if connection.dialect.name == "sqlite":
        keys = sa.select(TextRow.pk).where(condition)
        connection.execute(sa.delete(_FTS).where(_FTS.c.rowid.in_(keys)))
    connection.execute(sa.delete(TextRow).where(condition))
