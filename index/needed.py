"""How much effort each true answer needs, counted instead of searched for.

A row is nominated when its list is read and its code is among the best. Both are ranks, so one
look at the order of the lists, and one search for many candidates, give recall for every effort.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from index.faiss_kinds import UNREACHED, Core, import_faiss
from index.types import Ids, Vectors

RANKED = (512, 4_096)
"""How many candidates are ranked, the second where the first do not hold nearly all answers; a row
beyond them counts as out of reach."""

_NEARLY_ALL = 0.995

_CHUNK = 64


def probes_needed(core: Core, queries: Vectors, positions: Ids) -> Ids:
    """Rank the lists that hold the true answers, from 1.

    Args:
        core: a faiss IVF index.
        queries: float32 [Q, D].
        positions: int64 [Q, K], -1 for none.

    Returns:
        int64 [Q, K]; `UNREACHED` for none.
    """
    held = _lists_of(core)
    needed = np.full(positions.shape, UNREACHED, np.int64)
    for start in range(0, len(queries), _CHUNK):
        here = slice(start, start + _CHUNK)
        _, order = core.quantizer.search(queries[here], core.nlist)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(core.nlist)[None, :] + 1, axis=1)
        wanted = positions[here]
        found = np.take_along_axis(ranks, held[np.maximum(wanted, 0)], axis=1)
        needed[here] = np.where(wanted >= 0, found, UNREACHED)
    return needed


def candidates_needed(
    core: Core, queries: Vectors, positions: Ids, *, params: Any = None
) -> Ids:  # Any: faiss's classes have no types
    """Rank the true answers among the codes, from 1.

    Args:
        core: codes of faiss.
        queries: float32 [Q, D].
        positions: int64 [Q, K], -1 for none.
        params: of its search.

    Returns:
        int64 [Q, K]; `UNREACHED` beyond the first 4,096.
    """
    needed = np.full(positions.shape, UNREACHED, np.int64)
    left = np.arange(len(queries))
    for n_ranked in RANKED:
        _, found = core.search(queries[left], min(n_ranked, core.ntotal), params=params)
        for row, near in zip(left, found, strict=True):
            wanted = positions[row]
            same = near[:, None] == wanted
            there = same.any(axis=0) & (wanted >= 0)
            needed[row, there] = same.argmax(axis=0)[there] + 1
        missing = (needed == UNREACHED) & (positions >= 0)
        left = np.flatnonzero(missing.any(axis=1))
        n_wanted = np.count_nonzero(positions >= 0)
        if n_ranked >= core.ntotal or np.count_nonzero(missing) <= (1 - _NEARLY_ALL) * n_wanted:
            break
    return needed


def _lists_of(core: Core) -> Ids:
    """Tell which list holds each position, int64 [N]."""
    faiss, lists = import_faiss(), core.invlists
    held = np.zeros(max(1, core.ntotal), np.int64)
    for number in range(core.nlist):
        n = lists.list_size(number)
        if n:
            held[faiss.rev_swig_ptr(lists.get_ids(number), n)] = number
    return held
