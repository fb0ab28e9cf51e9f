"""Milvus behind the contract of `Index`: it nominates, and the rows of the segments decide.

A collection holds ids and vectors, and nothing that only it knows: it is built from the segments
and dropped like any derived file. What Milvus answers is looked up in the id table (rows of a
build that was broken off are unknown there), scored again from the rows, and ordered as everywhere.

A filter by group is a choice of partitions there. Of other filters Milvus is told nothing: its
graph, given 30 allowed ids of 3,000, missed a fifth of the best ten. Few allowed rows are compared
here, exactly; for many, more candidates are asked for (see `index.filtered`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from index.base import Index, check_new_ids
from index.errors import InputError
from index.filtered import SPARE, Nominator, search_filtered
from index.ids import IdTable
from index.remote_plan import ALGORITHMS
from index.remote_server import MOST_NEAREST, MilvusServer
from index.row_blocks import PIECE_ROWS, ArrayBlock, RowBlock, RowBlocks
from index.rows import read_rows
from index.scan import Block, scan
from index.topk import order_table, score_table
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

# What a request costs, in rows that could be compared here meanwhile.
_ROWS_PER_REQUEST = 20_000.0
_ROWS_PER_CANDIDATE = 10.0
_LIKELY = 1.5  # times the candidates that would hold k wanted ones on average


class MilvusIndex(Index):
    """Search in a collection of Milvus.

    Args:
        dim: length of a vector.
        server: where the collection is.
        collection: its name; made where there is none.
        groups: name -> int64 ids, ascending: what Milvus keeps in a partition each, so that a
            filter by group costs nothing there.
        algorithm: one of `ALGORITHMS`.
        parameters: of the algorithm; the defaults where left out.

    Raises:
        InputError: an unknown algorithm or parameter, or one that Milvus Lite does not know.
        UnreachableError: the server does not answer.
    """

    kind = "milvus"

    def __init__(
        self,
        dim: int,
        *,
        server: MilvusServer,
        collection: str,
        groups: Mapping[str, Ids] | None = None,
        algorithm: str = "HNSW",
        **parameters: int,
    ) -> None:
        super().__init__(dim)
        known = ALGORITHMS.get(algorithm)
        if known is None or (server.is_lite and not known.is_lite):
            names = ", ".join(n for n, a in ALGORITHMS.items() if a.is_lite or not server.is_lite)
            raise InputError(f"algorithm is {algorithm!r}; it must be one of {names}")
        for name in parameters:
            if name not in known.defaults:
                raise InputError(f"{name} has no effect on {algorithm}", code="bad_parameter")
        self.server, self.collection, self.algorithm = server, collection, algorithm
        self.parameters = dict(known.defaults) | parameters
        self.groups = dict(groups or {})
        self._rows = RowBlocks(dim)
        self._group_of = np.zeros(0, np.int16)  # by position; -1: the default partition
        self._known: tuple[int, Ids, Ids] | None = None
        if collection not in server.names():
            build = {name: self.parameters[name] for name in known.build}
            server.create(
                collection, dim=self.dim, algorithm=algorithm, parameters=build,
                partitions=list(self.groups),
            )  # fmt: skip

    @property
    def efforts(self) -> tuple[str, ...]:
        effort = ALGORITHMS[self.algorithm].effort
        return (effort,) if effort else ()

    def add_block(self, block: RowBlock, *, ids: Ids, is_there: bool = False) -> None:
        """Index rows that stay where they are; all or none are found afterwards.

        Args:
            block: unit rows once widened; checked by who wrote them; must not change.
            ids: int64 [block.n], none negative, none twice, none in use.
            is_there: the collection has them already; only the rows are taken note of.

        Raises:
            InputError: a rule above is broken.
            UnreachableError: the server does not answer.
        """
        check_new_ids(ids, n_vectors=block.n)
        with self._guard.change():
            self._check_open()
            self._check_unused(ids)
            self._append(block, ids=ids, is_there=is_there)
            self._table.append(ids)

    def settle(self, parameters: SearchParameters) -> None:
        """Make searches try this hard unless told otherwise.

        Raises:
            InputError: a parameter has no effect on this algorithm.
        """
        self._check_parameters(parameters)
        for name in self.efforts:
            value = getattr(parameters, name)
            if value is not None:
                self.parameters[name] = value

    def _add(self, vectors: Vectors, *, ids: Ids) -> None:
        self._append(ArrayBlock(vectors.copy()), ids=ids, is_there=False)

    def _append(self, block: RowBlock, *, ids: Ids, is_there: bool) -> None:
        groups = self._groups_of(ids)
        if not is_there and block.n:
            self._insert(block, ids=ids, groups=groups)
            self.server.settle(self.collection)
        self._rows.append(block)
        self._group_of = np.concatenate([self._group_of, groups])

    def _insert(self, block: RowBlock, *, ids: Ids, groups: Ids) -> None:
        for start in range(0, block.n, PIECE_ROWS):
            stop = min(start + PIECE_ROWS, block.n)
            rows, here = read_rows(block.slice(start, stop)), groups[start:stop]
            for group in np.unique(here).tolist():
                mine = here == group
                self.server.insert(
                    self.collection, rows[mine], ids=ids[start:stop][mine],
                    partition=self._partition(group),
                )  # fmt: skip

    def _groups_of(self, ids: Ids) -> Ids:
        found = np.full(len(ids), -1, np.int16)
        for number, members in enumerate(self.groups.values()):
            found[np.isin(ids, members)] = number
        return found

    def _partition(self, group: int) -> str:
        return "" if group < 0 else list(self.groups)[group]

    def _search(
        self, queries: Vectors, *, k: int, wanted: Mask | None, parameters: SearchParameters
    ) -> Neighbors:
        mask = self._table.live if wanted is None else wanted
        by = _MilvusNominator(self, mask, self._effort(parameters))
        if parameters.exact:
            return by.scan(queries, k=k)
        return search_filtered(queries, k=k, wanted=mask, by=by)

    def _effort(self, parameters: SearchParameters) -> dict[str, int]:
        algorithm = ALGORITHMS[self.algorithm]
        if not algorithm.effort:
            return {}
        value = getattr(parameters, algorithm.effort) or self.parameters[algorithm.effort]
        return {algorithm.effort_there: int(value)}

    def positions(self, ids: Ids) -> Ids:
        """Find the live positions of ids, -1 for those that are not alive here."""
        known = self._known
        if known is None or known[0] != self._table.version:
            live = np.flatnonzero(self._table.live)
            order = np.argsort(self._table.ids[live], kind="stable")
            known = (self._table.version, self._table.ids[live][order], live[order])
            self._known = known
        _, held, at = known
        if not held.size:
            return np.full(ids.shape, -1, np.int64)
        places = np.minimum(np.searchsorted(held, ids), len(held) - 1)
        return np.where(held[places] == ids, at[places], -1)

    def _close(self) -> None:
        self._rows, self._known = RowBlocks(self.dim), None


class _MilvusNominator(Nominator):
    """One search of a collection, among the wanted positions."""

    def __init__(self, ix: MilvusIndex, wanted: Mask, effort: dict[str, int]) -> None:
        self._ix, self._wanted, self._effort = ix, wanted, effort
        self._table: IdTable = ix._table
        n_in = np.bincount(ix._group_of + 1, minlength=len(ix.groups) + 1)
        n_wanted_in = np.bincount(ix._group_of[wanted] + 1, minlength=len(ix.groups) + 1)
        self._groups = np.flatnonzero(n_wanted_in)
        n_asked, n_wanted = int(n_in[self._groups].sum()), int(n_wanted_in.sum())
        self._share = n_wanted / max(1, n_asked)

    def n_candidates(self, k: int) -> int:
        return (k if self._share == 1 else int(_LIKELY * k / self._share)) + SPARE

    def rows_compared(self, n: int) -> float:
        if n > MOST_NEAREST:
            return float("inf")
        return _ROWS_PER_REQUEST + _ROWS_PER_CANDIDATE * n

    def nominate(self, queries: Vectors, n: int) -> Ids:
        ix = self._ix
        names = [ix._partition(group - 1) or "_default" for group in self._groups.tolist()]
        effort = {name: max(value, n) for name, value in self._effort.items() if name != "nprobe"}
        found = ix.server.nearest(
            ix.collection, queries, n=n, effort=self._effort | effort,
            partitions=names if len(names) <= len(ix.groups) else (),
        )  # fmt: skip
        return ix.positions(found)

    def decide(self, queries: Vectors, positions: Ids, *, k: int) -> Neighbors:
        order = np.argsort(positions < 0, axis=1, kind="stable")[:, : k + SPARE]
        kept = np.take_along_axis(positions, order, axis=1)
        scores = score_table(queries, np.maximum(kept, 0), rows=self._ix._rows.rows)
        scores[kept < 0] = -2  # below any cosine: k of a row at least are real
        return order_table(self._table.ids[np.maximum(kept, 0)], scores, k=k)

    def scan(self, queries: Vectors, *, k: int) -> Neighbors:
        return scan(self._blocks(), queries, k=k)

    def _blocks(self) -> Iterator[Block]:
        for rows, here in self._ix._rows.pieces():
            yield Block(rows, self._table.ids[here], wanted=self._wanted[here])
