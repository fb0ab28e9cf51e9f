"""Directions of a user's own text searches, kept to tune the next index with.

Vectors only, in float16, without words, times or who asked; at most 512 for each space, a fair
sample of all searches (Vitter's algorithm R). They stand in `derived/`, readable by their owner
alone, are in no backup, and go when the setting `keep_queries` is 0. A vector still tells something
of what was looked for: see SECURITY.md.

A record is written in place and never synced: one that a crash tears fails its check and is left
out.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np

from index.rows import read_rows
from index.types import Vectors
from retrieval.types import Space

__all__ = ["ASKED_KIND", "Asked"]

_log = logging.getLogger(__name__)

ASKED_KIND = "asked"
ROOM = 512
_HEADER = struct.Struct("<8sIIQ")  # magic, version, dim, searches so far
_MAGIC, _VERSION = b"\x89XFASK\r\n", 1
_LENGTH_ERROR = 1e-2  # of a unit vector in float16


class Asked:
    """The kept directions of one store.

    Args:
        folder: of what can be rebuilt.

    Example:
        >>> import tempfile
        >>> asked = Asked(Path(tempfile.mkdtemp()))
        >>> space = Space("text-image", "fake", "ab12", 2, ("image", "text"))
        >>> asked.note(np.array([[0.0, 1.0]], np.float32), space=space)
        >>> asked.read(space).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, vector: Vectors, *, space: Space) -> None:
        """Keep a direction, perhaps in the place of another; who cannot write goes without.

        Args:
            vector: float32 [1, D], unit length.
            space: it is searched in.
        """
        try:
            file = os.open(self._path(space), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.debug("searches are not kept: %s", error)
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the file descriptor
            n_seen = _n_seen(os.pread(file, _HEADER.size, 0), dim=space.dim)
            record = vector.astype("<f2").tobytes()
            # Seeded by the number itself: the same searches keep the same sample.
            place = n_seen if n_seen < ROOM else int(np.random.default_rng(n_seen).integers(n_seen))
            if place < ROOM:
                os.pwrite(file, record, _HEADER.size + place * len(record))
            os.pwrite(file, _HEADER.pack(_MAGIC, _VERSION, space.dim, n_seen + 1), 0)
        except OSError as error:  # another process writes, or the disk is full
            _log.debug("a search is not kept: %s", error)
        finally:
            os.close(file)

    def read(self, space: Space) -> Vectors:
        """Give what is kept.

        Returns:
            float32 [N, D], unit length, N at most 512; none where the file is missing or damaged.
        """
        try:
            whole = self._path(space).read_bytes()
        except OSError:
            return np.zeros((0, space.dim), np.float32)
        n = min(_n_seen(whole[: _HEADER.size], dim=space.dim), ROOM)
        n = min(n, (len(whole) - _HEADER.size) // (2 * space.dim))
        half = np.frombuffer(whole, "<f2", max(0, n) * space.dim, _HEADER.size if n > 0 else 0)
        rows = half.astype(np.float16).reshape(-1, space.dim)
        lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
        return read_rows(rows[np.abs(lengths - 1) < _LENGTH_ERROR])

    def forget(self) -> None:
        """Delete what is kept, for every space."""
        for path in self._folder.glob(f"{ASKED_KIND}-*"):
            with suppress(OSError):  # another process was quicker, or nothing may be written
                path.unlink()

    def _path(self, space: Space) -> Path:
        digest = hashlib.sha256(f"{space.id}\0{space.fingerprint}".encode()).hexdigest()
        return self._folder / f"{ASKED_KIND}-{digest[:32]}.vectors"


def _n_seen(header: bytes, *, dim: int) -> int:
    """How many searches a file has seen; 0 for a file that is to be begun (again)."""
    if len(header) < _HEADER.size:
        return 0
    magic, version, its_dim, n_seen = _HEADER.unpack(header)
    return int(n_seen) if (magic, version, its_dim) == (_MAGIC, _VERSION, dim) else 0
