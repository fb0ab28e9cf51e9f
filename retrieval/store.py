"""The store on disk: where it is, what it is made of, and who may write to it."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from index.storage import WriterLock, is_network_filesystem, publish
from retrieval.config import load_settings
from retrieval.errors import DamagedError, NotFoundError, StorageError, TooNewError, UsageError

STORE_NAME = ".crossfind"
FORMAT_VERSION = 1
HUBS_KIND = "hubs"
"""Files in `derived/` that begin so hold what `index tune --hubs` has chosen."""
BANK_KIND = "bank"
"""Files in `derived/` that begin so hold the vectors of fixed texts; no commit makes them wrong."""


@dataclass(frozen=True, slots=True)
class Store:
    """A store directory.

    Attributes:
        root: the directory itself (usually named `.crossfind`).
        uuid: identity; equal to the one in the catalog.
    """

    root: Path
    uuid: str

    @property
    def catalog_path(self) -> Path:
        """The SQLite catalog."""
        return self.root / "catalog.sqlite"

    @property
    def segments(self) -> Path:
        """Folder of the immutable vector segments."""
        return self.root / "segments"

    @property
    def derived(self) -> Path:
        """Folder of what can be rebuilt."""
        return self.root / "derived"

    @property
    def tmp(self) -> Path:
        """The only folder with partial files."""
        return self.root / "tmp"

    @property
    def verified(self) -> Path:
        """What the last verification found; see `retrieval.verify_record`."""
        return self.root / "VERIFIED"

    def lock(self) -> WriterLock:
        """Return the lock of the one writer, to be used in a `with` statement.

        Raises:
            StorageError: the store lies on a network file system (`network_filesystem`).
        """
        if is_network_filesystem(self.root) and not load_settings().network_store:
            raise StorageError(
                f"{self.root} lies on a network file system, where a lock may be given twice and "
                "a written file may be lost; move the store to a disk of this machine, or set "
                "CROSSFIND_NETWORK_STORE=1 if you alone write to it and keep backups",
                code="network_filesystem",
            )
        return WriterLock(self.root / "LOCK")


def find_store(start: Path, *, explicit: str = "") -> Path:
    """Find the store directory.

    Args:
        start: directory to search from, upwards.
        explicit: a directory named by the user: the store itself or its parent.

    Returns:
        Absolute path of an existing store directory.

    Raises:
        NotFoundError: there is none (`no_store`).
    """
    if explicit:
        for candidate in (Path(explicit), Path(explicit) / STORE_NAME):
            if (candidate / "FORMAT").is_file():
                return candidate.absolute()
        raise NotFoundError(
            f"no store at {explicit}; make one with: crossfind index build PATH --store {explicit}",
            code="no_store",
        )
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / STORE_NAME / "FORMAT").is_file():
            return folder / STORE_NAME
    raise NotFoundError(
        f"no {STORE_NAME} store in {start.absolute()} or above; "
        "make one with: crossfind index build PATH",
        code="no_store",
    )


def open_store(root: Path) -> Store:
    """Open an existing store directory.

    Raises:
        NotFoundError: no FORMAT file (`no_store`).
        DamagedError: FORMAT is not what was written.
        TooNewError: written by a newer crossfind; nothing is changed.
    """
    path = root / "FORMAT"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version, identity = int(raw["version"]), str(uuid.UUID(raw["uuid"]))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no store at {root}; make one with: crossfind index build PATH", code="no_store"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{path} is not a crossfind FORMAT file ({error}); restore it from a backup"
        ) from error
    if version > FORMAT_VERSION:
        raise TooNewError(
            f"store {root} has format {version}; this crossfind knows up to {FORMAT_VERSION}; "
            "upgrade crossfind"
        )
    return Store(root=root, uuid=identity)


def create_store(root: Path) -> Store:
    """Make an empty store directory, or open the one that is there.

    Raises:
        UsageError: the place is taken by something that is no store (`not_a_store`).
        StorageError: it cannot be written.
    """
    if (root / "FORMAT").exists():
        return open_store(root)
    if root.exists() and (not root.is_dir() or any(_foreign(root))):
        raise UsageError(
            f"{root} exists and is not a crossfind store; name an empty or new directory",
            code="not_a_store",
        )
    store = Store(root=root, uuid=str(uuid.uuid4()))
    try:
        for folder in (root, store.segments, store.derived, store.tmp):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make a store at {root}: {error}") from error
    with store.lock():
        if (root / "FORMAT").exists():  # another process was faster
            return open_store(root)
        text = json.dumps({"uuid": store.uuid, "version": FORMAT_VERSION}) + "\n"
        publish(root / "FORMAT", tmp=store.tmp, write=lambda sink: _write(sink, text))
    return store


def _write(sink: BinaryIO, text: str) -> None:
    sink.write(text.encode("utf-8"))


def _foreign(root: Path) -> list[str]:
    """Name what lies in a directory and is not the beginning of a store."""
    ours = {"segments", "derived", "tmp", "LOCK"}
    return [name for name in os.listdir(root) if name not in ours]
