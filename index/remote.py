"""Milvus behind the contract of `Index`: it nominates, and the rows of the segments decide.

A collection holds ids and vectors, and nothing that only it knows: it is built from the segments
and dropped like any derived file. What Milvus answers is looked up in the id table (rows of a
build that was broken off are unknown there), scored again from the rows, and ordered as everywhere.

A filter by group is a choice of partitions there. Of other filters Milvus is told nothing: its
graph, given 30 allowed ids of 3,000, missed a fifth of the best ten. Few allowed rows are compared
here, exactly; for many, more candidates are asked for (see `index.filtered`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from index.base import Index, check_new_ids
from index.errors import DamagedError, InputError
from index.filtered import SPARE, Nominator, search_filtered
from index.ids import IdTable
from index.remote_plan import ALGORITHMS
from index.remote_server import MOST_NEAREST, MilvusServer
from index.row_blocks import PIECE_ROWS, ArrayBlock, RowBlock, RowBlocks
from index.rows import read_rows
from index.scan import Block, scan
from index.topk import order_table, score_table
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

Labels = npt.NDArray[np.int8]

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
        partitions: names of what Milvus keeps apart, so that a filter by them costs nothing there.
        algorithm: one of `ALGORITHMS`.
        is_there: the collection was made before, and must be there.
        parameters: of the algorithm; the defaults where left out.

    Raises:
        InputError: an unknown algorithm or parameter, or one that Milvus Lite does not know.
        DamagedError: the collection that should be there is gone.
        UnreachableError: the server does not answer.
    """

    kind = "milvus"

    def __init__(
        self,
        dim: int,
        *,
        server: MilvusServer,
        collection: str,
        partitions: Sequence[str] = (),
        algorithm: str = "HNSW",
        is_there: bool = False,
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
        self.partitions = tuple(partitions)
        self._rows = RowBlocks(dim)
        self._labels = np.zeros(0, np.int8)  # by position: number of its partition, -1 for none
        self._known: tuple[int, Ids, Ids] | None = None
        if collection not in server.names():
            if is_there:
                raise DamagedError(f"Milvus at {server.address} has no collection {collection}")
            build = {name: self.parameters[name] for name in known.build}
            server.create(
                collection, dim=self.dim, algorithm=algorithm, parameters=build,
                partitions=self.partitions,
            )  # fmt: skip

    @property
    def efforts(self) -> tuple[str, ...]:
        effort = ALGORITHMS[self.algorithm].effort
        return (effort,) if effort else ()

    def add_block(
        self, block: RowBlock, *, ids: Ids, labels: Labels | None = None, is_there: bool = False
    ) -> None:
        """Index rows that stay where they are; all or none are found afterwards.

        Args:
            block: unit rows once widened; checked by who wrote them; must not change.
            ids: int64 [block.n], none negative, none twice, none in use.
            labels: int8 [block.n], number of each one's partition, -1 for none; None: none has one.
            is_there: the collection has them already; only the rows are taken note of.

        Raises:
            InputError: a rule above is broken.
            UnreachableError: the server does not answer.
        """
        check_new_ids(ids, n_vectors=block.n)
        with self._guard.change():
            self._check_open()
            self._check_unused(ids)
            self._append(block, ids=ids, labels=labels, is_there=is_there)
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
        self._append(ArrayBlock(vectors.copy()), ids=ids, labels=None, is_there=False)

    def _append(self, block: RowBlock, *, ids: Ids, labels: Labels | None, is_there: bool) -> None:
        labels = np.full(block.n, -1, np.int8) if labels is None else labels
        if not is_there and block.n:
            self._insert(block, ids=ids, labels=labels)
            self.server.settle(self.collection)
        self._rows.append(block)
        self._labels = np.concatenate([self._labels, labels])

    def _insert(self, block: RowBlock, *, ids: Ids, labels: Labels) -> None:
        for start in range(0, block.n, PIECE_ROWS):
            here = slice(start, min(start + PIECE_ROWS, block.n))
            rows = read_rows(block.slice(here.start, here.stop))
            for label in np.unique(labels[here]).tolist():
                mine = labels[here] == label
                partition = "" if label < 0 else self.partitions[label]
                self.server.insert(
                    self.collection, rows[mine], ids=ids[here][mine], partition=partition
                )

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
        self._share, self._partitions = 1.0, list[str]()
        if ix._table.n_live == ix._table.n_positions == np.count_nonzero(wanted):
            return
        n_partitions = 1 + len(ix.partitions)
        n_wanted_in = np.bincount(ix._labels[wanted] + 1, minlength=n_partitions)
        n_in = np.bincount(ix._labels + 1, minlength=n_partitions)
        asked = np.flatnonzero(n_wanted_in)
        self._share = int(n_wanted_in.sum()) / int(n_in[asked].sum())
        names = ("_default", *ix.partitions)
        self._partitions = [names[number] for number in asked.tolist()]

    def n_candidates(self, k: int) -> int:
        return (k if self._share == 1 else int(_LIKELY * k / self._share)) + SPARE

    def rows_compared(self, n: int) -> float:
        if n > MOST_NEAREST:
            return float("inf")
        return _ROWS_PER_REQUEST + _ROWS_PER_CANDIDATE * n

    def nominate(self, queries: Vectors, n: int) -> Ids:
        ix = self._ix
        effort = {name: max(value, n) for name, value in self._effort.items() if name != "nprobe"}
        found = ix.server.nearest(
            ix.collection, queries, n=n, effort=self._effort | effort,
            partitions=self._partitions,
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
