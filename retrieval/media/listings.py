"""What shards at URLs hold, kept beside the store: a run that goes on need not read their headers.

A listing is named by its shard and by the state in which it was read; where nobody says what state
a shard is in, none is kept. It may be deleted at any time, and one that is damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import BinaryIO

from index.storage import publish
from retrieval.media.scan import Found
from retrieval.media.urls import Entry

LISTING_KIND = "shard"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Listings:
    """Where listings are kept.

    Attributes:
        folder: of the listings; must exist.
        tmp: for partial files, on the same file system.
    """

    folder: Path
    tmp: Path

    def read(self, shard: Entry) -> list[Found] | None:
        """Read what a shard in this state holds; None where that is not known."""
        path = self._path(shard)
        if path is None:
            return None
        try:
            version, *rows = json.loads(zlib.decompress(path.read_bytes()))
            return [_found(row) for row in rows] if version == _VERSION else None
        except (OSError, ValueError, TypeError, zlib.error):
            return None  # not there, or damaged: the shard itself knows

    def keep(self, shard: Entry, found: Sequence[Found]) -> None:
        """Keep what a shard holds, in the place of what it held in another state.

        Raises:
            StorageError: the disk is full or read-only.
        """
        path = self._path(shard)
        if path is None:
            return
        body = zlib.compress(json.dumps([_VERSION, *map(astuple, found)]).encode())

        def write(sink: BinaryIO) -> None:
            sink.write(body)

        for other in self.folder.glob(f"{path.name.rpartition('-')[0]}-*"):
            other.unlink(missing_ok=True)
        publish(path, tmp=self.tmp, write=write)

    def _path(self, shard: Entry) -> Path | None:
        if shard.stamp == "at:" and not shard.mtime_ns:
            return None
        state = f"{shard.stamp}:{shard.size_bytes}:{shard.mtime_ns}"
        name, at = (hashlib.sha256(text.encode()).hexdigest()[:20] for text in (shard.url, state))
        return self.folder / f"{LISTING_KIND}-{name}-{at}.json"


def _found(row: list[object]) -> Found:
    found = Found(*row)  # type: ignore[arg-type]  # as `astuple` wrote it
    if not isinstance(found.path, str) or not isinstance(found.offset, int):
        raise ValueError("no listing")
    return found
