"""What an index is asked to be, and the plan that makes it so."""

from __future__ import annotations

from dataclasses import dataclass, replace

from index.choose import DEFAULT_RECALL, choose, choose_factory
from index.remote_plan import choose_remote
from index.types import Plan
from retrieval.remote import Remote


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an index is asked to be.

    Attributes:
        recall: wanted recall@10 for queries of another modality, above 0, at most 1; None: few
            vectors are compared one and all, and of many an index aims at 0.95.
        memory_bytes: what the index may take; None for no limit.
        batch_size: how many queries come at once, usually.
        device: `cpu` or `gpu`.
        factory: of faiss, instead of the table's choice; empty for the table.
        compact: True merges segments and leaves dead vectors out, however few there are.
        remote: the Milvus that holds the index; None: it is a file of the store.
    """

    recall: float | None = None
    memory_bytes: int | None = None
    batch_size: int = 1
    device: str = "cpu"
    factory: str = ""
    compact: bool = False
    remote: Remote | None = None

    @property
    def target(self) -> float:
        """The recall that an index is tuned for, where it is one that can be tuned."""
        return DEFAULT_RECALL if self.recall is None else self.recall

    @property
    def are_said(self) -> bool:
        """Tell whether anything is asked of the index itself, rather than left to the table."""
        return replace(self, compact=False, remote=None) != DEFAULT_WISHES

    def plan(self, n_vectors: int, *, dim: int) -> Plan:
        """Choose the plan."""
        if self.remote is not None:
            return choose_remote(
                n_vectors,
                dim=dim,
                memory_bytes=self.memory_bytes,
                device=self.device,
                is_lite=self.remote.is_lite,
            )
        if self.factory:
            return choose_factory(self.factory, n_vectors=n_vectors, dim=dim)
        return choose(
            n_vectors,
            dim=dim,
            recall=self.recall,
            memory_bytes=self.memory_bytes,
            batch_size=self.batch_size,
            device=self.device,
        )


DEFAULT_WISHES = Wishes()
