"""The catalog's tables, as typed SQLAlchemy models."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows by itself only in a column of type INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")


def _checksum() -> Mapped[int]:
    """Digest of the row's protected columns; see `seal.py`."""
    return mapped_column(BigInteger, server_default="0")


class Base(DeclarativeBase):
    """Common base of all tables."""


class StoreRow(Base):
    """The one row that says which store this is and which generation it has reached."""

    __tablename__ = "store"

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(Text)
    generation: Mapped[int] = mapped_column(BigInteger)
    # Ids are never used twice, not even after the highest was removed.
    next_item_id: Mapped[int] = mapped_column(BigInteger)
    next_part_id: Mapped[int] = mapped_column(BigInteger)
    checksum: Mapped[int] = _checksum()


class SpaceRow(Base):
    """A vector space that has, or had, vectors here."""

    __tablename__ = "spaces"

    pk: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    model: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    dim: Mapped[int]
    modalities: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="active")  # pending, active, kept
    licence: Mapped[str] = mapped_column(Text, server_default="")
    checksum: Mapped[int] = _checksum()


class FileRow(Base):
    """A path that was looked at: used, or bad with a reason.

    A path may hold any bytes; `path_key` is its identity, `path` the printable form that
    filters match. Several files with one content hash are copies of the same items.
    """

    __tablename__ = "files"
    __table_args__ = (Index("files_by_hash", "content_hash"), Index("files_by_path", "path"))

    pk: Mapped[int] = mapped_column(_Id, primary_key=True)
    path_key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    path: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    caption_stamp: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text)  # empty: the file is used
    reason: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    loader_version: Mapped[int]
    checksum: Mapped[int] = mapped_column(BigInteger)


class ItemRow(Base):
    """One media file or record; its files are those with its content hash."""

    __tablename__ = "items"
    __table_args__ = (UniqueConstraint("content_hash", "record"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    content_hash: Mapped[str] = mapped_column(Text)
    record: Mapped[int]
    modality: Mapped[str] = mapped_column(Text, index=True)
    format: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger, index=True)
    width_px: Mapped[int | None]
    height_px: Mapped[int | None]
    duration_s: Mapped[float | None]
    caption: Mapped[str | None] = mapped_column(Text)
    flags: Mapped[str] = mapped_column(Text)
    checksum: Mapped[int] = mapped_column(BigInteger)


class PartRow(Base):
    """The piece of an item that owns one vector per space; its id is the vector's id."""

    __tablename__ = "parts"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), index=True)
    modality: Mapped[str] = mapped_column(Text)
    start_s: Mapped[float | None]
    end_s: Mapped[float | None]
    text: Mapped[str | None] = mapped_column(Text)
    checksum: Mapped[int] = mapped_column(BigInteger)


class SegmentRow(Base):
    """An immutable file of vectors; retired ones wait until no reader can need them."""

    __tablename__ = "segments"

    pk: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    space_pk: Mapped[int] = mapped_column(ForeignKey("spaces.pk"))
    n_vectors: Mapped[int] = mapped_column(BigInteger)
    dim: Mapped[int]
    dtype: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(Text)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    generation: Mapped[int] = mapped_column(BigInteger)
    retired_generation: Mapped[int | None] = mapped_column(BigInteger)
    checksum: Mapped[int] = _checksum()


class TombstoneRow(Base):
    """A vector that still lies in a segment and no longer counts."""

    __tablename__ = "tombstones"

    part_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    generation: Mapped[int] = mapped_column(BigInteger)
    checksum: Mapped[int] = _checksum()


class DerivedRow(Base):
    """An index file built from segments; may be deleted and built again at any time."""

    __tablename__ = "derived"

    pk: Mapped[int] = mapped_column(primary_key=True)
    space_pk: Mapped[int] = mapped_column(ForeignKey("spaces.pk"))
    generation: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text)  # empty: the plan is exact search, no file
    sha256: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    n_vectors: Mapped[int] = mapped_column(BigInteger)
    recall: Mapped[float | None]
    recall_queries: Mapped[str] = mapped_column(Text)
    plan: Mapped[str] = mapped_column(Text)
    measured: Mapped[str] = mapped_column(Text, server_default="")  # JSON, see build.Measured
    checksum: Mapped[int] = _checksum()


class TextRow(Base):
    """Whose words a text of the full-text index has; the words stand there (`fulltext.py`).

    Either an item's (its caption, tags, or one part of a text), or a file's name, which is bound to
    the path, for an item has as many names as files.
    """

    __tablename__ = "texts"

    pk: Mapped[int] = mapped_column(_Id, primary_key=True)
    item_id: Mapped[int | None] = mapped_column(_Id, index=True)
    part_id: Mapped[int | None] = mapped_column(_Id)
    path_key: Mapped[bytes | None] = mapped_column(LargeBinary, index=True)
    name: Mapped[str | None] = mapped_column(Text, index=True)  # of the file, folded
    stem: Mapped[str | None] = mapped_column(Text, index=True)  # the same without its suffix
    checksum: Mapped[int] = _checksum()


class DetailRow(Base):
    """What a file says of itself beyond its pixels and samples; only items that say something."""

    __tablename__ = "details"

    item_id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=False)
    taken_ns: Mapped[int | None] = mapped_column(BigInteger, index=True)
    lat: Mapped[float | None]
    lon: Mapped[float | None]
    camera: Mapped[str | None] = mapped_column(Text)
    checksum: Mapped[int] = _checksum()


class StreamRow(Base):
    """What a sound or video says of its streams, and its tags; only items that say something."""

    __tablename__ = "streams"

    item_id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=False)
    sample_rate_hz: Mapped[int | None]
    n_channels: Mapped[int | None]
    fps: Mapped[float | None]
    codec: Mapped[str | None] = mapped_column(Text)
    title: Mapped[str | None] = mapped_column(Text)
    artist: Mapped[str | None] = mapped_column(Text)
    album: Mapped[str | None] = mapped_column(Text)
    checksum: Mapped[int] = _checksum()


class TagRow(Base):
    """A tag of an item, from its own file (`file`) or from a table of the user (`table`)."""

    __tablename__ = "tags"

    item_id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=False)
    tag: Mapped[str] = mapped_column(Text, primary_key=True)
    source: Mapped[str] = mapped_column(Text, primary_key=True)
    checksum: Mapped[int] = _checksum()


class ColumnRow(Base):
    """A column of the user's own, and what kind of values it has."""

    __tablename__ = "columns"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)  # text, number, bool
    checksum: Mapped[int] = _checksum()


class ColumnValueRow(Base):
    """What an item has in a column of the user's own."""

    __tablename__ = "column_values"

    item_id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(ForeignKey("columns.name"), primary_key=True)
    text: Mapped[str | None] = mapped_column(Text)
    number: Mapped[float | None]  # also of a bool: 0 or 1
    checksum: Mapped[int] = _checksum()
