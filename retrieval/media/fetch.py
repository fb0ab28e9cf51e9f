"""Bring the bytes of files that lie elsewhere to where a decoder can open them.

Decoders have no network and open one local file. So the parent fetches: small files ahead of the
decoders, by several threads, for a request takes longer than its bytes; large ones when their turn
has come, so that the disk need not hold many. Each copy is gone as soon as it is decoded.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Lock

from retrieval.errors import BadMediaError, StorageError
from retrieval.media import urls
from retrieval.media.scan import Found
from retrieval.media.scratch import Scratch, remove_stale
from retrieval.media.shards import shard_of, text_of_json
from retrieval.types import Loaded

MAX_FILE_BYTES = 4 << 30
_AHEAD_BYTES = 8 << 20  # 128 files of look-ahead then take 1 GiB at most
_AT_ONCE = 16
_MAX_CAPTION_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was brought here.

    Attributes:
        found: what was looked for.
        local: the copy, with its caption beside it.
    """

    found: Found
    local: Found

    def told(self, loaded: Loaded) -> Loaded:
        """Say of what was decoded what it is elsewhere."""
        return replace(loaded, size_bytes=self.found.size_bytes, mtime_ns=self.found.mtime_ns)

    def blamed(self, error: BadMediaError) -> BadMediaError:
        """Name the file as it is called elsewhere."""
        return BadMediaError(str(error).replace(self.local.path, self.found.path), code=error.code)

    def drop(self) -> None:
        """Delete the copy."""
        for path in (self.local.path, self.local.caption_path):
            if path is not None:
                with suppress(OSError):
                    os.unlink(path)


class Fetcher:
    """Fetch files into a folder of its own; safe to use from many threads."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._numbers = count()
        self._scratch: Scratch | None = None
        self._pool: ThreadPoolExecutor | None = None

    def ahead(self, found: Found) -> Future[Fetched] | None:
        """Begin to fetch a file; None where there is nothing to do before its turn has come."""
        stamp = getattr(found, "stamp", "")  # who hands over no file is told so by its turn
        if not stamp or not 0 <= found.size_bytes <= _AHEAD_BYTES:
            return None
        with self._guard:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")
        return self._pool.submit(self.fetch, found)

    def fetch(self, found: Found) -> Fetched:
        """Fetch a file now.

        Raises:
            BadMediaError: it is gone, cannot be read, or is too large; the message names it.
            StorageError: the copy cannot be written.
        """
        place = self._folder() / f"{next(self._numbers)}{urls.suffix_of(found.path)[:16]}"
        try:
            return Fetched(found, _copy(found, place))
        except BadMediaError as error:
            place.unlink(missing_ok=True)
            raise BadMediaError(f"{found.path}: {error}", code=error.code) from error
        except OSError as error:
            raise StorageError(
                f"cannot write {place}: {error.strerror}; free some space, or set TMPDIR",
                code="disk_full",
            ) from error

    def close(self) -> None:
        """Delete what is left; files that are on their way are given up."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._scratch is not None:
            self._scratch.close()

    def _folder(self) -> Path:
        """Make the folder of the copies when the first one comes, and end what others left."""
        with self._guard:
            if self._scratch is None:
                try:
                    remove_stale()
                    self._scratch = Scratch()
                except OSError as error:
                    raise StorageError(
                        f"cannot make a folder for copies: {error}; free some space, or set TMPDIR",
                        code="disk_full",
                    ) from error
            return self._scratch.path


def _copy(found: Found, place: Path) -> Found:
    if found.offset:
        place.write_bytes(_member(found.path, found.offset, found.size_bytes))
    else:
        with place.open("w+b") as sink:
            urls.copy_to(found.path, sink, most_bytes=MAX_FILE_BYTES)
    local = Found(str(place), place.stat().st_size, 0, 0, 0)
    caption = _caption(found)
    if not caption:
        return local
    beside = place.with_suffix(".caption")
    beside.write_bytes(caption)
    return replace(local, caption_path=str(beside))


def _caption(found: Found) -> bytes:
    """Read the caption of a file; empty where it has none, or none that can be read."""
    if found.caption_path is None:
        return b""
    size_bytes = found.caption_size_bytes or 0
    n_bytes = min(size_bytes, _MAX_CAPTION_BYTES) if size_bytes >= 0 else _MAX_CAPTION_BYTES
    if found.offset:
        raw = _member(found.caption_path, found.caption_offset, n_bytes)
    else:
        raw = urls.read_range(found.caption_path, start=0, n_bytes=n_bytes)
    if not found.caption_path.lower().endswith(".json"):
        return raw
    return (text_of_json(raw) or "").encode("utf-8", "replace")


def _member(path: str, offset: int, n_bytes: int) -> bytes:
    """Read the bytes of a shard's member."""
    shard = shard_of(path)
    if urls.is_url(shard):
        data = urls.read_range(shard, start=offset, n_bytes=n_bytes)
    else:
        data = _local_range(shard, offset, n_bytes)
    if len(data) < n_bytes:
        raise BadMediaError(
            f"the shard ends after {len(data):,} of its {n_bytes:,} bytes; fetch it again",
            code="truncated",
        )
    return data


def _local_range(shard: str, offset: int, n_bytes: int) -> bytes:
    try:
        with open(shard, "rb") as file:
            file.seek(offset)
            return file.read(n_bytes)
    except OSError as error:
        raise BadMediaError(
            f"its shard cannot be read ({error.strerror}); look at it", code="unreadable"
        ) from error
