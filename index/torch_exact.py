"""Exact search in torch: float16 rows on a GPU, compared tile by tile; always there with CUDA.

The product in float16 only nominates, like the float32 product of `index.scan`: the nominees are
scored again in float64 by `pair_scores`, which decides, so answers equal those of the other exact
kinds. One thread owns the device's memory: searches of several threads follow each other.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from index.base import Index
from index.errors import BackendMissingError, InputError
from index.row_blocks import ArrayBlock, RowBlocks
from index.rows import StoredRows, read_rows
from index.scan import Block, scan
from index.topk import Candidates, pair_scores, slack
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

Tensor = Any  # torch is imported when the first index is made

TILE_SCORES = 1 << 28  # float16 scores at a time: 512 MiB of the device's memory
MAX_QUERIES = 1_024
GROW_ROWS = 65_536
FETCHED_BEYOND_K = (64, 1_024)  # more only where the first do not settle the order
# Products of float16 rows summed in float32: each factor is off by 2^-11 of itself, so a score of
# unit vectors by 2^-10 at most (Cauchy-Schwarz), and the result by 2^-11 again once it is float16.
HALF_ERROR = 2.0**-10 + 2.0**-11


class TorchExactIndex(Index):
    """Compare every query with every vector, in float16 on a GPU.

    Args:
        dim: length of a vector.
        device: `cuda`, `cuda:N`, or `cpu` where the same code runs in float32.

    Raises:
        BackendMissingError: torch is not installed, or has no such device.

    Example:
        >>> exact = TorchExactIndex(3, device="cpu")
        >>> exact.add(np.eye(3, dtype=np.float32), ids=np.array([10, 11, 12]))
        >>> exact.search(np.eye(3, dtype=np.float32)[:1], k=1).ids.tolist()
        [[10]]
    """

    kind = "torch_exact"

    def __init__(self, dim: int, *, device: str = "cuda") -> None:
        super().__init__(dim)
        self._torch = _import_torch(device)
        self._device = device
        self._on_cpu = device == "cpu"
        self._dtype = self._torch.float32 if self._on_cpu else self._torch.float16
        self._rows = self._torch.empty((0, dim), dtype=self._dtype, device=device)
        self._dead = self._torch.empty(0, dtype=self._torch.bool, device=device)
        self._kept = RowBlocks(dim)  # what scores are computed from, in the computer's memory
        self._owner = threading.Lock()

    def _add(self, vectors: Vectors, *, ids: Ids) -> None:  # noqa: ARG002
        half: StoredRows = vectors.astype(np.float16)
        start, stop = len(self._kept), len(self._kept) + len(half)
        self._reserve(stop)
        given = read_rows(half) if self._on_cpu else half
        self._rows[start:stop] = self._torch.from_numpy(given).to(self._device)
        self._dead[start:stop] = False
        self._kept.append(ArrayBlock(half))

    def _reserve(self, n: int) -> None:
        if n <= len(self._rows):
            return
        room = max(n, min(2 * len(self._rows), len(self._rows) + 16 * GROW_ROWS))
        rows = self._torch.empty((room, self.dim), dtype=self._dtype, device=self._device)
        dead = self._torch.ones(room, dtype=self._torch.bool, device=self._device)
        rows[: len(self._rows)], dead[: len(self._dead)] = self._rows, self._dead
        self._rows, self._dead = rows, dead

    def _removed(self) -> None:
        live = self._torch.from_numpy(self._table.live.copy()).to(self._device)
        dead = self._torch.ones_like(self._dead)
        dead[: len(live)] = ~live
        self._dead = dead  # a new one: a fork of this index keeps the old

    def _search(
        self,
        queries: Vectors,
        *,
        k: int,
        wanted: Mask | None,
        parameters: SearchParameters,  # noqa: ARG002  # the base refuses any with an effect
    ) -> Neighbors:
        parts = []
        for start in range(0, len(queries), MAX_QUERIES):
            some = queries[start : start + MAX_QUERIES]
            for n_more in FETCHED_BEYOND_K:
                with self._owner:
                    positions, doubtful = self._nominate(some, k=k, more=n_more, wanted=wanted)
                if not doubtful.any():
                    break
            found = self._rescored(some, positions).to_neighbors(n_queries=len(some), k=k)
            if doubtful.any():  # more ties than were fetched
                by = self._scan(some[doubtful], k=k, wanted=wanted)
                found.ids[doubtful], found.scores[doubtful] = by.ids, by.scores
                found.counts[doubtful] = by.counts
            parts.append(found)
        return Neighbors(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )

    def _nominate(
        self, queries: Vectors, *, k: int, more: int, wanted: Mask | None
    ) -> tuple[Ids, Mask]:
        """Find what can be among the best k; and which queries have more such rows than fit."""
        torch, n = self._torch, len(self._kept)
        n_fetched = min(n, k + max(more, k))
        barred = self._dead[:n]
        if wanted is not None:
            barred = barred | ~torch.from_numpy(np.ascontiguousarray(wanted)).to(self._device)
        asked = torch.from_numpy(np.ascontiguousarray(queries)).to(self._device).to(self._dtype)
        best = torch.full((len(queries), n_fetched), -torch.inf, device=self._device)
        at = torch.full((len(queries), n_fetched), -1, dtype=torch.int64, device=self._device)
        tile = max(n_fetched, TILE_SCORES // max(1, len(queries)))
        for start in range(0, n, tile):
            stop = min(start + tile, n)
            scores = (asked @ self._rows[start:stop].T).float()
            scores[:, barred[start:stop]] = -torch.inf
            top, where = scores.topk(min(n_fetched, stop - start), dim=1)
            both, places = torch.cat([best, top], 1), torch.cat([at, where + start], 1)
            best, chosen = both.topk(n_fetched, dim=1)
            at = places.gather(1, chosen)
        found, positions = best.cpu().numpy(), at.cpu().numpy()
        positions[~np.isfinite(found)] = -1
        error = slack(self.dim) + (0.0 if self._on_cpu else 2 * HALF_ERROR)
        doubtful = (found[:, -1] >= found[:, k - 1] - error) & np.isfinite(found[:, -1])
        return positions, doubtful & (n_fetched < n)

    def _rescored(self, queries: Vectors, positions: Ids) -> Candidates:
        at_query, at_column = np.nonzero(positions >= 0)
        there = positions[at_query, at_column]
        unique, places = np.unique(there, return_inverse=True)
        rows = self._kept.rows(unique)
        scores = pair_scores(queries, rows, at_query=at_query, at_row=places)
        return Candidates(at_query, self._table.ids[there], scores)

    def _scan(self, queries: Vectors, *, k: int, wanted: Mask | None) -> Neighbors:
        mask = self._table.live if wanted is None else wanted
        blocks = (
            Block(rows, self._table.ids[here], wanted=mask[here])
            for rows, here in self._kept.pieces()
        )
        return scan(blocks, queries, k=k)

    def _close(self) -> None:
        self._rows, self._dead = self._rows[:0].clone(), self._dead[:0].clone()
        self._kept = RowBlocks(self.dim)


def _import_torch(device: str) -> Any:  # Any: a module whose stubs are as large as torch
    if device.split(":", maxsplit=1)[0] not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; it must be cpu, cuda or cuda:N")
    try:
        import torch
    except ImportError as error:
        raise BackendMissingError("this index needs torch: pip install torch") from error
    if device != "cpu" and not torch.cuda.is_available():
        raise BackendMissingError(
            f"torch sees no GPU for device {device}; search on the CPU with device='cpu'"
        )
    return torch
