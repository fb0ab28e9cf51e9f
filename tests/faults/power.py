"""What a power cut would leave: a model of the disk, fed with the calls of one whole run.

After every call three disks are thinkable: all that was not synced is gone; names are there but
their data is not; names and sizes are there and the data is zeros. A store must be sound on each.
The same model audits the order: a file is synced before its rename, a name before the commit that
needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.tracing import Call

Disk = dict[str, bytes]


@dataclass
class _File:
    """One inode: what programs see, and what the platters hold."""

    seen: bytes = b""
    synced: bytes = b""


@dataclass
class Model:
    """The files of a store as seen, and as a power cut would find them."""

    acks: str
    names: dict[str, _File] = field(default_factory=dict)
    synced_names: dict[str, _File] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    n_acked: int = 0
    violations: list[str] = field(default_factory=list)
    _open: dict[int, tuple[_File, int]] = field(default_factory=dict)

    def take(self, call: Call) -> None:
        """Let one call happen."""
        if call.path == self.acks:
            self.n_acked += call.name == "write"
            return
        getattr(self, f"_{call.name}")(call)

    def _mkdir(self, call: Call) -> None:
        self.folders.append(call.path)

    def _openat(self, call: Call) -> None:
        if "O_DIRECTORY" in call.flags or call.path in self.folders:
            return
        if "O_CREAT" in call.flags and call.path not in self.names:
            self.names[call.path] = _File()
        if call.path in self.names:
            if "O_TRUNC" in call.flags:
                self.names[call.path].seen = b""
            self._open[call.fd] = (self.names[call.path], 0)

    def _close(self, call: Call) -> None:
        self._open.pop(call.fd, None)

    def _write(self, call: Call) -> None:
        file, offset = self._open[call.fd]
        file.seen = _put(file.seen, call.data, offset)
        self._open[call.fd] = (file, offset + len(call.data))

    def _pwrite64(self, call: Call) -> None:
        file, _ = self._open[call.fd]
        assert call.offset is not None
        file.seen = _put(file.seen, call.data, call.offset)

    def _ftruncate(self, call: Call) -> None:
        file, _ = self._open[call.fd]
        if call.path.endswith("-journal") and call.size == 0:
            self._audit_commit(call.path.removesuffix("-journal"))
        file.seen = file.seen[: call.size].ljust(call.size, b"\0")

    def _fsync(self, call: Call) -> None:
        if call.fd in self._open:
            file, _ = self._open[call.fd]
            file.synced = file.seen
            return
        below = {n for n in {*self.names, *self.synced_names} if os.path.dirname(n) == call.path}
        for name in below:
            if name in self.names:
                self.synced_names[name] = self.names[name]
            else:
                self.synced_names.pop(name, None)

    _fdatasync = _fsync

    def _rename(self, call: Call) -> None:
        file = self.names.pop(call.path)
        if file.seen != file.synced:
            self.violations.append(f"{call.target} was renamed before its bytes were synced")
        self.names[call.target] = file

    def _unlink(self, call: Call) -> None:
        self.names.pop(call.path, None)

    def _audit_commit(self, catalog: str) -> None:
        if self.names[catalog].seen != self.names[catalog].synced:
            self.violations.append(f"{catalog} was not synced at a commit")
        for name, file in self.names.items():
            wanted = os.path.basename(os.path.dirname(name)) in ("segments", "derived")
            if wanted and self.synced_names.get(name) is not file:
                self.violations.append(f"the name {name} was not synced at a commit")

    def disks(self) -> Iterator[Disk]:
        """Give the three disks a power cut could leave now."""
        yield {name: file.synced for name, file in self.synced_names.items()}
        yield {name: file.synced for name, file in self.names.items()}
        yield {name: _zeroed(file) for name, file in self.names.items()}


def _put(old: bytes, data: bytes, offset: int) -> bytes:
    return old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :]


def _zeroed(file: _File) -> bytes:
    """Keep the size; what changed since the last sync is zero."""
    synced = file.synced[: len(file.seen)].ljust(len(file.seen), b"\0")
    kept = bytearray(synced)
    for start in range(0, len(kept), 512):
        if file.seen[start : start + 512] != synced[start : start + 512]:
            kept[start : start + 512] = bytes(len(kept[start : start + 512]))
    return bytes(kept)


def states(calls: Iterable[Call], *, acks: Path) -> Iterator[tuple[Disk, int, str]]:
    """Give every different disk, with the steps acknowledged by then and the call before it."""
    model = Model(os.fspath(acks))
    known: set[tuple[int, int]] = set()
    for number, call in enumerate(calls):
        model.take(call)
        for disk in model.disks():
            key = (hash(tuple(sorted(disk.items()))), model.n_acked)
            if key not in known:
                known.add(key)
                yield disk, model.n_acked, f"after call {number}: {call.name} {call.path}"


def audit(calls: Iterable[Call], *, acks: Path) -> list[str]:
    """List the calls that came in an order a power cut could exploit."""
    model = Model(os.fspath(acks))
    for call in calls:
        model.take(call)
    return model.violations


def lay_out(disk: Disk, *, store: Path, at: Path) -> Path:
    """Write a disk's files below another folder."""
    for name in ("segments", "derived", "tmp"):
        (at / name).mkdir(parents=True, exist_ok=True)
    for path, data in disk.items():
        (at / os.path.relpath(path, store)).write_bytes(data)
    return at
