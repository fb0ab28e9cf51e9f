"""Webdataset shards: tar files read as streams; member names never become paths."""

from __future__ import annotations

import hashlib
import os
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from retrieval.errors import StorageError, UsageError
from retrieval.media.shards import sample_key, text_of_json

__all__ = ["SHARD_SUFFIXES", "ShardRow", "read_shard"]

SHARD_SUFFIXES = frozenset({".tar", ".tgz"})

_TEXT_SUFFIXES = frozenset({".txt", ".caption"})
# A tar header may claim any size; a text of a pair has no business being long.
_MAX_MEMBER_BYTES = 1 << 30
_MAX_TEXT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


@dataclass
class ShardRow:
    """What members of one name hold.

    Attributes:
        files: media, copied to the spool folder.
        text: of a `.txt`, `.caption` or `.json` (key `caption` or `text`) member, or None.
    """

    files: list[Path] = field(default_factory=list)
    text: str | None = None


def read_shard(
    shard: Path, *, spool: Path, is_media: Callable[[str], bool]
) -> Iterator[tuple[str, ShardRow]]:
    """Read the rows of a shard, in one pass.

    Members that follow each other with the same name up to the first dot are one row, as
    webdataset writes them. Links, devices and folders are passed over.

    Args:
        shard: a tar file, compressed or not.
        spool: folder for the media; a file there is named by the SHA-256 of its content, so
            reading again writes nothing twice.
        is_media: says of a lower-case suffix whether the member is wanted as a file.

    Yields:
        The row's name and what it holds.

    Raises:
        UsageError: not a whole tar file, or a member over 1 GiB (`bad_pairs`).
        StorageError: the spool cannot be written.
    """
    name, row = "", ShardRow()
    try:
        with tarfile.open(shard, mode="r|*") as members:
            for member in members:
                stream = members.extractfile(member) if member.isreg() else None
                if stream is None:
                    continue
                key = sample_key(member.name)
                if (row.files or row.text) and key != name:
                    yield name, row
                    row = ShardRow()
                name = key
                _take(row, suffix=os.path.splitext(member.name)[1].lower(), member=member,
                      stream=stream, spool=spool, is_media=is_media)  # fmt: skip
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UsageError(
            f"{shard} is not a whole tar file ({error}); fetch or make it again", code="bad_pairs"
        ) from error
    if row.files or row.text:
        yield name, row


def _take(
    row: ShardRow,
    *,
    suffix: str,
    member: tarfile.TarInfo,
    stream: IO[bytes],
    spool: Path,
    is_media: Callable[[str], bool],
) -> None:
    if member.size > _MAX_MEMBER_BYTES:
        raise UsageError(
            f"member {member.name!r} has {member.size} bytes, over {_MAX_MEMBER_BYTES}; "
            "leave it out",
            code="bad_pairs",
        )
    if suffix in _TEXT_SUFFIXES:
        row.text = stream.read(_MAX_TEXT_BYTES).decode("utf-8", "replace")
    elif suffix == ".json":
        row.text = row.text or text_of_json(stream.read(_MAX_TEXT_BYTES))
    elif is_media(suffix):
        row.files.append(_spool(stream, spool=spool, suffix=suffix))


def _spool(stream: IO[bytes], *, spool: Path, suffix: str) -> Path:
    """Copy a member to a file named by its content."""
    digest = hashlib.sha256()
    partial = spool / f"{uuid.uuid4().hex}.part"
    try:
        spool.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as out:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
        path = spool / f"{digest.hexdigest()}{suffix}"
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"cannot write to {spool}: {error}; free some space") from error
    return path
