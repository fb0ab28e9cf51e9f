"""The faiss indexes behind `FaissIndex`: what each kind does in its own way, and nothing else.

They speak positions, and may answer -1 for "nothing more"; `FaissIndex` turns both into ids.
"""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from index.errors import BackendMissingError, InputError
from index.topk import Scores
from index.types import Ids, SearchParameters, Vectors

Core = Any  # a faiss index; faiss's classes are made at run time by SWIG

TRAIN_PER_LIST = 39
"""Fewer training vectors per list than this, and faiss warns that centroids are poor."""

Limits = Mapping[str, tuple[int, int, int]]  # parameter -> default, lowest, highest


@functools.cache
def import_faiss() -> ModuleType:
    """Import faiss with waiting threads that sleep rather than spin.

    Spinning OpenMP threads on busy cores made single searches up to 40 times slower; the variable
    is read when the library is loaded. Never fork after a parallel search: the child hangs
    (faiss issue 5206).

    Raises:
        BackendMissingError: faiss is not installed.

    Example:
        >>> import_faiss().__name__
        'faiss'
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import faiss
    except ImportError as error:
        raise BackendMissingError(
            "this index needs faiss, which is not installed: pip install 'crossfind[cpu]' "
            "(exact search works without it)"
        ) from error
    module: ModuleType = faiss
    return module


class FaissKind(ABC):
    """One kind of faiss index over inner products of unit vectors.

    Args:
        dim: length of a vector.
        given: parameters of this kind that differ from its defaults.

    Raises:
        InputError: a parameter is unknown to this kind or outside its limits.
    """

    name: ClassVar[str]
    is_exact: ClassVar[bool] = False
    limits: ClassVar[Limits] = {}

    def __init__(self, dim: int, *, given: Mapping[str, int]) -> None:
        self.dim = dim
        self.parameters = self._settle(given)
        self.faiss = import_faiss()
        self.core = self._new_core()

    @property
    def is_trained(self) -> bool:
        """Tell whether `nearest` may be called; until then `pieces` has everything."""
        return True

    @abstractmethod
    def factory(self) -> str:
        """Name the index in faiss's own words."""

    def add(self, vectors: Vectors) -> None:
        """Append rows behind the last position."""
        self.core.add(vectors)

    @abstractmethod
    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        """Find scores and positions [Q, k], best first, position -1 beyond the last."""

    @abstractmethod
    def rows(self, positions: Ids) -> Vectors:
        """Give back stored rows, float32 [P, D]."""

    @abstractmethod
    def pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]:
        """Give all stored rows without copying, with the positions they have."""

    def adopt(self, core: Core) -> None:
        """Replace the empty faiss index by one that was read from a file.

        Raises:
            InputError: it is of another class, dim or metric than this kind makes.
        """
        mine, its = self._signature(self.core), self._signature(core)
        if mine != its:
            raise InputError(f"faiss read {its}; expected {mine}")
        self.core = core

    def _signature(self, core: Core) -> tuple[str, int, int]:
        return type(core).__name__, core.d, core.metric_type

    @abstractmethod
    def _new_core(self) -> Core: ...

    def _settle(self, given: Mapping[str, int]) -> dict[str, int]:
        settled = {name: default for name, (default, _, _) in self.limits.items()}
        for name, value in given.items():
            if name not in self.limits:
                raise InputError(
                    f"{name} has no effect on an index of kind {self.name}; leave it out",
                    code="bad_parameter",
                )
            _, low, high = self.limits[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(
                    f"{name} is {value!r}; it must be a whole number from {low} to {high}",
                    code="bad_parameter",
                )
            settled[name] = value
        return settled

    def _view(self, flat: Core) -> Vectors:
        """See the rows of a faiss flat index as an array; valid until the next add."""
        rows: Vectors = self.faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * self.dim)
        return rows.reshape(flat.ntotal, self.dim)


class FlatKind(FaissKind):
    """Every vector compared; faster than numpy for single queries and many threads."""

    name = "flat"
    is_exact = True

    def factory(self) -> str:
        return "Flat"

    def _new_core(self) -> Core:
        return self.faiss.IndexFlatIP(self.dim)

    def nearest(
        self,
        queries: Vectors,
        *,
        k: int,
        selector: object,
        parameters: SearchParameters,  # noqa: ARG002  # none has an effect here
    ) -> tuple[Scores, Ids]:
        found: tuple[Scores, Ids] = self.core.search(
            queries, k, params=self.faiss.SearchParameters(sel=selector) if selector else None
        )
        return found

    def rows(self, positions: Ids) -> Vectors:
        return self._view(self.core)[positions]

    def pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]:
        yield self._view(self.core), slice(0, self.core.ntotal)


