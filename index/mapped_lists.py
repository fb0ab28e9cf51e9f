"""Lists of a faiss index that stay in their file, each proven before its first use.

faiss maps them (its ZeroCopyIOReader) and checks nothing; what it copies at once, centroids and the
way from a position to its row, is proven at once.
"""

from __future__ import annotations

import zlib

import numpy as np

from index.container import Blocks, MappedFile, damaged
from index.faiss_kinds import Core, import_faiss
from index.types import Ids


class MappedLists:
    """The lists of one file.

    Args:
        file: the container.
        blocks: its checksums.
        core_at: where the bytes of faiss begin.
    """

    def __init__(self, file: MappedFile, blocks: Blocks, *, core_at: int) -> None:
        self._file, self._blocks, self._core_at = file, blocks, core_at
        self._bytes = np.frombuffer(file.body, np.uint8)
        self._proven = np.zeros(0, np.bool_)
        self._lists_of: Ids = np.zeros(0, np.int64)
        self._core: Core = None
        self.all_proven = False

    def open(self, *, sizes_crc: int) -> Core:
        """Let faiss map the file.

        Args:
            sizes_crc: what `list_sizes_crc` said of the lists when they were written.

        Raises:
            DamagedError: something that is needed at once differs from what was written.
        """
        faiss = import_faiss()
        mine = self._bytes[self._core_at :]
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(mine), len(mine))
        core = faiss.read_index(reader)
        lists = core.invlists
        filled = (number for number in range(core.nlist) if lists.list_size(number))
        first = next(filled, None)  # lists lie in the order of their numbers, behind all else
        end = len(self._bytes) if first is None else self._at(lists.get_codes(first))
        self._blocks.check(0, end)
        if list_sizes_crc(core) != sizes_crc:
            raise damaged(self._file.path, "the lengths of its lists differ from what was written")
        self._core, self._proven = core, np.zeros(core.nlist, np.bool_)
        if core.ntotal:
            ways = core.direct_map.array
            self._lists_of = faiss.rev_swig_ptr(ways.data(), ways.size())
        return core

    def read(self) -> Core:
        """Read the same index into memory, where it can grow."""
        faiss = import_faiss()
        return faiss.deserialize_index(self._bytes[self._core_at :])

    def lists_of(self, positions: Ids) -> Ids:
        """Tell which lists hold the rows at some positions, int64 [P]."""
        held: Ids = self._lists_of[positions] >> 32  # as faiss packs list and offset (DirectMap.h)
        return held

    def prove(self, numbers: Ids) -> None:
        """Prove lists; int64 of any shape, -1 for none.

        Raises:
            DamagedError: one of them differs from what was written.
        """
        if self.all_proven:
            return
        wanted = numbers[numbers >= 0]
        for number in sorted(set(wanted[~self._proven[wanted]].tolist())):
            lists = self._core.invlists
            n = lists.list_size(number)
            if n:
                codes, ids = self._at(lists.get_codes(number)), self._at(lists.get_ids(number))
                self._blocks.check(codes, codes + n * lists.code_size)
                self._blocks.check(ids, ids + 8 * n)
            self._proven[number] = True
        self.all_proven = bool(self._proven.all())

    def prove_all(self) -> None:
        """Prove every list."""
        self.prove(np.arange(len(self._proven)))

    def _at(self, pointer: object) -> int:
        first = import_faiss().rev_swig_ptr(pointer, 1)
        return int(first.ctypes.data - self._bytes.ctypes.data)


def list_sizes_crc(core: Core) -> int:
    """Sum up the lengths of the lists, which decide where each one lies in the file."""
    sizes = [core.invlists.list_size(number) for number in range(core.nlist)]
    return zlib.crc32(np.array(sizes, "<i8").tobytes())
