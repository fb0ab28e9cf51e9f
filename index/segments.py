"""Immutable, checksummed files of vectors: the truth from which every index can be rebuilt.

    header   256 bytes: magic, version, dtype, dim, n, model fingerprint, CRC-32 of all that
    body     vectors [n, dim], zero bytes up to a multiple of 8, ids int64 [n]; little-endian
    table    CRC-32 of each 1 MiB block of the body: tells *where* damage is, for repair
    footer   SHA-256 of everything before: tells *whether* there is any

Files are written once through `publish` and never changed in place, so they can be mapped.
Every length follows from the header, and is compared with the file's before anything is allocated.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from index.checks import MAX_DIM, check_ids, check_same_length, check_unique, check_vectors
from index.errors import DamagedError, InputError, TooNewError
from index.rows import StoredRows, check_dtype, read_rows
from index.storage import publish, storage_error
from index.types import Ids, SegmentInfo, Vectors

MAGIC = b"\x89XFSEG\r\n"  # a byte above 127 and both line ends betray text-mode copies, as in PNG
FORMAT_VERSION = 1
HEADER = struct.Struct("<8sIIIIQ128s92xI")
BLOCK_BYTES = 1 << 20
SHA256_BYTES = 32
MAX_FINGERPRINT_BYTES = 128

_DTYPES: dict[int, npt.DTypeLike] = {1: "<f2", 2: "<f4"}
_DTYPE_NAMES = {1: "float16", 2: "float32"}
_DTYPE_CODES = {name: code for code, name in _DTYPE_NAMES.items()}


@dataclass(frozen=True, slots=True)
class _Header:
    """What the first 256 bytes say, and the places that follow from it."""

    dtype_code: int
    dim: int
    n_vectors: int
    fingerprint: str

    @property
    def vectors_bytes(self) -> int:
        return self.n_vectors * self.dim * np.dtype(_DTYPES[self.dtype_code]).itemsize

    @property
    def body_bytes(self) -> int:
        return self.vectors_bytes + -self.vectors_bytes % 8 + 8 * self.n_vectors

    @property
    def n_blocks(self) -> int:
        return -(-self.body_bytes // BLOCK_BYTES)

    @property
    def table_at(self) -> int:
        return HEADER.size + self.body_bytes

    @property
    def footer_at(self) -> int:
        return self.table_at + 4 * self.n_blocks

    @property
    def size_bytes(self) -> int:
        return self.footer_at + SHA256_BYTES

    def pack(self) -> bytes:
        fields = (MAGIC, FORMAT_VERSION, HEADER.size, self.dtype_code, self.dim, self.n_vectors)
        unsigned = HEADER.pack(*fields, self.fingerprint.encode("ascii"), 0)[:-4]
        return unsigned + struct.pack("<I", zlib.crc32(unsigned))


def write_segment(
    directory: Path,
    vectors: StoredRows,
    *,
    ids: Ids,
    fingerprint: str,
    tmp: Path,
    dtype: str = "float16",
    name: str | None = None,
) -> SegmentInfo:
    """Store vectors and their ids in a new file that is complete or absent.

    Args:
        directory: where segments live.
        vectors: float32 [N, D], unit length, finite; or float16 [N, D], rows of other segments,
            which are copied bit for bit (with `dtype` float16).
        ids: int64 [N], unique, none negative.
        fingerprint: of the model that made the vectors; ASCII, at most 128 characters.
        tmp: directory for the partial file, on the same file system.
        dtype: `float16` (half the size; moves a cosine by about 1e-4) or `float32`.
        name: of the file; a fresh uuid with `.seg` if None.

    Returns:
        What the catalog should remember.

    Raises:
        InputError: an argument breaks a rule above, or a file of that name exists.
        StorageError: the disk refused; nothing was published.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     info = write_segment(Path(folder), np.eye(3, dtype=np.float32), ids=np.arange(3),
        ...                          fingerprint="ab12", tmp=Path(folder))
        ...     open_segment(Path(folder, info.name), sha256=info.sha256).ids.tolist()
        [0, 1, 2]
    """
    header = _new_header(vectors, ids=ids, fingerprint=fingerprint, dtype=dtype)
    target = directory / _file_name(name)
    if target.exists():
        raise InputError(f"{target} exists; a segment is written once", code="segment_exists")
    body = _body_bytes(vectors, ids=ids, header=header)
    sha256 = publish(target, tmp=tmp, write=lambda sink: _write_file(sink, header, body))
    return SegmentInfo(
        target.name,
        len(ids),
        header.dim,
        _DTYPE_NAMES[header.dtype_code],
        sha256,
        header.size_bytes,
    )


def _write_file(sink: BinaryIO, header: _Header, body: memoryview) -> None:
    blocks = list(_chunks(body))
    table = struct.pack(f"<{len(blocks)}I", *map(zlib.crc32, blocks))
    running = hashlib.sha256()
    parts: list[bytes | memoryview] = [header.pack(), *blocks, table]
    for part in parts:
        running.update(part)
        sink.write(part)
    sink.write(running.digest())


def _new_header(vectors: StoredRows, *, ids: Ids, fingerprint: str, dtype: str) -> _Header:
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
        raise InputError("vectors must be a float32 array [N, D]", code="bad_shape")
    is_copy = vectors.dtype == np.float16 and dtype == "float16"
    read = read_rows(vectors) if is_copy else vectors
    check_vectors(read, dim=vectors.shape[1], what="vectors")
    check_unique(check_ids(ids))
    check_same_length(len(vectors), len(ids))
    if not fingerprint.isascii() or not fingerprint.isprintable() or not fingerprint:
        raise InputError(f"fingerprint {fingerprint!r} must be printable ASCII, not empty")
    if len(fingerprint) > MAX_FINGERPRINT_BYTES:
        raise InputError(f"fingerprint has {len(fingerprint)} characters; at most 128 fit")
    return _Header(_DTYPE_CODES[check_dtype(dtype)], vectors.shape[1], len(vectors), fingerprint)


def _file_name(name: str | None) -> str:
    if name is None:
        return f"{uuid.uuid4().hex}.seg"
    if Path(name).name != name or name in ("", ".", ".."):
        raise InputError(f"{name!r} is no plain file name")
    return name


def _body_bytes(vectors: StoredRows, *, ids: Ids, header: _Header) -> memoryview:
    stored = vectors.astype(_DTYPES[header.dtype_code])
    padding = b"\0" * (-header.vectors_bytes % 8)
    return memoryview(b"".join([stored.tobytes(), padding, ids.astype("<i8").tobytes()]))


class Segment:
    """An open segment: mapped, not read; from `open_segment`.

    Attributes:
        info: what the catalog remembers; `sha256` is empty if the file was not verified.
        fingerprint: of the model that made the vectors.
        ids: int64 [N].
        rows: float16 or float32 [N, D] as stored, read-only, backed by the file.
    """

    def __init__(self, view: memoryview, *, header: _Header, info: SegmentInfo) -> None:
        self.info = info
        self.fingerprint = header.fingerprint
        n, dim = header.n_vectors, header.dim
        stored = np.frombuffer(view, _DTYPES[header.dtype_code], n * dim, HEADER.size)
        self.rows: StoredRows = stored.reshape(n, dim)
        self._table_at = header.table_at
        self._ids_at = header.table_at - 8 * n
        self._view = view
        self._crcs = np.frombuffer(view, "<u4", header.n_blocks, header.table_at)
        self._proven = np.full(header.n_blocks, bool(info.sha256))  # all by the SHA-256, or none

    @cached_property
    def ids(self) -> Ids:
        """The ids, int64 [N], copied out of the file."""
        n = self.info.n_vectors
        return np.frombuffer(self._view, "<i8", n, self._ids_at).astype(np.int64)

    def prove(self, at: Ids) -> None:
        """Compare the 1 MiB blocks that hold some rows with their checksums, each once.

        Args:
            at: int64 [P], positions of rows.

        Raises:
            DamagedError: a block differs from what was written.

        Example: see `index.segment_block`.
        """
        if self._proven.all() or not len(at):
            return
        row_bytes = self.rows.dtype.itemsize * self.rows.shape[1]
        first, last = at * row_bytes // BLOCK_BYTES, ((at + 1) * row_bytes - 1) // BLOCK_BYTES
        numbers = np.unique(np.concatenate([first, last]))
        numbers = numbers[~self._proven[numbers]]
        for number in numbers.tolist():
            start = HEADER.size + number * BLOCK_BYTES
            block = self._view[start : min(start + BLOCK_BYTES, self._table_at)]
            if zlib.crc32(block) != self._crcs[number]:
                raise _damaged(Path(self.info.name), f"its block {number} has another checksum")
            self._proven[number] = True

    def release(self) -> None:
        """Give the pages that were read back to the system; they are read again when needed."""
        mapped = self._view.obj
        if isinstance(mapped, mmap.mmap):
            mapped.madvise(mmap.MADV_DONTNEED)

    def vectors(self, start: int = 0, stop: int | None = None) -> Vectors:
        """Read rows as float32 unit vectors.

        Args:
            start, stop: positions, as in a slice; all rows if omitted.

        Returns:
            float32 [stop - start, D], unit length.
        """
        return read_rows(self.rows[start:stop])


def open_segment(path: Path, *, sha256: str | None = None, verify: bool = True) -> Segment:
    """Open a segment after proving that it is what was written.

    Args:
        path: of the file.
        sha256: what the catalog remembers, hex; None compares with the file's own footer only.
        verify: False skips the SHA-256 (one sequential read) and checks header and length only.

    Returns:
        The segment, mapped.

    Raises:
        DamagedError: the bytes differ from what was written, or another file lies here.
        TooNewError: a newer crossfind wrote it.
        StorageError: the file cannot be read.
        InputError: a hash was given together with `verify=False`, which would ignore it.

    Example: see `write_segment`.
    """
    if sha256 is not None and not verify:
        raise InputError("verify=False would ignore the sha256 that was given")
    view = _map_file(path)
    header = _read_header(view, path)
    found = _verify_hash(view, header=header, path=path, sha256=sha256) if verify else ""
    dtype = _DTYPE_NAMES[header.dtype_code]
    info = SegmentInfo(path.name, header.n_vectors, header.dim, dtype, found, len(view))
    return Segment(view, header=header, info=info)


def check_segment(path: Path, *, sha256: str | None = None) -> tuple[int, ...]:
    """Find which 1 MiB blocks of a segment are damaged.

    Args:
        path: of the file.
        sha256: what the catalog remembers, hex.

    Returns:
        Numbers of the bad blocks of the body, from 0; empty means the file is whole.

    Raises:
        DamagedError: header, length, or the checksums themselves are damaged, so that no block
            can be told good from bad.
        TooNewError: a newer crossfind wrote it.
        StorageError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     info = write_segment(Path(folder), np.eye(3, dtype=np.float32), ids=np.arange(3),
        ...                          fingerprint="ab12", tmp=Path(folder))
        ...     check_segment(Path(folder, info.name), sha256=info.sha256)
        ()
    """
    view = _map_file(path)
    header = _read_header(view, path)
    wanted = np.frombuffer(view, "<u4", header.n_blocks, header.table_at)
    body = view[HEADER.size : header.table_at]
    blocks = (body[i : i + BLOCK_BYTES] for i in range(0, len(body), BLOCK_BYTES))
    bad = tuple(i for i, block in enumerate(blocks) if zlib.crc32(block) != wanted[i])
    if not bad:  # only now can damage outside the blocks be told from damage inside
        _verify_hash(view, header=header, path=path, sha256=sha256)
    return bad


def _map_file(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes < HEADER.size:
                raise _damaged(path, f"it has {size_bytes} bytes, fewer than its header")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise _damaged(path, "it is gone") from error
    except OSError as error:
        raise storage_error(error, doing=f"read {path}") from error


def _read_header(view: memoryview, path: Path) -> _Header:
    magic, version, size, dtype_code, dim, n, fingerprint, crc = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise _damaged(path, "it does not begin like a segment")
    if version > FORMAT_VERSION:  # before the CRC: a newer header may be laid out differently
        raise TooNewError(
            f"{path} has format version {version}; this crossfind reads up to {FORMAT_VERSION}: "
            "upgrade crossfind"
        )
    if crc != zlib.crc32(view[: HEADER.size - 4]):
        raise _damaged(path, "the checksum of its header is wrong")
    header = _Header(dtype_code, dim, n, fingerprint.rstrip(b"\0").decode("ascii", "replace"))
    if size != HEADER.size or dtype_code not in _DTYPES or not 1 <= dim <= MAX_DIM:
        raise _damaged(path, f"its header claims dtype {dtype_code} and dim {dim}")
    if header.size_bytes != len(view):
        raise _damaged(path, f"it has {len(view)} bytes; its header says {header.size_bytes}")
    return header


def _verify_hash(view: memoryview, *, header: _Header, path: Path, sha256: str | None) -> str:
    running = hashlib.sha256()
    for chunk in _chunks(view[: header.footer_at]):
        running.update(chunk)
    if running.digest() != bytes(view[header.footer_at :]):
        raise _damaged(path, "its SHA-256 is not the one in its footer")
    running.update(view[header.footer_at :])
    found = running.hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise _damaged(path, f"its SHA-256 is {found}, the catalog says {sha256}")
    return found


def _chunks(view: memoryview) -> Iterator[memoryview]:
    return (view[start : start + BLOCK_BYTES] for start in range(0, len(view), BLOCK_BYTES))


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(f"segment {path} is damaged: {why}; run `crossfind index verify --repair`")
