"""Saving a faiss index and loading it back, with damage always noticed.

faiss checks nothing: of single flipped bits in its files a quarter changed results in silence. So
its bytes travel inside our own container (see `index.container`). An index of lists can stay in its
file: lists are then mapped, and each is proven before its first use. Other kinds are read whole.

Such a file is derived: on any `DamagedError` delete it, search exactly, and build again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from index.base import Index
from index.container import (
    ContainerSink,
    Head,
    MappedFile,
    damaged,
    pack_head,
    read_head,
)
from index.errors import CrossfindError, DamagedError, InputError
from index.faiss_index import FaissIndex
from index.faiss_kinds import Core, import_faiss
from index.faiss_plain import IvfKind
from index.kinds import KINDS
from index.lists_on_disk import is_on_disk, write_as_arrays
from index.mapped_lists import MappedLists, list_sizes_crc
from index.row_blocks import RowBlock
from index.storage import CHUNK_BYTES, publish
from index.types import SearchParameters

MAP_FROM_BYTES = 64 << 20
"""Lists of a file this large stay in it; a smaller one is read whole within a tenth of a second."""

N_SELF_TESTS = 32
N_SELF_TESTS_MAPPED = 2  # each proves two or three lists


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
        InputError: another kind of index, one that is not trained yet, or one whose vectors stand
            outside in blocks without a name.
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
        header: dict[str, object] = {
            "name": path.name,
            "kind": ix.kind,
            "dim": ix.dim,
            "n": len(ids),
            "parameters": dict(ix.parameters),
            "fingerprint": fingerprint,
            "row_blocks": _named(ix),
            "list_sizes_crc": list_sizes_crc(core) if ix.kind == IvfKind.name else 0,
            "faiss": import_faiss().__version__,
        }
        head = pack_head(header, ids=ids, live=live)

        def write(sink: BinaryIO) -> None:
            container = ContainerSink(sink)
            container.write(head)
            _write_core(core, container)
            container.finish()

        return publish(path, tmp=tmp, write=write)


def load_index(
    path: Path,
    *,
    sha256: str,
    fingerprint: str | None = None,
    open_block: Callable[[str], RowBlock] | None = None,
    map_from_bytes: int = MAP_FROM_BYTES,
) -> Index:
    """Load a saved index after proving that it is what was written.

    Args:
        path: of the file.
        sha256: what `save_index` returned.
        fingerprint: of the Space it must belong to; None accepts any.
        open_block: opens the rows of a name, for an index whose vectors stand outside.
        map_from_bytes: lists of a file this large stay in it, and are proven block by block when
            they are first used, instead of by the SHA-256 at once.

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
    file = MappedFile(path)
    blocks = file.blocks() if len(file.view) >= map_from_bytes else None
    if blocks is None:
        file.verify_whole(sha256)
    head = read_head(file, kinds=tuple(KINDS), blocks=blocks)
    if blocks is not None and head.kind != IvfKind.name:
        file.verify_whole(sha256)
        blocks = None
    if blocks is not None and head.name != path.name:  # its SHA-256 would have told, at a price
        raise damaged(path, f"it is the file {head.name}")
    if fingerprint is not None and head.fingerprint != fingerprint:
        raise damaged(path, f"it belongs to space {head.fingerprint}, not {fingerprint}")
    try:
        if blocks is None:
            ix = _revived(head, read_core(file.body[head.core_at :]), open_block=open_block)
            file.release()  # all of it was copied
        else:
            lists = MappedLists(file, blocks, core_at=head.core_at)
            ix = _revived(head, lists.open(sizes_crc=head.list_sizes_crc), open_block=open_block)
            ix.map_lists(lists)
    except (RuntimeError, InputError) as error:
        raise damaged(path, f"faiss cannot read it ({error})") from error
    _self_test(ix, path, n=N_SELF_TESTS if blocks is None else N_SELF_TESTS_MAPPED)
    _give_back()
    return ix


def _give_back() -> None:
    """Give what loading has freed back to the system, where the C library can: some bytes a row."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _revived(head: Head, core: Core, *, open_block: Callable[[str], RowBlock] | None) -> FaissIndex:
    outside = []
    for name, n_rows in head.row_blocks:
        if open_block is None:
            raise InputError(f"its vectors stand in {name}, which was not given")
        outside.append(open_block(name))
        if outside[-1].n != n_rows:
            raise InputError(f"{name} has {outside[-1].n} vectors, not {n_rows}")
    return FaissIndex.revived(
        core,
        dim=head.dim,
        kind=head.kind,
        parameters=head.parameters,
        ids=head.ids,
        live=head.live,
        outside=outside,
    )


def _named(ix: FaissIndex) -> list[tuple[str, int]]:
    named = [(block.name, block.n) for block in ix.outside]
    if not all(name for name, _ in named):
        raise InputError(
            "vectors of this index stand in memory, outside of what is saved: add them with "
            "add_block from a segment, or make it with rows='float16'"
        )
    return named


def _write_core(core: Core, sink: ContainerSink) -> None:
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
        if is_on_disk(core):
            write_as_arrays(core, write)
            return
        writer = faiss.PyCallbackIOWriter(write, CHUNK_BYTES)
        faiss.write_index(core, writer)
        writer = None  # flushes nothing today, yet nothing may be written after the digest
    except RuntimeError:
        if not failures:
            raise
    if failures:
        raise failures[0]


def read_core(view: memoryview) -> Core:
    """Let faiss read what it wrote, into memory of its own."""
    faiss = import_faiss()
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        data = bytes(view[at : at + size])
        at += len(data)
        return data

    return faiss.read_index(faiss.PyCallbackIOReader(take, CHUNK_BYTES))


def _self_test(ix: FaissIndex, path: Path, *, n: int) -> None:
    """Ask stored vectors for themselves: a right hash does not prove that this faiss reads
    the bytes as the faiss that wrote them meant them."""
    try:
        ids, rows = ix.sample(n)
        if not len(ids):
            return
        found = ix.search(rows, k=1, parameters=_generous(ix))
    except DamagedError:
        raise
    except CrossfindError as error:
        raise damaged(path, f"its vectors are not usable ({error})") from error
    # A copy of the vector under a lower id is as good an answer as the vector itself.
    n_found = int(np.count_nonzero((found.ids[:, 0] == ids) | (found.scores[:, 0] > 1 - 1e-5)))
    n_wanted = len(ids) if ix.kind == "flat" else int(0.9 * len(ids))
    if n_found < n_wanted:
        raise damaged(path, f"only {n_found} of {len(ids)} stored vectors find themselves")


def _generous(ix: FaissIndex) -> SearchParameters:
    """Search parameters with which a stored vector should find itself: it lies in the list of
    its nearest centroid."""
    return SearchParameters(
        ef_search=512 if "ef_search" in ix.efforts else None,
        n_probes=2 if "n_probes" in ix.efforts else None,
        k_factor=64 if "k_factor" in ix.efforts else None,
    )
