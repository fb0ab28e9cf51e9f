"""Segments to an index in bounded memory: train on a sample, then add block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.base import Index
from index.choose import make_index
from index.faiss_index import FaissIndex
from index.lists_on_disk import grow_on_disk
from index.row_blocks import PIECE_ROWS, RowBlock
from index.rows import read_rows
from index.types import Ids, Mask, Plan, Vectors


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to index.

    Attributes:
        block: the rows, unit once widened.
        ids: int64 [block.n].
        live: bool [block.n]; what is dead is not found.
    """

    block: RowBlock
    ids: Ids
    live: Mask


def build_index(
    plan: Plan,
    *,
    dim: int,
    sources: Sequence[Source],
    seed: int = 0,
    lists_at: Path | None = None,
) -> Index:
    """Build the index of a plan.

    Never more rows than the training sample are held beside the index itself.

    Args:
        plan: from `choose` or `choose_factory`.
        dim: length of a vector.
        sources: what to index; no id is live twice.
        seed: of the training sample.
        lists_at: a file in which the lists of kind `ivf` grow, which may not fit the memory; to
            be deleted once the index is saved and closed.

    Returns:
        The index of all live rows.

    Raises:
        InputError: the plan cannot be carried out.
        BackendMissingError: a package it needs is not installed.

    Example:
        >>> from index.choose import choose
        >>> from index.row_blocks import ArrayBlock
        >>> eye = ArrayBlock(np.eye(3, dtype=np.float32))
        >>> source = Source(eye, np.array([7, 8, 9]), np.array([True, True, False]))
        >>> build_index(choose(3, dim=3), dim=3, sources=[source]).ids().tolist()
        [7, 8]
    """
    made = make_index(plan, dim=dim)
    if isinstance(made, FaissIndex) and not made.is_trained:
        sample = sample_rows(sources, made.n_enough, dim=dim, seed=seed)
        if len(sample) >= made.n_least:
            made.train(sample)
            if lists_at is not None and made.kind == "ivf":
                with made.frozen() as (core, _, _):
                    grow_on_disk(core, lists_at)
    for source in sources:
        if isinstance(made, FaissIndex) and made.is_trained and made.takes_blocks:
            made.add_block(source.block, ids=source.ids)
            made.remove(source.ids[~source.live])
        else:
            _copy(source, made)
    return made


def sample_rows(sources: Sequence[Source], n: int, *, dim: int, seed: int = 0) -> Vectors:
    """Draw live rows, spread over all sources.

    Args:
        sources: as for `build_index`.
        n: how many; all where there are fewer.
        dim: length of a vector.
        seed: of the draw.

    Returns:
        float32 [at most n, D], unit length, in the order of the sources.
    """
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(source.live) for source in sources]
    n_live = sum(map(len, places))
    drawn = np.sort(rng.choice(n_live, min(n, n_live), replace=False)) if n_live else np.zeros(0)
    rows = np.empty((len(drawn), dim), np.float32)
    start = done = 0
    for source, live in zip(sources, places, strict=True):
        mine = drawn[(drawn >= start) & (drawn < start + len(live))] - start
        rows[done : done + len(mine)] = read_rows(source.block.take(live[mine.astype(np.int64)]))
        start, done = start + len(live), done + len(mine)
    return rows


def _copy(source: Source, into: Index) -> None:
    for start in range(0, source.block.n, PIECE_ROWS):
        stop = min(start + PIECE_ROWS, source.block.n)
        live = source.live[start:stop]
        rows = read_rows(source.block.slice(start, stop))
        if live.all():
            into.add(np.ascontiguousarray(rows), ids=source.ids[start:stop])
        elif live.any():
            into.add(np.ascontiguousarray(rows[live]), ids=source.ids[start:stop][live])
