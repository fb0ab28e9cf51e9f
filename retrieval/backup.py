"""A store in one file, and back: a backup made while others write, a restore that trusts nothing.

The file is a plain tar: `manifest.json` (what is in it, with SHA-256), `FORMAT`, `catalog.sqlite`
and `segments/*.seg`. What can be rebuilt is not in it. It is read member by member and never
extracted: an archive that names anything else, or is not what was written, is refused before a
byte is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO
from uuid import uuid4

from index.segments import open_segment
from index.storage import fsync_dir, hash_file, publish, storing
from retrieval.catalog.records import SegmentEntry
from retrieval.catalog.store import Catalog
from retrieval.errors import DamagedError, TooNewError, UsageError
from retrieval.store import Store, open_store

BACKUP_VERSION = 1
_CHUNK_BYTES = 1 << 20
_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 64 << 20
_MEMBER = re.compile(r"FORMAT|catalog\.sqlite|segments/[0-9a-f]{32}\.seg")
_ATTEMPTS = 3  # a build may retire a segment between the copy of the catalog and its opening


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds.

    Attributes:
        path: of the archive.
        generation: of the store that was saved.
        n_segments: files of vectors in it.
        n_bytes: of the archive.
    """

    path: str
    generation: int
    n_segments: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in an archive, as its manifest knows it."""

    name: str
    n_bytes: int
    sha256: str


def backup(archive: Path, *, catalog: Catalog, store: Store) -> BackupReport:
    """Save one generation of a store while others read and write it.

    Args:
        archive: file to make; must not exist.
        catalog, store: of the store.

    Returns:
        What was saved, after every byte of it was read back and compared.

    Raises:
        UsageError: `archive` exists, its folder does not, or the catalog is not SQLite.
        DamagedError: a segment is damaged; `index verify --repair` mends it first.
        StorageError: the disk is full.

    Example:
        >>> import tempfile
        >>> from retrieval import Engine
        >>> folder = Path(tempfile.mkdtemp())
        >>> with Engine.open(folder / "store", create=True, model="fake") as engine:
        ...     engine.backup(folder / "saved.tar").n_segments
        0
        >>> restore(folder / "saved.tar", root=folder / "again").root.name
        'again'
    """
    if archive.exists() or not archive.parent.is_dir():
        why = "exists already" if archive.exists() else "would lie in a folder that does not exist"
        raise UsageError(f"backup {archive} {why}; name a new file", code="backup_exists")
    copy = archive.with_name(f"{archive.name}.{uuid4().hex}.sqlite")
    try:
        with ExitStack() as opened:
            generation, files = _freeze(copy, catalog=catalog, store=store, opened=opened)
            publish(archive, tmp=archive.parent, write=lambda sink: _write(sink, files, generation))
    finally:
        copy.unlink(missing_ok=True)
    try:
        members = _check(archive)
    except DamagedError as error:
        archive.unlink()
        raise DamagedError(
            f"{error}; nothing was saved: run 'crossfind index verify --repair', then back up again"
        ) from error
    return BackupReport(os.fspath(archive), generation, len(members) - 2, archive.stat().st_size)


def restore(archive: Path, *, root: Path) -> Store:
    """Make a store of a backup: complete and verified, or not at all.

    Args:
        archive: made by `backup`, by anybody.
        root: directory to make; must not exist, or be empty.

    Returns:
        The store, which answers as the saved one did; `index rebuild` makes its index files.

    Raises:
        UsageError: `root` holds something.
        DamagedError: the archive is not what `backup` wrote (`backup_damaged`).
        TooNewError: a newer crossfind wrote it.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{root} holds something; name a new directory", code="not_empty")
    members = _check(archive)
    partial = root.with_name(f"{root.name}.{uuid4().hex}.restoring")
    try:
        with storing(f"restore {root}"):
            for folder in ("segments", "derived", "tmp"):
                (partial / folder).mkdir(parents=True)
            _copy_members(archive, members, into=partial)
        _verify(partial)
        with storing(f"restore {root}"):
            os.rename(partial, root)
            fsync_dir(root.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_store(root)


Source = tuple[_Member, IO[bytes]]


def _freeze(
    copy: Path, *, catalog: Catalog, store: Store, opened: ExitStack
) -> tuple[int, list[Source]]:
    """Copy the catalog and open every segment it names: what is open cannot be deleted."""
    for attempt in range(1, _ATTEMPTS + 1):
        catalog.copy_to(copy)
        saved = Catalog.open(copy, uuid=store.uuid)
        with saved.reading() as reader:
            snapshot = reader.snapshot()
        saved.close()
        try:
            with ExitStack() as segments:
                sources = [_segment(entry, store, segments) for entry in snapshot.segments]
                opened.push(segments.pop_all())
                break
        except FileNotFoundError as error:
            if attempt == _ATTEMPTS:
                raise DamagedError(
                    f"segment {error.filename} is gone; run: crossfind index verify --repair"
                ) from error
    fixed = [("FORMAT", store.root / "FORMAT"), ("catalog.sqlite", copy)]
    return snapshot.generation, [*(_file(*named, opened) for named in fixed), *sources]


def _file(name: str, path: Path, opened: ExitStack) -> Source:
    return _Member(name, path.stat().st_size, hash_file(path)), opened.enter_context(
        path.open("rb")
    )


def _segment(entry: SegmentEntry, store: Store, opened: ExitStack) -> Source:
    path = store.segments / entry.info.name
    file = opened.enter_context(path.open("rb"))
    n_bytes = os.fstat(file.fileno()).st_size
    return _Member(f"segments/{entry.info.name}", n_bytes, entry.info.sha256), file


def _write(sink: BinaryIO, sources: list[Source], generation: int) -> None:
    manifest = {
        "version": BACKUP_VERSION,
        "generation": generation,
        "members": [[m.name, m.n_bytes, m.sha256] for m, _ in sources],
    }
    text = json.dumps(manifest, indent=1).encode()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_header(_MANIFEST, len(text)), io.BytesIO(text))
        for member, file in sources:
            tar.addfile(_header(member.name, member.n_bytes), file)


