"""Shards of webdataset: the media inside tar files, each found where its bytes lie.

A tar is never unpacked: its headers say where a member begins, and a reader takes these bytes
alone. Members that follow each other with the same name up to the first dot belong together: a
`.txt` or `.caption`, or the `caption` of a `.json`, is the caption of the media. Links, devices and
folders are passed over, and a member's name is a name and never a path on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import groupby
from typing import IO

from retrieval.errors import BadMediaError
from retrieval.media.kinds import CAPTIONED_SUFFIXES, MEDIA_SUFFIXES
from retrieval.media.scan import Found
from retrieval.types import Failure

SHARD_SUFFIX = ".tar"
MAX_MEMBER_BYTES = 1 << 30
CAPTION_SUFFIXES = (".caption", ".txt", ".json")
"""Of members that caption their like, in the order in which they are looked for."""
_TEXT_KEYS = ("caption", "text")


def is_shard(path: str) -> bool:
    """Tell by its name whether a path or URL is a shard."""
    return path.lower().endswith(SHARD_SUFFIX)


def shard_of(path: str) -> str:
    """Give the shard that a member's path begins with; empty where it is no member's.

    Example:
        >>> shard_of("/data/0.tar/a/b.jpg"), shard_of("/data/0.tar")
        ('/data/0.tar', '')
    """
    at = path.lower().rfind(f"{SHARD_SUFFIX}/")
    return path[: at + len(SHARD_SUFFIX)] if at >= 0 else ""


def sample_key(name: str) -> str:
    """Give what members of one sample share: the name up to the first dot behind its folder.

    Example:
        >>> sample_key("a.b/000.left.jpg")
        'a.b/000'
    """
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}".lstrip("/")


def text_of_json(raw: bytes) -> str | None:
    """Find the caption in a member's JSON; metadata without one is normal."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    found = [values.get(key) for key in _TEXT_KEYS] if isinstance(values, dict) else []
    return next((value for value in found if isinstance(value, str)), None)


def scan_shard(
    shard: str,
    *,
    opened: AbstractContextManager[IO[bytes]],
    stamp: str,
    mtime_ns: int,
    on_skip: Callable[[Failure], None],
) -> Iterator[Found]:
    """Find the media in a shard; its headers are read, in one pass.

    Args:
        shard: its path or URL, which its members' paths begin with.
        opened: its bytes; must be seekable.
        stamp: what tells one state of it from another.
        mtime_ns: when it was changed.
        on_skip: is told of a shard that cannot be read to its end (`truncated`, `unreadable`,
            `vanished`), and of members that are too large (`too_many_bytes`).

    Yields:
        Each picture, sound and video, and each text that captions none.
    """
    state = hashlib.sha256(f"{stamp}:{mtime_ns}".encode()).hexdigest()[:16]
    try:
        with opened as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = (member for member in tar if member.isreg() and not member.issparse())
            for _, sample in groupby(members, key=lambda member: sample_key(member.name)):
                yield from _media(shard, list(sample), state, mtime_ns, on_skip)
    except (tarfile.TarError, EOFError, ValueError) as error:
        reason = f"{shard} is not a whole tar file ({error}); fetch or make it again"
        on_skip(Failure(shard, "truncated", reason))
    except OSError as error:
        on_skip(Failure(shard, "unreadable", f"{shard} cannot be read ({error}); look at it"))
    except BadMediaError as error:
        on_skip(Failure(shard, error.code, f"{shard}: {error}"))


def _media(
    shard: str,
    sample: list[tarfile.TarInfo],
    state: str,
    mtime_ns: int,
    on_skip: Callable[[Failure], None],
) -> Iterator[Found]:
    suffixes = [os.path.splitext(member.name)[1].lower() for member in sample]
    captioned = any(suffix in CAPTIONED_SUFFIXES for suffix in suffixes)
    captions = dict(zip(suffixes, sample, strict=True))
    caption = next((captions[s] for s in CAPTION_SUFFIXES if s in captions), None)
    for member, suffix in zip(sample, suffixes, strict=True):
        wanted = CAPTIONED_SUFFIXES if captioned else MEDIA_SUFFIXES
        if suffix not in wanted:
            continue
        path = _member_path(shard, member.name)
        if member.size > MAX_MEMBER_BYTES:
            reason = f"{path} has {member.size:,} bytes; at most {MAX_MEMBER_BYTES:,} are read"
            on_skip(Failure(path, "too_many_bytes", reason))
            continue
        beside = caption if captioned and caption is not None else None
        yield Found(
            path, member.size, mtime_ns, 0, 0,
            caption_path=None if beside is None else _member_path(shard, beside.name),
            caption_size_bytes=None if beside is None else beside.size,
            stamp=f"{state}:{member.offset_data}",
            offset=member.offset_data,
            caption_offset=0 if beside is None else beside.offset_data,
        )  # fmt: skip


def _member_path(shard: str, name: str) -> str:
    """Name a member behind its shard; `..` and the like mean nothing there."""
    steps = [step for step in name.split("/") if step not in ("", ".", "..")]
    return f"{shard}/{'/'.join(steps)}"
