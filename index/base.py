"""The contract of every index. All input checks live here, because faiss itself has almost none:
it accepts duplicate ids, NaN, float64 and k > N in silence and answers with id -1."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np

from index.allowed import Allowed
from index.checks import (
    check_dim,
    check_ids,
    check_k,
    check_same_length,
    check_unique,
    check_vectors,
)
from index.errors import InputError
from index.guard import Guard
from index.ids import IdTable
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

DEFAULT_PARAMETERS = SearchParameters()
EFFORTS = ("ef_search", "n_probes", "k_factor")


class Index(ABC):
    """Hold vectors of one Space under ids and find the nearest to a query by cosine.

    Threads may search together; adding and removing wait for them. Equal scores are ordered by
    ascending id. A filtered search (`allowed`) finds as many as there are, up to k.

    A back end writes `_add` and `_search` and knows only positions, counted from 0 in order of
    arrival. Removal is a mark in the id table; `_search` is told which positions are wanted.

    Attributes:
        dim: length of a vector.
        kind: name of the back end, e.g. `exact` or `hnsw`.
    """

    kind: str

    def __init__(self, dim: int) -> None:
        self.dim = check_dim(dim)
        self._table = IdTable()
        self._guard = Guard()
        self._closed = False
        self._takes_more = True
        self._accepted = DEFAULT_PARAMETERS  # those checked last: searches repeat them

    def add(self, vectors: Vectors, *, ids: Ids) -> None:
        """Store vectors under new ids; all or none.

        Args:
            vectors: float32 [N, D], C-order, finite, unit length; copied.
            ids: int64 [N], none negative, none twice, none in use.

        Raises:
            InputError: a rule above is broken; nothing was added.

        Example:
            >>> from index.exact import ExactIndex
            >>> exact = ExactIndex(2)
            >>> exact.add(np.eye(2, dtype=np.float32), ids=np.array([4, 9]))
            >>> len(exact), exact.ids().tolist()
            (2, [4, 9])
        """
        check_vectors(vectors, dim=self.dim, what="vectors")
        check_new_ids(ids, n_vectors=len(vectors))
        with self._guard.change():
            self._check_open()
            self._check_unused(ids)
            if len(ids):
                self._add(vectors, ids=ids)
                self._table.append(ids)

    def remove(self, ids: Ids) -> int:
        """Remove vectors by id; an id may be added again afterwards.

        Args:
            ids: int64 [N], none negative; unknown ones are ignored.

        Returns:
            How many of them were there.

        Raises:
            InputError: ids are of another type or shape.
        """
        check_ids(ids)
        with self._guard.change():
            self._check_open()
            n_removed = self._table.remove(ids)
            if n_removed:
                self._removed()
        return n_removed

    def search(
        self,
        queries: Vectors,
        *,
        k: int,
        allowed: Ids | Allowed | None = None,
        parameters: SearchParameters | None = None,
    ) -> Neighbors:
        """Find the k nearest vectors of each query.

        Args:
            queries: float32 [Q, D], C-order, finite, unit length.
            k: 1 to 100,000; where fewer vectors exist or are allowed, counts say so.
            allowed: int64 [A], any order, or `Allowed`, which is quicker when used again; only
                these ids may be answers. As many are found as there are, up to k; where few
                are allowed they are the exact best. Unknown ids are ignored.
            parameters: how hard to try, for this call alone.

        Returns:
            Neighbors [Q, k], best first, equal scores by ascending id.

        Raises:
            InputError: a rule above is broken, or a parameter has no effect on this kind.

        Example:
            >>> from index.exact import ExactIndex
            >>> exact = ExactIndex(2)
            >>> exact.add(np.eye(2, dtype=np.float32), ids=np.array([4, 9]))
            >>> found = exact.search(np.array([[0.0, 1.0]], np.float32), k=3)
            >>> found.ids[0, : found.counts[0]].tolist()
            [9, 4]
        """
        k = check_k(k)
        check_vectors(queries, dim=self.dim, what="queries")
        if allowed is not None and not isinstance(allowed, Allowed):
            allowed = Allowed(allowed)
        if parameters is None:
            parameters = DEFAULT_PARAMETERS
        elif parameters is not self._accepted:
            self._check_parameters(parameters)
            self._accepted = parameters
        with self._guard.use():
            self._check_open()
            wanted, n_wanted = None, self._table.n_live
            if allowed is not None:
                wanted, n_wanted = allowed.over(self._table)
                wanted = None if n_wanted == self._table.n_live else wanted
            k_there = min(k, n_wanted)
            if k_there == 0 or not len(queries):
                return _no_neighbors(len(queries), k)
            if wanted is None or allowed is None:
                found = self._search(queries, k=k_there, wanted=None, parameters=parameters)
            else:
                found = self._search_among(
                    queries, k=k_there, wanted=wanted, parameters=parameters,
                    expression=allowed.expression,
                )  # fmt: skip
        return _widened(found, k=k)

    def fork(self) -> Self:
        """Make a second index of the same vectors, at once and without copying them.

        What is removed from one stays in the other, so a reader can go on with what it has. From
        now on this index takes no more vectors; its fork does if it is an exact one.

        Returns:
            An index that shares the vectors; closing it leaves this one as it is.

        Example:
            >>> from index.exact import ExactIndex
            >>> exact = ExactIndex(2)
            >>> exact.add(np.eye(2, dtype=np.float32), ids=np.array([4, 9]))
            >>> newer = exact.fork()
            >>> newer.remove(np.array([4])), len(newer), len(exact)
            (1, 1, 2)
        """
        with self._guard.use():
            self._check_open()
            other = copy.copy(self)
            other._table = self._table.fork()
            other._takes_more = self._takes_more and other._forked()
            self._takes_more = False
        return other

    def ids(self) -> Ids:
        """List the ids that are there.

        Returns:
            int64 [len(self)], ascending.
        """
        with self._guard.use():
            return self._table.live_ids()

    def __len__(self) -> int:
        return self._table.n_live

    @property
    def efforts(self) -> tuple[str, ...]:
        """Name the search parameters that have an effect on this kind, the coarse one first."""
        return ()

    def close(self) -> None:
        """Let go of the memory; any later use is refused. May be called twice."""
        with self._guard.change():
            if not self._closed:
                self._closed = True
                self._table = IdTable()
                self._close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _add(self, vectors: Vectors, *, ids: Ids) -> None:
        """Append checked vectors behind the last position, copying them; all or none."""

    @abstractmethod
    def _search(
        self, queries: Vectors, *, k: int, wanted: Mask | None, parameters: SearchParameters
    ) -> Neighbors:
        """Find k neighbours among the wanted positions; None means all that are alive.

        At least k positions qualify, and k are found. `wanted` must not be changed.
        """

    def _search_among(
        self,
        queries: Vectors,
        *,
        k: int,
        wanted: Mask | None,
        parameters: SearchParameters,
        expression: str,  # noqa: ARG002  # for an engine that filters by fields of its own
    ) -> Neighbors:
        """Search as `_search` does; `expression` says of what the wanted positions are a part."""
        return self._search(queries, k=k, wanted=wanted, parameters=parameters)

    @abstractmethod
    def _close(self) -> None:
        """Drop what is held."""

    def _forked(self) -> bool:
        """Stop sharing with the original what an add would change there; False: none may come."""
        return False

    def _removed(self) -> None:  # noqa: B027  # a back end without caches has nothing to do
        """Take note that the table has marked more positions dead."""

    def _check_parameters(self, parameters: SearchParameters) -> None:
        """Refuse parameters that this kind would ignore, and values below 1."""
        for name in EFFORTS:
            value = getattr(parameters, name)
            if value is None:
                continue
            if name not in self.efforts:
                raise InputError(
                    f"{name} has no effect on an index of kind {self.kind}; leave it out",
                    code="bad_parameter",
                )
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1", code="bad_parameter")

    def _check_unused(self, ids: Ids) -> None:
        """Refuse ids in use, and any where adding has ended."""
        if not self._takes_more:
            raise InputError(
                "this index was forked and takes no more vectors; add to an exact fork",
                code="forked",
            )
        taken = self._table.find(ids)
        if taken.size:
            raise InputError(
                f"id {int(self._table.ids[taken[0]])} is in use; remove it first",
                code="duplicate_ids",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this index was closed; open it again", code="closed")


def check_new_ids(ids: Ids, *, n_vectors: int) -> None:
    """Refuse ids that cannot name that many new vectors."""
    check_unique(check_ids(ids))
    check_same_length(n_vectors, len(ids))


def _no_neighbors(n_queries: int, k: int) -> Neighbors:
    return Neighbors(
        np.zeros((n_queries, k), np.int64),
        np.zeros((n_queries, k), np.float32),
        np.zeros(n_queries, np.int64),
    )


def _widened(found: Neighbors, *, k: int) -> Neighbors:
    """Bring a table to the k columns that were asked for."""
    missing = k - found.ids.shape[1]
    if not missing:
        return found
    more = ((0, 0), (0, missing))
    return Neighbors(np.pad(found.ids, more), np.pad(found.scores, more), found.counts)
