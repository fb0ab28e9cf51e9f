"""What the catalog takes and gives besides the nouns: plain frozen records, never rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from index.types import SegmentInfo
from retrieval.types import NOTHING, Details, Modality, Part, Space

# Raise when a decoder learns something: files that were bad before are then tried again.
LOADER_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A path and what became of it.

    Attributes:
        path: absolute, bytes decoded with surrogateescape.
        size_bytes, mtime_ns: as stat said.
        caption_stamp: size and mtime of the caption file beside it, or empty.
        content_hash: SHA-256 of the bytes, hex; None for a bad file.
        code, reason: why it is bad; empty for a good one.
        attempts: how often a bad file was tried.
        loader_version: of the decoders that tried it.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    caption_stamp: str
    content_hash: str | None
    code: str = ""
    reason: str = ""
    attempts: int = 1
    loader_version: int = LOADER_VERSION


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """An item to be stored, with the ids of its parts fixed; replaces an item of the same id."""

    id: int
    content_hash: str
    record: int
    modality: Modality
    format: str
    size_bytes: int
    width_px: int | None
    height_px: int | None
    duration_s: float | None
    caption: str | None
    flags: tuple[str, ...]
    parts: tuple[Part, ...]
    details: Details = NOTHING


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one commit makes true at once.

    Attributes:
        files: paths seen, good or bad.
        items: new or replaced items.
        segments: (space id, segment) with the vectors of these items' parts.
        vanished: paths to forget; items without any path left go with them.
        next_item_id, next_part_id: first ids not used yet; None leaves them.
    """

    files: tuple[FileRecord, ...] = ()
    items: tuple[ItemRecord, ...] = ()
    segments: tuple[tuple[str, SegmentInfo], ...] = ()
    vanished: tuple[str, ...] = ()
    next_item_id: int | None = None
    next_part_id: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A segment the catalog names."""

    space_id: str
    info: SegmentInfo
    generation: int


@dataclass(frozen=True, slots=True)
class DerivedEntry:
    """The newest index of a space.

    Attributes:
        name: file in `derived/`; empty when the plan is exact search.
        generation: it holds the vectors of every segment up to here.
        recall, recall_queries: measured against exact search, and with which queries.
        plan: why it is the kind it is, for people.
        measured: what was measured, as JSON (see `retrieval.build_measure`); empty for nothing.
    """

    space_id: str
    generation: int
    name: str
    sha256: str
    kind: str
    n_vectors: int
    recall: float | None
    recall_queries: str
    plan: str
    measured: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a reader must know of one generation to search it.

    Attributes:
        generation: number of the last commit.
        spaces, segments: the truth for vectors.
        derived: the newest index of each space that has one.
        tombstones: part id to the generation that removed it; its vector counts no more.
    """

    generation: int
    spaces: tuple[Space, ...] = ()
    segments: tuple[SegmentEntry, ...] = ()
    derived: tuple[DerivedEntry, ...] = ()
    tombstones: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartScalars:
    """What never changes of a part and its item.

    Attributes:
        part: modality of the part.
        modality, format, size_bytes, width_px, height_px, duration_s: of the item.
        is_row: the item is a row of a table that names media.
        item_id: whose part it is.
        taken_ns: when the item was taken, nanoseconds since 1970; None where nobody knows.
    """

    part: str
    modality: str
    is_row: bool
    format: str
    item_id: int
    size_bytes: int
    width_px: int | None
    height_px: int | None
    duration_s: float | None
    taken_ns: int | None


def path_key(path: str) -> bytes:
    """Give a path's identity: its bytes.

    Example:
        >>> path_key("/a/é")
        b'/a/\\xc3\\xa9'
    """
    return os.fsencode(path)


def printable(path: str) -> str:
    """Write a path so that any database and terminal takes it.

    Example:
        >>> printable("/a/" + chr(0xdcff))
        '/a/\\\\xff'
    """
    raw = os.fsencode(path)
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def checksum(*values: object) -> int:
    """Digest a row's values to a signed 64-bit number; a flipped bit changes it.

    Example:
        >>> checksum(1, "a") == checksum(1, "b")
        False
    """
    digest = hashlib.blake2b(repr(values).encode("utf-8", "backslashreplace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)