class HnswKind(FaissKind):
    """A navigable graph (Malkov and Yashunin 2016): fastest for queries like the stored vectors."""

    name = "hnsw"
    limits: ClassVar[Limits] = {
        "m": (32, 2, 256),
        "ef_construction": (80, 1, 10_000),
        "ef_search": (64, 1, 100_000),
    }

    def factory(self) -> str:
        return f"HNSW{self.parameters['m']}"

    def _new_core(self) -> Core:
        inner_product = self.faiss.METRIC_INNER_PRODUCT
        core = self.faiss.IndexHNSWFlat(self.dim, self.parameters["m"], inner_product)
        core.hnsw.efConstruction = self.parameters["ef_construction"]
        return core

    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        ef_search = parameters.ef_search or self.parameters["ef_search"]
        found: tuple[Scores, Ids] = self.core.search(
            queries,
            k,
            params=self.faiss.SearchParametersHNSW(efSearch=max(ef_search, k), sel=selector),
        )
        return found

    def rows(self, positions: Ids) -> Vectors:
        return self._view(self._storage())[positions]

    def pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]:
        yield self._view(self._storage()), slice(0, self.core.ntotal)

    def _storage(self) -> Core:
        return self.faiss.downcast_index(self.core.storage)


class TrainedKind(FaissKind):
    """A kind that learns from its first vectors: they wait in a plain list until there are enough.

    While they wait, they are scanned.
    """

    def __init__(self, dim: int, *, given: Mapping[str, int]) -> None:
        super().__init__(dim, given=given)
        self._waiting: list[Vectors] = []

    @property
    def is_trained(self) -> bool:
        return bool(self.core.is_trained)

    @property
    @abstractmethod
    def n_least(self) -> int:
        """Count the vectors without which training is impossible."""

    @property
    @abstractmethod
    def n_enough(self) -> int:
        """Count the vectors at which waiting ends."""

    def train(self, vectors: Vectors) -> None:
        """Learn, then put away what has waited for it."""
        self.core.train(vectors)
        self._after_training()
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self.core.add(block)

    def _after_training(self) -> None:  # most kinds have nothing to do
        """Prepare the trained index for its first vector."""

    def add(self, vectors: Vectors) -> None:
        if self.is_trained:
            self.core.add(vectors)
            return
        self._waiting.append(vectors.copy())
        if sum(len(block) for block in self._waiting) >= self.n_enough:
            self._waiting = [np.concatenate(self._waiting)]
            self.train(self._waiting[0])

    def rows(self, positions: Ids) -> Vectors:
        if not self.is_trained:
            return np.concatenate(self._waiting)[positions]
        return self._trained_rows(positions)

    @abstractmethod
    def _trained_rows(self, positions: Ids) -> Vectors: ...

    def pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]:
        if self.is_trained:
            yield from self._trained_pieces()
            return
        start = 0
        for block in self._waiting:
            yield block, slice(start, start + len(block))
            start += len(block)

    @abstractmethod
    def _trained_pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]: ...


class IvfKind(TrainedKind):
    """Lists of near vectors around trained centroids."""

    name = "ivf"
    limits: ClassVar[Limits] = {
        "n_lists": (256, 1, 1_048_576),
        "n_probes": (16, 1, 1_048_576),
        "seed": (0, 0, 2**31 - 1),
    }

    @property
    def n_least(self) -> int:
        return self.parameters["n_lists"]

    @property
    def n_enough(self) -> int:
        return TRAIN_PER_LIST * self.parameters["n_lists"]

    def factory(self) -> str:
        return f"IVF{self.parameters['n_lists']},Flat"

    def _new_core(self) -> Core:
        n_lists = self.parameters["n_lists"]
        coarse = self.faiss.IndexFlatIP(self.dim)
        core = self.faiss.IndexIVFFlat(coarse, self.dim, n_lists, self.faiss.METRIC_INNER_PRODUCT)
        core.cp.seed = self.parameters["seed"]
        return core

    def adopt(self, core: Core) -> None:
        super().adopt(core)
        if not core.is_trained or core.nlist != self.parameters["n_lists"]:
            raise InputError(f"faiss read {core.nlist} lists; expected {self.parameters}")

    def _after_training(self) -> None:
        self.core.set_direct_map_type(self.faiss.DirectMap.Array)  # position -> row, for `rows`

    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        n_probes = parameters.n_probes or self.parameters["n_probes"]
        found: tuple[Scores, Ids] = self.core.search(
            queries, k, params=self.faiss.SearchParametersIVF(nprobe=n_probes, sel=selector)
        )
        return found

    def _trained_rows(self, positions: Ids) -> Vectors:
        rows: Vectors = self.core.reconstruct_batch(positions)
        return rows

    def _trained_pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]:
        lists = self.core.invlists
        for number in range(lists.nlist):
            n = lists.list_size(number)
            if n:
                codes = self.faiss.rev_swig_ptr(lists.get_codes(number), n * lists.code_size)
                positions = self.faiss.rev_swig_ptr(lists.get_ids(number), n)
                yield codes.view(np.float32).reshape(n, self.dim), positions
