"""Lists that grow in a file while an index is built, so that they need not fit the memory.

faiss keeps such lists (`OnDiskInvertedLists`) in a file whose pages the system takes back when it
must. Saved, they are written as faiss writes lists that stand in memory, which is what can be
mapped and proven block by block; the bytes are the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index.errors import InputError
from index.faiss_kinds import Core, import_faiss

_PIECE_BYTES = 1 << 22
_Array = npt.NDArray[np.generic]


def grow_on_disk(core: Core, path: Path) -> None:
    """Let the empty lists of an index grow in a file from now on.

    Args:
        core: a trained faiss IVF index without vectors.
        path: of a new file; to be deleted by the caller once the index is saved and closed.

    Raises:
        InputError: the index has vectors already.
    """
    if core.ntotal:
        raise InputError(f"{core.ntotal} vectors stand in memory; lists move while they are empty")
    lists = import_faiss().OnDiskInvertedLists(core.nlist, core.code_size, str(path))
    core.replace_invlists(lists, True)  # faiss's own from here on
    lists.this.disown()


def is_on_disk(core: Core) -> bool:
    """Tell whether the lists of an index grow in a file."""
    faiss = import_faiss()
    lists = getattr(core, "invlists", None)
    return lists is not None and isinstance(
        faiss.downcast_InvertedLists(lists), faiss.OnDiskInvertedLists
    )


def write_as_arrays(core: Core, write: Callable[[bytes], int]) -> None:
    """Write an index whose lists are on disk as if they stood in memory.

    Args:
        core: a faiss IVF index with such lists.
        write: takes the bytes.
    """
    faiss = import_faiss()
    whole = faiss.serialize_index(core).tobytes()  # all but the lists: of these where they are
    head = whole[: whole.rfind(b"ilod")]
    lists, n_lists = core.invlists, core.nlist
    sizes = np.array([lists.list_size(number) for number in range(n_lists)], "<u8")
    write(head + b"ilar" + struct.pack("<QQ", n_lists, lists.code_size) + _sizes(sizes))
    for number in np.flatnonzero(sizes).tolist():
        n = int(sizes[number])
        _write_array(faiss.rev_swig_ptr(lists.get_codes(number), n * lists.code_size), write)
        _write_array(faiss.rev_swig_ptr(lists.get_ids(number), n), write)


def _sizes(sizes: _Array) -> bytes:
    """The lengths of the lists as faiss writes them: of all, or of those that hold something."""
    held = np.flatnonzero(sizes)
    if len(held) > len(sizes) // 2:
        return b"full" + struct.pack("<Q", len(sizes)) + sizes.tobytes()
    pairs = np.stack([held.astype("<u8"), sizes[held]], axis=1)
    return b"sprs" + struct.pack("<Q", pairs.size) + pairs.tobytes()


def _write_array(values: _Array, write: Callable[[bytes], int]) -> None:
    raw = values.view(np.uint8)
    for start in range(0, len(raw), _PIECE_BYTES):
        write(raw[start : start + _PIECE_BYTES].tobytes())
