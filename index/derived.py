"""Saving a faiss index and loading it back, with damage always noticed.

faiss checks nothing: of single flipped bits in its files a quarter changed results in silence. So
its bytes travel inside our own container, are hashed as they are written, and are parsed only
after the hash was found right.

    prefix   magic, format version, length of the header
    header   JSON: kind, dim, n, parameters, fingerprint, faiss version
    ids      int64 [n] by position, then the live positions as bits
    faiss    what faiss writes
    footer   SHA-256 of everything before

Such a file is derived: on any `DamagedError` delete it, search exactly, and build again.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from index.base import Index
from index.checks import MAX_DIM
from index.errors import CrossfindError, DamagedError, InputError, TooNewError
from index.faiss_index import FaissIndex
from index.faiss_kinds import Core, import_faiss
from index.kinds import KINDS
from index.storage import CHUNK_BYTES, publish, storage_error
from index.types import Ids, Mask, SearchParameters

MAGIC = b"\x89XFIDX\r\n"
FORMAT_VERSION = 1
PREFIX = struct.Struct("<8sII")
SHA256_BYTES = 32
MAX_HEADER_BYTES = 1 << 16

N_SELF_TESTS = 32


def save_index(ix: Index, path: Path, *, tmp: Path, fingerprint: str) -> str:
    """Save a faiss index as one file that is complete or absent.

    Args:
        ix: a `FaissIndex`, trained; an exact index needs no file: segments are enough.
        path: the new file.
        tmp: directory for the partial file, on the same file system.
        fingerprint: of the Space whose vectors it holds.

    Returns:
        SHA-256 of the file, 64 hex digits; `load_index` asks for it.

    Raises:
        InputError: another kind of index, or an ivf index that is not trained yet.
        StorageError: the disk refused; nothing was published.

    Example:
        >>> import tempfile
        >>> flat = FaissIndex(3)
        >>> flat.add(np.eye(3, dtype=np.float32), ids=np.array([10, 11, 12]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "flat.faiss")
        ...     sha256 = save_index(flat, path, tmp=Path(folder), fingerprint="ab12")
        ...     load_index(path, sha256=sha256).ids().tolist()
        [10, 11, 12]
    """
    if not isinstance(ix, FaissIndex):
        raise InputError(f"an index of kind {ix.kind} is not saved; its segments are enough")
    with ix.frozen() as (core, ids, live):
        header = json.dumps(
            {
                "kind": ix.kind,
                "dim": ix.dim,
                "n": len(ids),
                "parameters": dict(ix.parameters),
                "fingerprint": fingerprint,
                "faiss": import_faiss().__version__,
            }
        ).encode()

        def write(sink: BinaryIO) -> None:
            hashed = _HashedSink(sink)
            hashed.write(PREFIX.pack(MAGIC, FORMAT_VERSION, len(header)))
            hashed.write(header)
            hashed.write(ids.astype("<i8").tobytes())
            hashed.write(np.packbits(live, bitorder="little").tobytes())
            _write_core(core, hashed)
            sink.write(hashed.digest())

        return publish(path, tmp=tmp, write=write)


def load_index(path: Path, *, sha256: str, fingerprint: str | None = None) -> Index:
    """Load a saved index after proving that it is what was written.

    Args:
        path: of the file.
        sha256: what `save_index` returned.
        fingerprint: of the Space it must belong to; None accepts any.

    Returns:
        A `FaissIndex` that answers as the saved one did.

    Raises:
        DamagedError: the file is gone or differs from what was written, belongs to another Space,
            or does not find its own vectors.
        TooNewError: a newer crossfind wrote it.
        StorageError: the file cannot be read.
        BackendMissingError: faiss is not installed.

    Example: see `save_index`.
    """
    view = _map_file(path)
    _verify_hash(view, path=path, sha256=sha256)
    saved = _parse(view, path=path)
    if fingerprint is not None and saved.fingerprint != fingerprint:
        raise _damaged(path, f"it belongs to space {saved.fingerprint}, not {fingerprint}")
    ix = saved.revive(path)
    _self_test(ix, path)
    return ix


class _HashedSink:
    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._sink.write(data)

    def digest(self) -> bytes:
        return self._hash.digest()


def _write_core(core: Core, sink: _HashedSink) -> None:
    """Let faiss write through us: its own writer can report success on a full disk.

    faiss turns an error of the callback into a RuntimeError of its own; ours is what counts.
    """
    faiss = import_faiss()
    failures: list[OSError] = []

    def write(data: bytes) -> int:
        try:
            return sink.write(data)
        except OSError as error:
            failures.append(error)
            raise

    try:
        writer = faiss.PyCallbackIOWriter(write, CHUNK_BYTES)
        faiss.write_index(core, writer)
        writer = None  # flushes nothing today, yet nothing may be written after the digest
    except RuntimeError:
        if not failures:
            raise
    if failures:
        raise failures[0]


@dataclass(frozen=True, slots=True)
class _Saved:
    """A container whose hash was right, taken apart."""

    kind: str
    dim: int
    parameters: dict[str, int]
    fingerprint: str
    ids: Ids
    live: Mask
    core: memoryview

    def revive(self, path: Path) -> FaissIndex:
        try:
            core = _read_core(self.core)
            return FaissIndex.revived(
                core,
                dim=self.dim,
                kind=self.kind,
                parameters=self.parameters,
                ids=self.ids,
                live=self.live,
            )
        except (RuntimeError, InputError) as error:
            raise _damaged(path, f"faiss cannot read it ({error})") from error


def _read_core(view: memoryview) -> Core:
    faiss = import_faiss()
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        data = bytes(view[at : at + size])
        at += len(data)
        return data

    return faiss.read_index(faiss.PyCallbackIOReader(read, CHUNK_BYTES))


def _map_file(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < PREFIX.size + SHA256_BYTES:
                raise _damaged(path, "it is too short")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise _damaged(path, "it is gone") from error
    except OSError as error:
        raise storage_error(error, doing=f"read {path}") from error


def _verify_hash(view: memoryview, *, path: Path, sha256: str) -> None:
    magic, version, _ = PREFIX.unpack_from(view)
    if magic == MAGIC and version > FORMAT_VERSION:
        raise TooNewError(
            f"{path} has format version {version}; this crossfind reads up to {FORMAT_VERSION}: "
            "upgrade crossfind, or build the index again"
        )
    running = hashlib.sha256()
    for start in range(0, len(view) - SHA256_BYTES, CHUNK_BYTES):
        running.update(view[start : min(start + CHUNK_BYTES, len(view) - SHA256_BYTES)])
    footer = bytes(view[-SHA256_BYTES:])
    whole = running.copy()
    whole.update(footer)
    if running.digest() != footer or whole.hexdigest() != sha256.lower():
        raise _damaged(path, f"its SHA-256 is {whole.hexdigest()}, the catalog says {sha256}")


def _parse(view: memoryview, *, path: Path) -> _Saved:
    """Take verified bytes apart; lengths are checked all the same before they are used."""
    magic, version, header_bytes = PREFIX.unpack_from(view)
    if magic != MAGIC or version != FORMAT_VERSION or header_bytes > MAX_HEADER_BYTES:
        raise _damaged(path, "it does not begin like a saved index")
    header, ids_at = _parse_header(view, header_bytes, path=path), PREFIX.size + header_bytes
    n = int(header["n"])
    live_at = ids_at + 8 * n
    core_at = live_at + (n + 7) // 8
    if n < 0 or core_at > len(view) - SHA256_BYTES:
        raise _damaged(path, f"it has {len(view)} bytes, too few for {n} ids")
    ids = np.frombuffer(view, "<i8", n, ids_at).astype(np.int64)
    bits = np.frombuffer(view, np.uint8, core_at - live_at, live_at)
    live = np.unpackbits(bits, count=n, bitorder="little").astype(np.bool_)
    return _Saved(
        kind=header["kind"],
        dim=header["dim"],
        parameters=header["parameters"],
        fingerprint=header["fingerprint"],
        ids=ids,
        live=live,
        core=view[core_at : len(view) - SHA256_BYTES],
    )


def _parse_header(view: memoryview, n_bytes: int, *, path: Path) -> dict[str, Any]:
    # Any: JSON; each value that is used is checked right here
    try:
        header: dict[str, Any] = json.loads(bytes(view[PREFIX.size : PREFIX.size + n_bytes]))
        fits = (
            header["kind"] in KINDS
            and isinstance(header["n"], int)
            and isinstance(header["dim"], int)
            and 1 <= header["dim"] <= MAX_DIM
            and isinstance(header["parameters"], dict)
            and isinstance(header["fingerprint"], str)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "its header cannot be read") from error
    if not fits:
        raise _damaged(path, f"its header claims kind {header['kind']!r}, n {header['n']!r}")
    return header


def _self_test(ix: FaissIndex, path: Path) -> None:
    """Ask 32 stored vectors for themselves: a right hash does not prove that this faiss reads
    the bytes as the faiss that wrote them meant them."""
    ids, rows = ix.sample(N_SELF_TESTS)
    if not len(ids):
        return
    try:
        found = ix.search(rows, k=1, parameters=_generous(ix.kind))
    except CrossfindError as error:
        raise _damaged(path, f"its vectors are not usable ({error})") from error
    # A copy of the vector under a lower id is as good an answer as the vector itself.
    n_found = int(np.count_nonzero((found.ids[:, 0] == ids) | (found.scores[:, 0] > 1 - 1e-5)))
    n_wanted = len(ids) if ix.kind == "flat" else int(0.9 * len(ids))
    if n_found < n_wanted:
        raise _damaged(path, f"only {n_found} of {len(ids)} stored vectors find themselves")


def _generous(kind: str) -> SearchParameters:
    if kind == "hnsw":
        return SearchParameters(ef_search=512)
    if kind == "fastscan":
        return SearchParameters(k_factor=64)
    if kind == "ivf_fastscan":
        return SearchParameters(k_factor=64, n_probes=1_048_576)
    return SearchParameters(n_probes=1_048_576) if kind == "ivf" else SearchParameters()


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(
        f"saved index {path} is damaged: {why}; delete it and build the index again"
    )
