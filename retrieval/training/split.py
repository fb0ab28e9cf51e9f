"""Rows into train, validation and test, so that nothing seen in training is judged later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from retrieval.errors import UsageError

__all__ = ["Split", "split_rows"]

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers, ascending.

    Attributes:
        train, validation, test: int64, disjoint. Validation chooses the weights, test judges them.
    """

    train: Ids
    validation: Ids
    test: Ids

    def all_rows(self) -> Ids:
        """List the rows of all parts, ascending."""
        return np.sort(np.concatenate([self.train, self.validation, self.test]))

    def n_rows(self) -> dict[str, int]:
        """Count the rows of each part by its name."""
        return {f.name: len(getattr(self, f.name)) for f in fields(self)}


def split_rows(
    groupings: Sequence[Ids], *, seed: int, share: float = 0.15, min_rows: int = 8
) -> Split:
    """Split rows; rows that share a group in any grouping stay together.

    Args:
        groupings: int64 [N] each; groups below 0 bind nothing. Pictures and sounds by content,
            and what the user named a group; not captions, which may repeat.
        seed: of the shuffle.
        share: of the rows for validation, and again for test.
        min_rows: fewest rows in each of the two.

    Returns:
        The split.

    Raises:
        UsageError: too few rows, or groups, for three parts (`too_few_pairs`).

    Example:
        >>> rows = np.arange(100)
        >>> split = split_rows([rows // 2], seed=0)
        >>> len(split.train), len(split.validation), len(split.test)
        (68, 16, 16)
    """
    n = len(groupings[0])
    n_out = max(min_rows, round(n * share))
    clusters = _clusters(groupings)
    order = np.random.default_rng(seed).permutation(int(clusters.max()) + 1)
    # Rows in the order of their shuffled clusters; cuts move to the end of a cluster.
    rows = np.argsort(order[clusters], kind="stable")
    ends = np.flatnonzero(np.diff(order[clusters][rows])) + 1
    test_end = _next(ends, n_out)
    validation_end = _next(ends, test_end + n_out)
    if n - validation_end < max(2 * min_rows, n // 3):
        raise UsageError(
            f"{n} pairs in {len(order)} independent groups are too few to train on and to judge by "
            f"(each part needs {min_rows}); give more pairs",
            code="too_few_pairs",
        )
    return Split(
        train=np.sort(rows[validation_end:]),
        validation=np.sort(rows[test_end:validation_end]),
        test=np.sort(rows[:test_end]),
    )


def _next(ends: Ids, wanted: int) -> int:
    """Find the first cluster end at or after a row count; beyond all: a count nobody has."""
    after = ends[ends >= wanted]
    return int(after[0]) if len(after) else 1 << 62


def _clusters(groupings: Sequence[Ids]) -> Ids:
    """Number the connected components of rows that share a group, int64 [N]."""
    parent = list(range(len(groupings[0])))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for grouping in groupings:
        first: dict[int, int] = {}
        for row, group in enumerate(grouping.tolist()):
            if group >= 0:
                parent[root(row)] = root(first.setdefault(group, row))
    roots = np.array([root(row) for row in range(len(parent))], dtype=np.int64)
    return np.asarray(np.unique(roots, return_inverse=True)[1], dtype=np.int64)
