"""Calibration kept on disk: what took a search seconds to measure takes the next one a file.

A file in `derived/` holds named arrays behind the SHA-256 of its bytes. Its name is a digest of all
that the arrays depend on, so a file is either right or not looked at; one that is damaged or
missing is measured again. A store that cannot be written is searched as well.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from index.storage import publish
from retrieval.errors import StorageError

_log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[np.generic]]

_MAGIC = b"CFK1"
_DIGEST_BYTES = 32


class Kept:
    """Arrays kept in a folder of what can be rebuilt."""

    def __init__(self, folder: Path, *, tmp: Path) -> None:
        self._folder = folder
        self._tmp = tmp

    def get(self, kind: str, key: tuple[object, ...], make: Callable[[], Arrays]) -> Arrays:
        """Read what was kept, or make and keep it.

        Args:
            kind: the first part of the file's name.
            key: everything that the arrays depend on, of stable `repr`.
            make: gives the arrays; an empty dict is kept like any other.

        Returns:
            The arrays by name, as they were made.

        Example:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp())
            >>> kept = Kept(folder, tmp=folder)
            >>> first = kept.get("bank", ("a", 1), lambda: {"x": np.arange(3)})
            >>> kept.get("bank", ("a", 1), dict)["x"].tolist()
            [0, 1, 2]
        """
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        path = self._folder / f"{kind}-{digest[:32]}.kept"
        found = _read(path)
        if found is None:
            found = make()
            self._write(path, found)
        return found

    def _write(self, path: Path, arrays: Arrays) -> None:
        body = io.BytesIO()
        np.savez(body, **arrays)  # type: ignore[arg-type]  # names are ours, none is `allow_pickle`
        raw = body.getvalue()
        whole = _MAGIC + hashlib.sha256(raw).digest() + raw

        def write(sink: BinaryIO) -> None:
            sink.write(whole)

        try:
            publish(path, tmp=self._tmp, write=write)
        except StorageError as error:
            _log.info("not kept for the next search: %s", error)


def _read(path: Path) -> Arrays | None:
    """Read a file; None where it is not there or not what was written."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST_BYTES
    raw = whole[start:]
    if whole[: len(_MAGIC)] != _MAGIC or whole[len(_MAGIC) : start] != hashlib.sha256(raw).digest():
        _log.warning("%s is damaged; measuring again", path)
        return None
    try:
        with np.load(io.BytesIO(raw)) as file:  # numpy refuses pickled objects unless asked
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, KeyError):
        return None
