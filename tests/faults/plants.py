"""Bugs to plant: each breaks one rule of the write order, and the harness must see it.

A harness that finds nothing proves little unless it also finds these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index import derived, storage
from index.container import MappedFile
from retrieval import add_batch
from retrieval.catalog import connect
from retrieval.engine import Engine
from retrieval.query import open_space

PLANTS: dict[str, Callable[[], None]] = {}

_replaced: list[tuple[Any, str, Any]] = []


def _plant(function: Callable[[], None]) -> Callable[[], None]:
    PLANTS[function.__name__] = function
    return function


def _replace(owner: Any, name: str, value: Any) -> None:
    """Put something else in place of what is there; a target that is gone is no bug planted."""
    assert hasattr(owner, name), f"{owner} has no {name} any more: the harness would be blind"
    assert value != getattr(owner, name), f"nothing was planted into {name}"
    _replaced.append((owner, name, vars(owner)[name]))
    setattr(owner, name, value)


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the length of a block."""
    n_before = len(_replaced)
    PLANTS[name]()
    assert len(_replaced) > n_before, f"{name} replaces nothing"
    try:
        yield
    finally:
        while len(_replaced) > n_before:
            setattr(*_replaced.pop())


@_plant
def no_fsync() -> None:
    """Rename a file that never reached the disk."""
    _replace(storage, "_fsync", lambda _fd: None)


@_plant
def no_fsync_of_the_directory() -> None:
    """Commit a segment whose name never reached the disk."""
    _replace(storage, "fsync_dir", lambda _path: None)


@_plant
def commit_first() -> None:
    """Commit rows before the segment they name is there."""
    write, late = add_batch.write_segment, []

    def put_off(folder: Path, *args: Any, tmp: Path, **options: Any) -> Any:
        info = write(tmp, *args, tmp=tmp, **options)
        late.append((tmp / info.name, folder / info.name))
        return info

    def move(name: str) -> None:
        storage.failpoint(name)
        while name == "commit.after" and late:
            os.rename(*late.pop())

    _replace(add_batch, "write_segment", put_off)
    _replace(add_batch, "failpoint", move)


@_plant
def in_place() -> None:
    """Write a file under its final name."""

    def straight(path: Any, flags: int, mode: int = 0o777) -> int:
        name = Path(path)
        if name.name.startswith("FORMAT."):
            return os.open(name.parent.parent / "FORMAT", flags, mode)
        return os.open(path, flags, mode)

    def rename(source: Any, target: Any) -> None:
        if Path(source).exists():
            os.rename(source, target)

    _replace(storage, "os", _Os(open=straight, rename=rename))


@_plant
def ids_by_position() -> None:
    """Give vectors to ids by the order they came in."""
    write = add_batch.write_segment

    def backwards(folder: Path, vectors: Any, **options: Any) -> Any:
        return write(folder, vectors[::-1].copy(), **options)

    _replace(add_batch, "write_segment", backwards)


@_plant
def short_writes_ignored() -> None:
    """Take it for granted that write(2) takes all it is given."""

    def write(sink: Any, data: Any) -> int:
        view = memoryview(data).cast("B")
        sink._hash.update(view)
        os.write(sink._fd, view)
        return len(view)

    _replace(storage._HashingSink, "write", write)


@_plant
def fsync_retried() -> None:
    """Ask again after a failed fsync: the kernel has dropped the pages and says yes."""
    fsync = storage._fsync

    def retry(fd: int) -> None:
        try:
            fsync(fd)
        except OSError:
            fsync(fd)

    _replace(storage, "_fsync", retry)


@_plant
def errors_of_the_disk_swallowed() -> None:
    """Go on when a file could not be written."""
    write = storage._HashingSink.write

    def swallow(sink: Any, data: Any) -> int:
        try:
            return write(sink, data)
        except OSError:
            return len(memoryview(data).cast("B"))

    _replace(storage._HashingSink, "write", swallow)


@_plant
def garbage_collected_by_a_reader() -> None:
    """Let whoever opens a store clean up files that the catalog does not name (yet)."""
    opened = Engine.open.__func__  # type: ignore[attr-defined]

    def collect(cls: type[Engine], *args: Any, **options: Any) -> Engine:
        engine: Engine = opened(cls, *args, **options)
        with engine._catalog.reading() as reader:
            kept = reader.file_names()
        for path in engine.store.segments.iterdir():
            if path.name not in kept:
                path.unlink()
        return engine

    _replace(Engine, "open", classmethod(collect))


@_plant
def hashes_unchecked() -> None:
    """Answer from a segment or an index file without looking at its hash."""
    opened = open_space.open_segment

    def trust(path: Path, **_: Any) -> Any:
        return opened(path, verify=False)

    _replace(open_space, "open_segment", trust)
    _replace(MappedFile, "verify_whole", lambda *_: None)
    _replace(derived, "_self_test", lambda *_a, **_o: None)


@_plant
def stale_index_used() -> None:
    """Answer from the newest index file alone, whatever was added since."""
    add_live = open_space.OpenSpace._add_live

    def skip(space: Any, tail: Any, entry: Any) -> None:
        if space._derived is None or not space._derived.name:
            add_live(space, tail, entry)

    _replace(open_space.OpenSpace, "_add_live", skip)


@_plant
def commits_not_synced() -> None:
    """Tell SQLite that the disk needs no waiting for."""
    _replace(connect, "_PRAGMAS", tuple(p.replace("=FULL", "=OFF") for p in connect._PRAGMAS))


@_plant
def journal_deleted() -> None:
    """Let SQLite end a transaction by unlinking its journal, which is not synced."""
    deleted = tuple(p.replace("TRUNCATE", "DELETE") for p in connect._PRAGMAS)
    _replace(connect, "_PRAGMAS", deleted)


class _Os:
    """The module `os` with some functions replaced."""

    def __init__(self, **replaced: Any) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)
