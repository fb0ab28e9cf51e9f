"""Exact search in torch: float16 rows on a GPU, compared tile by tile; always there with CUDA.

The product in float16 only nominates, like the float32 product of `index.scan`: the nominees are
scored again in float64, there where their rows lie, so answers equal those of the other exact
kinds. One thread owns the device's memory: searches of several threads follow each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from index.base import Index
from index.errors import BackendMissingError, InputError
from index.rows import read_rows
from index.scan import Block, scan
from index.topk import Scores, order_table, slack
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

Tensor = Any  # torch is imported when the first index is made

TILE_SCORES = 1 << 28  # float16 scores at a time: 512 MiB of the device's memory
GROUP = 128
MAX_QUERIES = 1_024
GROW_ROWS = 65_536
SCAN_ROWS = 65_536
FETCHED_BEYOND_K = (64, 1_024)  # more only where the first do not settle the order
SCORED_VALUES = 1 << 27  # float64 at a time: 1 GiB of the device's memory
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
        self._n_rows = 0
        self._owner = threading.Lock()

    def _add(self, vectors: Vectors, *, ids: Ids) -> None:  # noqa: ARG002
        half = vectors.astype(np.float16)
        start, stop = self._n_rows, self._n_rows + len(half)
        self._reserve(stop)
        given = read_rows(half) if self._on_cpu else half
        self._rows[start:stop] = self._torch.from_numpy(given).to(self._device)
        self._dead[start:stop] = False
        self._n_rows = stop

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
                with self._owner, self._whole_sums():
                    positions, scores, doubtful = self._nearest(
                        some, k=k, more=n_more, wanted=wanted
                    )
                if not doubtful.any():
                    break
            found = order_table(self._table.ids[positions], scores, k=k)
            if doubtful.any():  # more ties than were fetched
                by = self._scan(some[doubtful], k=k, wanted=wanted)
                found.ids[doubtful], found.scores[doubtful] = by.ids, by.scores
            parts.append(found)
        return Neighbors(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )

    def _nearest(
        self, queries: Vectors, *, k: int, more: int, wanted: Mask | None
    ) -> tuple[Ids, Scores, Mask]:
        """Find who can be among the best k, with exact scores; and for which queries that is more
        than was fetched.

        At least k rows qualify, so the first k columns hold rows.
        """
        torch = self._torch
        n_fetched = min(self._n_rows, k + max(more, k))
        asked = torch.from_numpy(queries).to(self._device)
        near, at = self._nominate(asked, n_fetched, barred=self._barred(wanted))
        error = slack(self.dim) + (0.0 if self._on_cpu else 2 * HALF_ERROR)
        there = torch.isfinite(near)
        doubtful = (near[:, -1] >= near[:, k - 1] - error) & there[:, -1]
        scores = self._exact_scores(asked, at)
        scores[~there] = -torch.inf
        n_kept = min(n_fetched, k + more // 2)  # what is left for the processor to order
        best, where = scores.topk(n_kept, dim=1)
        doubtful &= n_fetched < self._n_rows
        if n_kept < n_fetched:
            doubtful |= (best[:, -1] == best[:, k - 1]) & torch.isfinite(best[:, -1])
        return at.gather(1, where).cpu().numpy(), best.cpu().numpy(), doubtful.cpu().numpy()

    def _barred(self, wanted: Mask | None) -> Tensor | None:
        """Tell which rows may not be answers; None where all may."""
        if wanted is not None:  # only living ones are
            unwanted = self._torch.from_numpy(~wanted[: self._n_rows])
            return unwanted.to(self._device)
        some_dead = self._table.n_live < self._table.n_positions
        return self._dead[: self._n_rows] if some_dead else None

    def _nominate(
        self, asked: Tensor, n_fetched: int, *, barred: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Find the nearest rows as float16 sees them: scores and positions [Q, n_fetched]."""
        torch, n_queries = self._torch, len(asked)
        given = asked.to(self._dtype)
        best = torch.full((n_queries, n_fetched), -torch.inf, device=self._device)
        at = torch.zeros((n_queries, n_fetched), dtype=torch.int64, device=self._device)
        tile = max(n_fetched, GROUP * max(1, TILE_SCORES // GROUP // n_queries))
        for start in range(0, self._n_rows, tile):
            stop = min(start + tile, self._n_rows)
            scores = given @ self._rows[start:stop].T
            if barred is not None:
                scores.masked_fill_(barred[start:stop], -torch.inf)
            top, where = _topk(torch, scores, min(n_fetched, stop - start))
            both, places = torch.cat([best, top], 1), torch.cat([at, where + start], 1)
            best, chosen = both.topk(n_fetched, dim=1)
            at = places.gather(1, chosen)
        return best, at

    def _exact_scores(self, asked: Tensor, at: Tensor) -> Tensor:
        """Score rows in float64 as `pair_scores` does, float32 [Q, M]."""
        torch, (n_queries, n_each) = self._torch, at.shape
        scores = torch.empty((n_queries, n_each), device=self._device)
        step = max(1, SCORED_VALUES // (n_each * self.dim))
        for start in range(0, n_queries, step):
            here = at[start : start + step]
            rows = self._rows[here.reshape(-1)].float()
            if not self._on_cpu:  # as `read_rows` does
                lengths = rows.double().square().sum(1).sqrt()
                rows *= (1 / lengths).float()[:, None]
            wide = rows.double().reshape(*here.shape, self.dim)
            left = asked[start : start + step].double()
            scores[start : start + step] = (wide @ left[:, :, None])[:, :, 0].float()
        return scores.clamp_(-1, 1)

    def _scan(self, queries: Vectors, *, k: int, wanted: Mask | None) -> Neighbors:
        mask = self._table.live if wanted is None else wanted

        def blocks() -> Iterator[Block]:
            for start in range(0, self._n_rows, SCAN_ROWS):
                here = slice(start, min(start + SCAN_ROWS, self._n_rows))
                rows = self._rows[here].cpu().numpy()
                yield Block(rows, self._table.ids[here], wanted=mask[here])

        return scan(blocks(), queries, k=k)

    @contextmanager
    def _whole_sums(self) -> Iterator[None]:
        """Keep CUDA from adding partial sums in float16, which the error above does not cover."""
        of = self._torch.backends.cuda.matmul
        before = of.allow_fp16_reduced_precision_reduction
        of.allow_fp16_reduced_precision_reduction = False
        try:
            yield
        finally:
            of.allow_fp16_reduced_precision_reduction = before

    def _close(self) -> None:
        self._rows, self._dead = self._rows[:0].clone(), self._dead[:0].clone()
        self._n_rows = 0


def _topk(torch: Any, scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Find the n best of each row, as float32, and their places.

    The n best lie in the n groups whose own best are best: so most of a row is read once, where
    torch's topk reads it several times.
    """
    n_queries, width = scores.shape
    n_groups = width // GROUP
    if n_groups <= 2 * n:
        best, where = scores.float().topk(n, dim=1)
        return best, where
    whole = scores[:, : n_groups * GROUP].view(n_queries, n_groups, GROUP)
    groups = whole.amax(dim=2).float().topk(n, dim=1).indices
    inside = whole.gather(1, groups[:, :, None].expand(-1, -1, GROUP)).reshape(n_queries, -1)
    offsets = torch.arange(GROUP, device=scores.device)
    places = (groups[:, :, None] * GROUP + offsets).reshape(n_queries, -1)
    rest = torch.arange(n_groups * GROUP, width, device=scores.device).expand(n_queries, -1)
    inside = torch.cat([inside, scores[:, n_groups * GROUP :]], 1).float()
    best, chosen = inside.topk(n, dim=1)
    return best, torch.cat([places, rest], 1).gather(1, chosen)


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
