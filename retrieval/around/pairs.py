"""All pairs of rows above a similarity, block by block, and the groups they form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["close_pairs", "groups_of"]

_BLOCK = 2048


def close_pairs(
    rows: npt.NDArray[np.float32], *, threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Find the pairs of rows whose inner product is at least a threshold.

    Compares everything with everything, exactly, in blocks: N^2 * D / 2 multiplications and
    32 MB of memory.

    Args:
        rows: float32 [N, D].
        threshold: of the inner product.

    Yields:
        (a, b, inner product) with a < b, in order of a, then b within a block.

    Example:
        >>> list(close_pairs(np.eye(2, dtype=np.float32)[[0, 1, 0]], threshold=0.9))
        [(0, 2, 1.0)]
    """
    for top in range(0, len(rows), _BLOCK):
        for left in range(top, len(rows), _BLOCK):
            scores = rows[top : top + _BLOCK] @ rows[left : left + _BLOCK].T
            for a, b in zip(*np.nonzero(scores >= threshold), strict=True):
                if top + a < left + b:
                    yield int(top + a), int(left + b), float(scores[a, b])


def groups_of(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Join pairs that share a member into groups; members ascending, groups by first member.

    Example:
        >>> groups_of([(1, 2), (5, 6), (2, 3)])
        [[1, 2, 3], [5, 6]]
    """
    leader: dict[int, int] = {}

    def find(member: int) -> int:
        leader.setdefault(member, member)
        while leader[member] != member:
            leader[member] = leader[leader[member]]
            member = leader[member]
        return member

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        leader[high] = low
    groups: dict[int, list[int]] = {}
    for member in sorted(leader):
        groups.setdefault(find(member), []).append(member)
    return list(groups.values())
