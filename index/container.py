"""The file around what faiss writes: hashed as a whole, and in blocks of 1 MiB.

    prefix   magic, format version, length of the header
    header   JSON: name, kind, dim, n, parameters, fingerprint, names of row blocks, faiss version
    ids      int64 [n] by position, then the live positions as bits, zeros up to a multiple of 64
    faiss    what faiss writes
    table    CRC-32 of each 1 MiB of everything before
    trailer  length of everything before the table, CRC-32 of the table
    footer   SHA-256 of everything before

Read as a whole, the SHA-256 is compared before a byte is used. Mapped, each block is compared with
its CRC-32 when it is first used.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from index.checks import MAX_DIM
from index.errors import DamagedError, TooNewError
from index.faiss_kinds import Value
from index.storage import storage_error
from index.types import Ids, Mask

MAGIC = b"\x89XFIDX\r\n"
FORMAT_VERSION = 2
PREFIX = struct.Struct("<8sII")
TRAILER = struct.Struct("<QI")
SHA256_BYTES = 32
MAX_HEADER_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20
ALIGNMENT = 64
PARALLEL_FROM, MAX_THREADS = 4, 4  # a block takes a core a millisecond


class ContainerSink:
    """Count, hash and sum up what is written on its way to a stream."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self._crcs: list[int] = []
        self.n_bytes = 0
        self._crc = 0

    def write(self, data: bytes) -> int:
        """Write everything."""
        view, at = memoryview(data), 0
        while at < len(view):
            room = BLOCK_BYTES - self.n_bytes % BLOCK_BYTES
            piece = view[at : at + room]
            self._crc = zlib.crc32(piece, self._crc)
            at, self.n_bytes = at + len(piece), self.n_bytes + len(piece)
            if self.n_bytes % BLOCK_BYTES == 0:
                self._crcs.append(self._crc)
                self._crc = 0
        return self._put(data)

    def finish(self) -> None:
        """Write table, trailer and footer."""
        if self.n_bytes % BLOCK_BYTES:
            self._crcs.append(self._crc)
        table = np.array(self._crcs, "<u4").tobytes()
        self._put(table + TRAILER.pack(self.n_bytes, zlib.crc32(table)))
        self._sink.write(self._hash.digest())

    def _put(self, data: bytes) -> int:
        self._hash.update(data)
        return self._sink.write(data)


def pack_head(header: dict[str, object], *, ids: Ids, live: Mask) -> bytes:
    """Lay out everything before what faiss writes."""
    text = json.dumps(header).encode()
    head = PREFIX.pack(MAGIC, FORMAT_VERSION, len(text)) + text
    head += ids.astype("<i8").tobytes() + np.packbits(live, bitorder="little").tobytes()
    return head + bytes(-len(head) % ALIGNMENT)


class Blocks:
    """The blocks of a mapped container, each checked when it is first used.

    Threads may check at once; the worst is that both do.
    """

    def __init__(self, file: MappedFile, *, crcs: Ids) -> None:
        self._file, self._crcs = file, crcs
        self._good = np.zeros(len(crcs), np.bool_)

    def check(self, *spans: tuple[int, int]) -> None:
        """Prove bytes of the file, many blocks by several threads.

        Args:
            spans: first and last (excluded) of bytes that lie together.

        Raises:
            DamagedError: a block differs from what was written.
        """
        wanted = {
            number
            for start, stop in spans
            for number in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES))
            if not self._good[number]
        }
        for number in wanted:
            self._file.will_need(number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES)
        if len(wanted) < PARALLEL_FROM:
            for number in sorted(wanted):
                self._check(number)
            return
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            list(pool.map(self._check, sorted(wanted)))

    def _check(self, number: int) -> None:
        first = number * BLOCK_BYTES
        block = self._file.body[first : first + BLOCK_BYTES]
        if zlib.crc32(block) != self._crcs[number]:
            raise damaged(self._file.path, f"its block {number} differs from its checksum")
        self._good[number] = True
        self._file.release(first, len(block))  # most of it is not what was asked for


