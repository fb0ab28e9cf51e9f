"""Hard negatives: for every anchor, the wrong targets that the model now finds most alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from index import ExactIndex, Neighbors
from retrieval.training.heads import HeadsModel
from retrieval.training.objective import PairsObjective

__all__ = ["Searcher", "exact_searcher", "hard_negatives"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class Searcher(Protocol):
    """Anything that finds neighbours of queries, e.g. an Index."""

    def search(self, queries: Vectors, *, k: int) -> Neighbors:
        """Find the k nearest of queries float32 [Q, D], unit length."""


def exact_searcher(vectors: Vectors, ids: Ids) -> Searcher:
    """Put unit vectors float32 [N, D] under ids int64 [N] into an exact index.

    Example:
        >>> searcher = exact_searcher(np.eye(2, dtype=np.float32), np.array([4, 9]))
        >>> searcher.search(np.eye(2, dtype=np.float32), k=1).ids.tolist()
        [[4], [9]]
    """
    found = ExactIndex(vectors.shape[1])
    found.add(vectors, ids=ids)
    return found


@torch.no_grad()
def hard_negatives(
    model: HeadsModel,
    *,
    objective: PairsObjective,
    n_hard: int,
    make_searcher: Callable[[Vectors, Ids], Searcher] = exact_searcher,
) -> Tensor:
    """Mine hard negatives of the objective's first pair type from a live index.

    The nearest are taken on purpose; right answers (rows of the same group) are passed over. For
    labels that are noisy, mine fewer: the nearest wrong answer is often an unmarked right one.

    Args:
        model: encodes the rows.
        objective: the rows.
        n_hard: negatives per row, H.
        make_searcher: puts target vectors under their row numbers.

    Returns:
        int64 [N, H], rows. A row without the pair, or with fewer wrong answers than H, is filled
        with itself, which the losses know to be right and leave out.
    """
    anchor_role, target_role = objective.first_pair
    both = objective.present[anchor_role] & objective.present[target_role]
    rows = torch.nonzero(both).squeeze(1)
    anchors = _encode(model, objective, role=anchor_role, rows=rows)
    targets = _encode(model, objective, role=target_role, rows=rows)
    positions = rows.cpu().numpy().astype(np.int64)
    searcher = make_searcher(targets, positions)
    k = min(len(rows), n_hard + _largest_group(objective, rows=rows))
    found = searcher.search(anchors, k=k)
    near = torch.from_numpy(found.ids).to(rows.device)
    beyond = torch.arange(k)[None, :] >= torch.from_numpy(found.counts)[:, None]
    unfit = objective.right_among(objective.first_pair, rows=rows, columns=near)
    unfit |= beyond.to(rows.device)
    # A stable sort of a flag: the fit ones come first, nearest first.
    fit_first = unfit.to(torch.int8).argsort(dim=1, stable=True)[:, :n_hard]
    picked = torch.where(unfit.gather(1, fit_first), rows[:, None], near.gather(1, fit_first))
    out = torch.arange(objective.n_rows, device=rows.device)[:, None].repeat(1, n_hard)
    out[rows, : picked.shape[1]] = picked
    return out


def _encode(model: HeadsModel, objective: PairsObjective, *, role: str, rows: Tensor) -> Vectors:
    vectors = model.encode(objective.features[role][rows], role=role)
    return np.ascontiguousarray(vectors.float().cpu().numpy())


def _largest_group(objective: PairsObjective, *, rows: Tensor) -> int:
    """Count how many right answers may stand before the first wrong one."""
    groups = (objective.groups[role][rows] for role in objective.first_pair)
    return (
        sum(int(torch.unique(g, return_counts=True)[1].max()) for g in groups) if len(rows) else 0
    )
