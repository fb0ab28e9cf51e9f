"""Data parallel training under torchrun: each rank encodes its share, all see the whole batch.

A contrastive loss needs every vector of the batch as a negative, so vectors (not only gradients)
are gathered. `gather` sends gradients back to the rank that made the vector; with the ranks'
parameter gradients then averaged, W ranks take exactly the step that one rank takes on the same
global batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["World", "joined_world"]


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among the ranks.

    Attributes:
        rank: from 0.
        n_ranks: how many processes train together; 1 without torchrun.
    """

    rank: int = 0
    n_ranks: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """Return this rank's contiguous share of the batch rows [B].

        Example:
            >>> World(rank=1, n_ranks=2).share(torch.arange(5)).tolist()
            [3, 4]
        """
        return rows.tensor_split(self.n_ranks)[self.rank]

    def gather(self, local: Tensor, *, n_rows: int) -> Tensor:
        """Concatenate the ranks' vectors in the order of the batch.

        Args:
            local: [n, D], vectors of this rank's share, k >= 1 for each of its rows.
            n_rows: rows of the whole batch.

        Returns:
            [N, D], equal on all ranks; gradients flow back to each rank's own rows.

        Example:
            >>> World().gather(torch.eye(2), n_rows=2).shape
            torch.Size([2, 2])
        """
        if self.n_ranks == 1:
            return local
        shares = [len(s) for s in torch.arange(n_rows).tensor_split(self.n_ranks)]
        per_row = len(local) // max(1, shares[self.rank])
        sizes = [n * per_row for n in shares]
        out: Tensor = _Gather.apply(local, sizes, self.rank)  # type: ignore[no-untyped-call]
        return out

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let rank 0 run the block before the others, which then find its cache filled."""
        if self.rank != 0:
            dist.barrier()
        yield
        if self.rank == 0 and self.n_ranks > 1:
            dist.barrier()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the ranks; nothing to do for one rank."""
        if self.n_ranks == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:  # no row of this rank touched it; the others wait for it
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= self.n_ranks


class _Gather(torch.autograd.Function):
    """all_gather of uneven shares whose backward sums what every rank's loss says of a row."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, sizes: list[int], rank: int) -> Tensor:  # Any: torch's
        ctx.start, ctx.n = sum(sizes[:rank]), sizes[rank]
        # gloo gathers equal shapes only: pad to the longest share, cut afterwards.
        padded = local.new_zeros(max(sizes), local.shape[1])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        return whole[ctx.start : ctx.start + ctx.n], None, None


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the ranks that torchrun started; a lone World where it did not.

    Yields:
        This process's place. The process group is left at the end.

    Example:
        >>> with joined_world() as world:
        ...     world.n_ranks
        1
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(rank=dist.get_rank(), n_ranks=dist.get_world_size())
    finally:
        dist.destroy_process_group()