class MappedFile:
    """A container as bytes, mapped from its file.

    Raises:
        DamagedError: it is gone or too short.
        StorageError: it cannot be read.
        TooNewError: a newer crossfind wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.view = _map(path)
        magic, version, _ = PREFIX.unpack_from(self.view)
        if magic == MAGIC and version > FORMAT_VERSION:
            raise TooNewError(
                f"{path} has format version {version}; this crossfind reads up to "
                f"{FORMAT_VERSION}: upgrade crossfind, or build the index again"
            )
        if magic != MAGIC:
            raise damaged(path, "it does not begin like a saved index")
        if version != FORMAT_VERSION:
            raise damaged(path, f"its format version is {version}, today's is {FORMAT_VERSION}")
        n_bytes, self._table_crc = TRAILER.unpack_from(self.view, self._trailer_at)
        if n_bytes + 4 * -(-n_bytes // BLOCK_BYTES) != self._trailer_at:
            raise damaged(path, f"it has {len(self.view)} bytes, its trailer says otherwise")
        self.body = self.view[:n_bytes]

    @property
    def _trailer_at(self) -> int:
        return len(self.view) - SHA256_BYTES - TRAILER.size

    def verify_whole(self, sha256: str) -> None:
        """Read everything once and compare it with its SHA-256."""
        running = hashlib.sha256()
        footer_at = len(self.view) - SHA256_BYTES
        for start in range(0, footer_at, BLOCK_BYTES):
            running.update(self.view[start : min(start + BLOCK_BYTES, footer_at)])
            self.release(start, BLOCK_BYTES)
        footer = bytes(self.view[footer_at:])
        whole = running.copy()
        whole.update(footer)
        if running.digest() != footer or whole.hexdigest() != sha256.lower():
            raise damaged(
                self.path, f"its SHA-256 is {whole.hexdigest()}, the catalog says {sha256}"
            )

    def release(self, start: int = 0, n_bytes: int | None = None) -> None:
        """Give pages back to the system; they are read again when they are needed.

        Args:
            start: a multiple of the page size.
            n_bytes: how many; None for all behind start.
        """
        mapped = self.view.obj
        if isinstance(mapped, mmap.mmap):
            mapped.madvise(mmap.MADV_DONTNEED, start, n_bytes or len(self.view) - start)

    def will_need(self, start: int, stop: int) -> None:
        """Have the system read bytes start..stop ahead, in larger pieces than pages."""
        mapped = self.view.obj
        if isinstance(mapped, mmap.mmap):
            first = start - start % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, first, min(stop, len(self.view)) - first)

    def blocks(self) -> Blocks:
        """Give the checksums of the blocks, themselves checked."""
        table = self.view[len(self.body) : self._trailer_at]
        if zlib.crc32(table) != self._table_crc:
            raise damaged(self.path, "the table of its checksums differs from its checksum")
        return Blocks(self, crcs=np.frombuffer(table, "<u4").astype(np.int64))


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the bytes of faiss.

    Attributes:
        name: of the file as it was saved; each file of a store has a name of its own.
        core_at: where those begin.
        row_blocks: names and lengths of the blocks whose rows decide, where they stand outside.
        list_sizes_crc: of an index of lists: CRC-32 of their lengths.
    """

    name: str
    kind: str
    dim: int
    parameters: dict[str, Value]
    fingerprint: str
    ids: Ids
    live: Mask
    core_at: int
    row_blocks: tuple[tuple[str, int], ...]
    list_sizes_crc: int


def read_head(file: MappedFile, *, kinds: Sequence[str], blocks: Blocks | None) -> Head:
    """Take the head apart; lengths are checked before they are used.

    Args:
        file: verified as a whole, unless `blocks` is given.
        kinds: names that are known.
        blocks: to prove the bytes with that are read.

    Raises:
        DamagedError: the parts do not fit together.
    """
    view, path = file.body, file.path
    _, _, header_bytes = PREFIX.unpack_from(view)
    ids_at = PREFIX.size + header_bytes
    if header_bytes > MAX_HEADER_BYTES or ids_at > len(view):
        raise damaged(path, "it does not begin like a saved index")
    if blocks is not None:
        blocks.check((0, ids_at))
    header = _parse_header(bytes(view[PREFIX.size : ids_at]), kinds=kinds, path=path)
    n = int(header["n"])
    live_at = ids_at + 8 * n
    end = live_at + (n + 7) // 8
    core_at = end + -end % ALIGNMENT
    if n < 0 or core_at > len(view):
        raise damaged(path, f"it has {len(view)} bytes, too few for {n} ids")
    if blocks is not None:
        blocks.check((0, core_at))
    ids = np.frombuffer(view, "<i8", n, ids_at).astype(np.int64)
    bits = np.frombuffer(view, np.uint8, end - live_at, live_at)
    live = np.unpackbits(bits, count=n, bitorder="little").astype(np.bool_)
    row_blocks = tuple((str(name), int(n_rows)) for name, n_rows in header["row_blocks"])
    return Head(
        header["name"],
        header["kind"],
        header["dim"],
        header["parameters"],
        header["fingerprint"],
        ids,
        live,
        core_at,
        row_blocks,
        int(header["list_sizes_crc"]),
    )


def _parse_header(text: bytes, *, kinds: Sequence[str], path: Path) -> dict[str, Any]:
    # Any: JSON; each value that is used is checked right here
    try:
        header: dict[str, Any] = json.loads(text)
        fits = (
            header["kind"] in kinds
            and isinstance(header["name"], str)
            and isinstance(header["n"], int)
            and isinstance(header["dim"], int)
            and 1 <= header["dim"] <= MAX_DIM
            and isinstance(header["parameters"], dict)
            and isinstance(header["fingerprint"], str)
            and isinstance(header["list_sizes_crc"], int)
            and all(len(block) == 2 and isinstance(block[1], int) for block in header["row_blocks"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, "its header cannot be read") from error
    if not fits:
        raise damaged(path, f"its header claims kind {header['kind']!r}, n {header['n']!r}")
    return header


def _map(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < PREFIX.size + TRAILER.size + SHA256_BYTES:
                raise damaged(path, "it is too short")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise damaged(path, "it is gone") from error
    except OSError as error:
        raise storage_error(error, doing=f"read {path}") from error


def damaged(path: Path, why: str) -> DamagedError:
    """Say what is wrong with a saved index and what to do."""
    return DamagedError(
        f"saved index {path} is damaged: {why}; delete it and build the index again"
    )
