"""A folder for copies that are needed for a moment, and the end of those whose owner was killed.

Its owner holds a lock on it, which ends with the process however that ends. A folder gets the name
by which others look for it once it is locked, so nobody takes one in the making for a dead one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_MAKING, _LOCKED = "crossfind-", "crossfind-copies-"


class Scratch:
    """A new folder in the system's place for temporary files, for its user alone.

    Raises:
        OSError: it cannot be made.

    Example:
        >>> scratch = Scratch()
        >>> scratch.path.is_dir()
        True
        >>> scratch.close()
        >>> scratch.path.exists()
        False
    """

    def __init__(self) -> None:
        made = Path(tempfile.mkdtemp(prefix=_MAKING))
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = made
        with suppress(OSError):  # where nothing can be locked the folder keeps its name, and stays
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path = made.rename(made.with_name(made.name.replace(_MAKING, _LOCKED, 1)))

    def close(self) -> None:
        """Delete it with all it holds; once."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_stale() -> None:
    """Delete the folders of this user's processes that ended without doing so."""
    for name in os.listdir(tempfile.gettempdir()):
        if name.startswith(_LOCKED):
            with suppress(OSError):  # locked by its owner, gone meanwhile, or no folder of ours
                _remove_if_stale(Path(tempfile.gettempdir(), name))


def _remove_if_stale(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(opened).st_uid == os.getuid():
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(opened)
