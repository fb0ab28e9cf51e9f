"""Exact search over blocks of rows, in numpy: every kind of index falls back on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from index.rows import Scales, StoredRows, read_rows
from index.topk import NO_CANDIDATES, Candidates, Scores, pair_scores, slack
from index.types import Ids, Mask, Neighbors, Vectors

MAX_QUERIES = 256
MAX_SCORES = 1 << 22  # 16 MiB of float32 at a time, however many queries and vectors there are
FIRST_ROWS, FIRST_SCORES = 2_048, 1 << 15  # of the first piece, whichever makes it larger
WIDENED_BYTES = 1 << 25
GATHER_BELOW = 4
FEW_QUERIES = 32


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that lie together.

    Attributes:
        rows: float16 or float32 [n, D] as stored; may be mapped from a file.
        ids: int64 [n].
        wanted: bool [n], which rows may be answers; None for all.
        scales: float32 [n] for float16 rows (see `row_scales`); computed anew where None.
    """

    rows: StoredRows
    ids: Ids
    wanted: Mask | None = None
    scales: Scales | None = None


def scan(blocks: Iterable[Block], queries: Vectors, *, k: int) -> Neighbors:
    """Find the exact k best of all wanted rows for each query.

    Args:
        blocks: what to search; read once per 256 queries.
        queries: float32 [Q, D], unit length.
        k: at least 1.

    Returns:
        Neighbors [Q, k]; counts below k where fewer rows are wanted.

    Example:
        >>> eye = np.eye(3, dtype=np.float32)
        >>> scan([Block(eye, np.array([5, 6, 7]))], eye[:1], k=2).ids.tolist()
        [[5, 6]]
    """
    held = list(blocks)
    parts = [
        _scan_tile(held, queries[start : start + MAX_QUERIES], k=k)
        for start in range(0, len(queries), MAX_QUERIES)
    ]
    if len(parts) == 1:
        return parts[0]
    return Neighbors(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


def _scan_tile(blocks: list[Block], queries: Vectors, *, k: int) -> Neighbors:
    """Hold, for each query, the k best so far and the score below which nothing can enter.

    The float32 product only nominates: it picks whatever could be among the k best given its
    error bound. Nominees are scored again by `pair_scores`, which decides.
    """
    best = NO_CANDIDATES
    floor = np.full(len(queries), -np.inf, np.float32)
    for piece in _pieces(blocks, n_queries=len(queries)):
        nominees = _nominate(queries, piece, floor=floor, k=k)
        if nominees.ids.size:
            best = best.joined(nominees).best(k)
            _raise_floor(floor, best, k=k, dim=queries.shape[1])
    return best.to_neighbors(n_queries=len(queries), k=k)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows to multiply with: few enough to fit, and where few are wanted, only those."""

    rows: Vectors
    ids: Ids
    wanted: Mask | None


def _pieces(blocks: list[Block], *, n_queries: int) -> Iterator[_Piece]:
    """Cut the blocks up, each piece up to twice the one before.

    So the first raise the floor at little cost, and of each later one about k rows a query pass it.
    """
    n_rows = max(FIRST_ROWS, FIRST_SCORES // n_queries)
    for block in blocks:
        row_bytes = 4 * block.rows.shape[1]
        # float16 rows are widened into a copy, which must not become as large as the block
        widens = block.rows.dtype == np.float16
        most = WIDENED_BYTES // row_bytes if widens else len(block.rows)
        share = 1.0 if block.wanted is None else float(np.mean(block.wanted))
        start = 0
        while start < len(block.rows) and share:
            step = max(1, min(int(n_rows / share), most))
            piece = _piece(block, slice(start, start + step))
            if piece is not None:
                yield piece
            start, n_rows = start + step, min(2 * n_rows, max(1, MAX_SCORES // n_queries))


def _piece(block: Block, here: slice) -> _Piece | None:
    rows, ids = block.rows[here], block.ids[here]
    wanted = None if block.wanted is None else block.wanted[here]
    scales = None if block.scales is None else block.scales[here]
    if wanted is not None:
        n_wanted = int(np.count_nonzero(wanted))
        if n_wanted == 0:
            return None
        if n_wanted == len(ids):
            wanted = None
        elif n_wanted * GATHER_BELOW <= len(ids):  # copying few rows beats multiplying all
            rows, ids = rows[wanted], ids[wanted]
            scales = None if scales is None else scales[wanted]
            wanted = None
    return _Piece(read_rows(rows, scales=scales), ids, wanted) if len(ids) else None


def _nominate(queries: Vectors, piece: _Piece, *, floor: Scores, k: int) -> Candidates:
    scores = _products(queries, piece.rows)
    n, dim = piece.rows.shape
    if piece.wanted is not None:
        scores[:, ~piece.wanted] = -np.inf
    hits = scores >= floor[:, None]
    if n > k and np.count_nonzero(hits) > 4 * k * len(queries):
        # Too many to score again: the k-th best of this piece alone raises the floor.
        kth = np.partition(scores, n - k, axis=1)[:, n - k]
        local = np.minimum(kth, 1.0) - np.float32(slack(dim))
        hits = scores >= np.maximum(floor, local)[:, None]
    if piece.wanted is not None:
        hits &= piece.wanted  # while the floor is -inf, unwanted rows reach it too
    at_query, at_row = np.divmod(np.flatnonzero(hits), n)  # sooner than nonzero of a table
    exact = pair_scores(queries, piece.rows, at_query=at_query, at_row=at_row)
    return Candidates(at_query, piece.ids[at_row], exact)


def _products(queries: Vectors, rows: Vectors) -> Scores:
    """Multiply all with all, float32 [Q, N]; for few queries the way that BLAS does it sooner."""
    if 1 < len(queries) <= FEW_QUERIES:
        return np.ascontiguousarray((rows @ queries.T).T)
    return queries @ rows.T


def _raise_floor(floor: Scores, best: Candidates, *, k: int, dim: int) -> None:
    """`best` is ordered by query and score, so a query's k-th entry is its k-th best score."""
    counts = np.bincount(best.queries, minlength=len(floor))
    full = np.flatnonzero(counts >= k)
    kth = best.scores[np.cumsum(counts)[full] - 1]
    floor[full] = np.minimum(kth, 1.0) - np.float32(slack(dim))