def _header(name: str, n_bytes: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = n_bytes, 0o600
    return header


def _check(archive: Path) -> list[_Member]:
    """Read a whole archive and give what it holds; anything unexpected is an error."""
    return list(_members(archive, take=lambda _member: None))


def _copy_members(archive: Path, members: list[_Member], *, into: Path) -> None:
    files: list[BinaryIO] = []

    def take(member: _Member) -> BinaryIO:
        files.append((into / member.name).open("xb"))
        return files[-1]

    if list(_members(archive, take=take)) != members:
        raise _damaged(archive, "it changed while it was read")
    for file in files:
        file.flush()
        os.fsync(file.fileno())
        file.close()
    for folder in (into / "segments", into):
        fsync_dir(folder)


def _members(archive: Path, *, take: Callable[[_Member], BinaryIO | None]) -> Iterator[_Member]:
    """Read an archive front to back, compare every byte with the manifest, and hand it on."""
    try:
        with storing(f"read {archive}"), tarfile.open(archive, mode="r:") as tar:
            entries = iter(tar)
            expected = _manifest(archive, tar, next(entries, None))
            for member in expected:
                entry = next(entries, None)
                if entry is None or not _is_plain(entry) or entry.name != member.name:
                    found = "its end" if entry is None else f"{entry.name!r}"
                    raise _damaged(archive, f"{member.name} is expected where {found} stands")
                found_sha256 = _copy(tar, entry, take(member))
                if entry.size != member.n_bytes or found_sha256 != member.sha256:
                    raise _damaged(archive, f"{member.name} is not what was saved")
                yield member
            extra = next(entries, None)
            if extra is not None:
                raise _damaged(archive, f"it also holds {extra.name!r}")
    except tarfile.TarError as error:
        raise _damaged(archive, str(error)) from error


def _manifest(archive: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo | None) -> list[_Member]:
    if entry is None or not _is_plain(entry) or entry.name != _MANIFEST:
        raise _damaged(archive, f"it does not begin with {_MANIFEST}")
    if entry.size > _MAX_MANIFEST_BYTES:
        raise _damaged(archive, f"{_MANIFEST} has {entry.size:,} bytes")
    file = tar.extractfile(entry)
    assert file is not None  # `_is_plain` saw a regular file
    try:
        manifest = json.loads(file.read())
        version = int(manifest["version"])
        members = [_Member(str(n), int(size), str(sha)) for n, size, sha in manifest["members"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(archive, f"{_MANIFEST} cannot be read ({error})") from error
    if version > BACKUP_VERSION:
        raise TooNewError(
            f"backup {archive} has version {version}; this crossfind knows up to "
            f"{BACKUP_VERSION}; upgrade crossfind"
        )
    names = [member.name for member in members]
    odd = next((name for name in names if not _MEMBER.fullmatch(name)), None)
    if odd is not None or len(set(names)) != len(names):
        raise _damaged(archive, f"it names {odd!r}" if odd else "it names a file twice")
    if names[:2] != ["FORMAT", "catalog.sqlite"]:
        raise _damaged(archive, "it has no FORMAT or no catalog.sqlite")
    return members


def _is_plain(entry: tarfile.TarInfo) -> bool:
    return entry.isreg() and not entry.issparse() and not entry.linkname


def _copy(tar: tarfile.TarFile, entry: tarfile.TarInfo, sink: BinaryIO | None) -> str:
    file = tar.extractfile(entry)
    assert file is not None
    running = hashlib.sha256()
    for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
        running.update(chunk)
        if sink is not None:
            sink.write(chunk)
    return running.hexdigest()


def _verify(root: Path) -> None:
    """Open what was restored like any store, and look at every row and vector."""
    store = open_store(root)
    catalog = Catalog.open(store.catalog_path, uuid=store.uuid)
    try:
        foreign = catalog.foreign_objects(tmp=store.tmp)
        _, damaged = catalog.check_rows()
        if foreign or damaged:
            what = ", ".join((*foreign, *damaged)[:10])
            raise DamagedError(f"the catalog in the backup holds what is not ours: {what}")
        with catalog.reading() as reader:
            for entry in reader.snapshot().segments:
                open_segment(store.segments / entry.info.name, sha256=entry.info.sha256)
    finally:
        catalog.close()


def _damaged(archive: Path, why: str) -> DamagedError:
    return DamagedError(
        f"{archive} is no backup of crossfind, or is damaged: {why}; nothing was written",
        code="backup_damaged",
    )
