"""Lists of a faiss index that stay in their file, each proven before its first use.

faiss maps them (its ZeroCopyIOReader) and checks nothing; what it copies at once, centroids and the
way from a position to its row, is proven at once.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from index.container import Blocks, MappedFile, damaged
from index.faiss_kinds import Core, import_faiss
from index.types import Ids

RELEASED_AFTER_BYTES = 64 << 20
"""So much of lists that were read for the first time, and the pages of all are given back; those
that are read again come back from the system's cache."""


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
        self._ways: Ids = np.zeros(0, np.int64)  # list << 32 | offset of each row (DirectMap.h)
        self._codes_at: Ids = np.zeros(0, np.int64)  # of the lists that are proven
        self._core: Core = None
        self._n_met = 0
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
        # Centroids and the way to each row, which faiss copies at once: about twice the ids.
        self._file.will_need(self._core_at, 3 * self._core_at)
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(mine), len(mine))
        core = faiss.read_index(reader)
        lists = core.invlists
        filled = (number for number in range(core.nlist) if lists.list_size(number))
        first = next(filled, None)  # lists lie in the order of their numbers, behind all else
        end = len(self._bytes) if first is None else self._at(lists.get_codes(first))
        self._blocks.check((0, end))
        if self._sizes_crc(core, end=end) != sizes_crc:
            raise damaged(self._file.path, "the lengths of its lists differ from what was written")
        self._core, self._proven = core, np.zeros(core.nlist, np.bool_)
        self._codes_at = np.zeros(core.nlist, np.int64)
        if core.ntotal:
            ways = core.direct_map.array
            self._ways = faiss.rev_swig_ptr(ways.data(), ways.size())
        self._file.release()  # what was needed at once was copied
        return core

    def read(self) -> Core:
        """Read the same index into memory, where it can grow."""
        faiss = import_faiss()
        return faiss.deserialize_index(self._bytes[self._core_at :])

    def codes(self, positions: Ids) -> npt.NDArray[np.uint8]:
        """Copy the codes at some positions out of lists, which are proven before: uint8 [P, B]."""
        ways = self._ways[positions]
        numbers = ways >> 32
        self.prove(numbers)
        n_bytes = self._core.code_size
        starts = self._codes_at[numbers] + (ways & 0xFFFFFFFF) * n_bytes
        body = self._file.body
        found = b"".join([body[start : start + n_bytes] for start in starts.tolist()])
        return np.frombuffer(found, np.uint8).reshape(len(positions), n_bytes)

    def prove(self, numbers: Ids) -> None:
        """Prove lists; int64 of any shape, -1 for none.

        Raises:
            DamagedError: one of them differs from what was written.
        """
        if self.all_proven or np.count_nonzero(self._proven[numbers]) == numbers.size:
            return  # a -1 finds the last one here
        wanted = numbers[numbers >= 0]
        lists, n_bytes = self._core.invlists, self._core.code_size
        missing = sorted(set(wanted[~self._proven[wanted]].tolist()))
        spans = []
        for number in missing:
            n = lists.list_size(number)
            if n:
                codes, ids = self._at(lists.get_codes(number)), self._at(lists.get_ids(number))
                spans += [(codes, codes + n * n_bytes), (ids, ids + 8 * n)]
                self._codes_at[number] = codes
        self._blocks.check(*spans)
        self._proven[missing] = True
        self._n_met += sum(stop - start for start, stop in spans)
        if self._n_met > RELEASED_AFTER_BYTES:
            self._file.release()
            self._n_met = 0
        self.all_proven = bool(self._proven.all())

    def prove_all(self) -> None:
        """Prove every list."""
        self.prove(np.arange(len(self._proven)))

    def _sizes_crc(self, core: Core, *, end: int) -> int:
        """Sum up the lengths of the lists, from where faiss has read them: before the first one.

        It is asked for each of them, 2 us apiece, only where most lists are empty.
        """
        body, start = self._file.body, end - 8 * core.nlist
        are_there = start >= 12 and bytes(body[start - 12 : start - 8]) == b"full"
        return zlib.crc32(body[start:end]) if are_there else list_sizes_crc(core)

    def _at(self, pointer: object) -> int:
        first = import_faiss().rev_swig_ptr(pointer, 1)
        return int(first.ctypes.data - self._bytes.ctypes.data)


def list_sizes_crc(core: Core) -> int:
    """Sum up the lengths of the lists, which decide where each one lies in the file."""
    sizes = [core.invlists.list_size(number) for number in range(core.nlist)]
    return zlib.crc32(np.array(sizes, "<i8").tobytes())
