"""Milvus behind the contract of `Index`: it nominates, and the rows of the segments decide.

A collection holds ids and vectors, and nothing that only it knows: it is built from the segments
and dropped like any derived file. What Milvus answers is looked up in the id table (rows of a
build that was broken off are unknown there), scored again from the rows, and ordered as everywhere.

A filter by group is a choice of partitions there. Others are told to Milvus where it was measured
to find with filters what it finds without (`pushes`): as an expression over the fields of its rows,
or as ids. Milvus Lite's graph does not: given 30 allowed ids of 3,000 it missed a fifth of the best
ten. There, more candidates are asked for (see `index.filtered`). Few allowed rows are compared
here, exactly, and whatever Milvus was told, what is allowed is looked at once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index.allowed import Allowed
from index.base import Index, check_new_ids
from index.errors import DamagedError, InputError
from index.filtered import SPARE, Nominator, search_filtered
from index.ids import IdTable
from index.remote_plan import ALGORITHMS
from index.remote_server import MOST_NEAREST, FieldKind, MilvusServer, Values
from index.row_blocks import PIECE_ROWS, ArrayBlock, RowBlock, RowBlocks
from index.rows import read_rows
from index.scan import Block, scan
from index.topk import order_table, score_table
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

Labels = npt.NDArray[np.int8]

_DEAD = np.int8(-2)  # in the place of a partition: not written

# What a request costs, in rows that could be compared here meanwhile.
_ROWS_PER_REQUEST = 20_000.0
_ROWS_PER_CANDIDATE = 10.0
_ROWS_PER_ID = 0.2  # of those that Milvus is told
_MOST_IDS = 100_000  # in one request; 1 MB of text
_MOST_KEPT = 64  # masks that were counted; as many as a generation keeps filters
_LIKELY = 1.5  # times the candidates that would hold k wanted ones on average


class MilvusIndex(Index):
    """Search in a collection of Milvus.

    Args:
        dim: length of a vector.
        server: where the collection is.
        collection: its name; made where there is none.
        partitions: names of what Milvus keeps apart, so that a filter by them costs nothing there.
        fields: of its rows, which `Allowed.expression` may name.
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
        fields: Mapping[str, FieldKind] | None = None,
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
        self.partitions, self.fields = tuple(partitions), dict(fields or {})
        self.pushes = not known.effort  # exact search is exact among any rows
        self._rows = RowBlocks(dim)
        self._labels = np.zeros(0, np.int8)  # by position: number of its partition, -1 for none
        self._known: tuple[int, Ids, Ids] | None = None
        self._shares: dict[int, _Share] = {}
        if collection not in server.names():
            if is_there:
                raise DamagedError(f"Milvus at {server.address} has no collection {collection}")
            build = {name: self.parameters[name] for name in known.build}
            server.create(
                collection, dim=self.dim, algorithm=algorithm, parameters=build,
                partitions=self.partitions, fields=self.fields,
            )  # fmt: skip

    @property
    def efforts(self) -> tuple[str, ...]:
        effort = ALGORITHMS[self.algorithm].effort
        return (effort,) if effort else ()

    def add_block(
        self,
        block: RowBlock,
        *,
        ids: Ids,
        labels: Labels | None = None,
        values: Values | None = None,
        live: Mask | None = None,
        is_there: bool = False,
    ) -> None:
        """Index rows that stay where they are; all or none are found afterwards.

        Args:
            block: unit rows once widened; checked by who wrote them; must not change.
            ids: int64 [block.n], none negative, none twice, none in use.
            labels: int8 [block.n], number of each one's partition, -1 for none; None: none has one.
            values: what each row has in every field.
            live: bool [block.n]; the others take their positions, and are not written.
            is_there: the collection has them already; only the rows are taken note of.

        Raises:
            InputError: a rule above is broken.
            UnreachableError: the server does not answer.
        """
        check_new_ids(ids, n_vectors=block.n)
        with self._guard.change():
            self._check_open()
            self._check_unused(ids)
            self._append(
                block, ids=ids, labels=labels, values=values or {}, live=live, is_there=is_there
            )
            self._table.append(ids)
            if live is not None:
                self._table.remove(ids[~live])

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
        block = ArrayBlock(vectors.copy())
        self._append(block, ids=ids, labels=None, values={}, live=None, is_there=False)

    def _append(
        self,
        block: RowBlock,
        *,
        ids: Ids,
        labels: Labels | None,
        values: Values,
        live: Mask | None,
        is_there: bool,
    ) -> None:
        labels = np.full(block.n, -1, np.int8) if labels is None else labels
        if values.keys() != self.fields.keys() and not is_there:
            raise InputError(f"rows of {self.collection} have the fields {list(self.fields)}")
        if not is_there and block.n:
            written = np.ones(block.n, np.bool_) if live is None else live
            self._insert(block, ids=ids, labels=np.where(written, labels, _DEAD), values=values)
            self.server.settle(self.collection)
        self._rows.append(block)
        self._labels = np.concatenate([self._labels, labels])

    def _insert(self, block: RowBlock, *, ids: Ids, labels: Labels, values: Values) -> None:
        for start in range(0, block.n, PIECE_ROWS):
            here = slice(start, min(start + PIECE_ROWS, block.n))
            rows = read_rows(block.slice(here.start, here.stop))
            for label in np.unique(labels[here][labels[here] != _DEAD]).tolist():
                mine = np.flatnonzero(labels[here] == label)
                at = (start + mine).tolist()
                self.server.insert(
                    self.collection, rows[mine], ids=ids[here][mine],
                    partition="" if label < 0 else self.partitions[label],
                    values={name: [column[p] for p in at] for name, column in values.items()},
                )  # fmt: skip

    def _search(
        self, queries: Vectors, *, k: int, wanted: Mask | None, parameters: SearchParameters
    ) -> Neighbors:
        return self._search_among(queries, k=k, wanted=wanted, parameters=parameters, expression="")

    def _search_among(
        self,
        queries: Vectors,
        *,
        k: int,
        wanted: Mask | None,
        parameters: SearchParameters,
        expression: str,
    ) -> Neighbors:
        by = _MilvusNominator(
            self, self._share(wanted), self._effort(parameters),
            expression=expression if self.pushes else "",
        )  # fmt: skip
        if parameters.exact:
            return by.scan(queries, k=k)
        mask = self._table.live if wanted is None else wanted
        return search_filtered(queries, k=k, wanted=mask, by=by)

    def search_told(self, queries: Vectors, *, k: int, among: Ids, expression: str) -> Neighbors:
        """Find the nearest of some ids as Milvus alone filters, whatever `pushes` says.

        Args:
            queries: float32 [Q, D], unit length.
            k: at most as many as there are ids.
            among: int64 [A], ids that are alive here.
            expression: the same set, in Milvus's words.

        Returns:
            Neighbors [Q, k]; a place for which Milvus found nothing scores -2.
        """
        with self._guard.use():
            wanted = Allowed(among).over(self._table)[0]
            effort = self._effort(SearchParameters())
            by = _MilvusNominator(self, self._share(wanted), effort, expression=expression)
            return by.decide(queries, by.nominate(queries, k + SPARE), k=k)

    def _effort(self, parameters: SearchParameters) -> dict[str, int]:
        algorithm = ALGORITHMS[self.algorithm]
        if not algorithm.effort:
            return {}
        value = getattr(parameters, algorithm.effort) or self.parameters[algorithm.effort]
        return {algorithm.effort_there: int(value), **algorithm.search_always}

    def _share(self, wanted: Mask | None) -> _Share:
        """Count where the wanted rows lie; kept for the next search with the same mask."""
        table, key = self._table, 0 if wanted is None else id(wanted)
        known = self._shares.get(key)
        if known is not None and known.is_of(wanted, table):
            return known
        mask = table.live if wanted is None else wanted
        n_in = np.bincount(self._labels + 1, minlength=1 + len(self.partitions))
        n_wanted_in = np.bincount(self._labels[mask] + 1, minlength=len(n_in))
        asked, n_wanted = np.flatnonzero(n_wanted_in), int(n_wanted_in.sum())
        is_all = n_wanted == table.n_positions
        share = 1.0 if is_all else n_wanted / max(1, int(n_in[asked].sum()))
        names = [] if is_all else [("_default", *self.partitions)[n] for n in asked.tolist()]
        if len(self._shares) >= _MOST_KEPT:
            self._shares = {}
        known = _Share(wanted, table, table.version, n_wanted, share, names)
        self._shares[key] = known
        return known

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
        self._rows, self._known, self._shares = RowBlocks(self.dim), None, {}


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """Where the wanted rows of a table lie.

    Attributes:
        wanted, table, version: what was counted.
        n_wanted: how many.
        share: of the rows of the partitions that hold some.
        partitions: names of these; empty for all.
    """

    wanted: Mask | None
    table: IdTable
    version: int
    n_wanted: int
    share: float
    partitions: list[str]

    def is_of(self, wanted: Mask | None, table: IdTable) -> bool:
        return self.wanted is wanted and self.table is table and self.version == table.version


class _MilvusNominator(Nominator):
    """One search of a collection, among the wanted positions.

    `expression` lets through all wanted rows, and perhaps others; empty: it lets all through.
    """

    def __init__(
        self, ix: MilvusIndex, share: _Share, effort: dict[str, int], *, expression: str
    ) -> None:
        self._ix, self._share, self._effort = ix, share, effort
        self._table: IdTable = ix._table
        self._wanted = ix._table.live if share.wanted is None else share.wanted
        self._expression, self._n_told = expression, 0

    def n_candidates(self, k: int) -> int:
        share = self._share
        if share.share == 1 or self._expression:
            return k + SPARE
        n = int(_LIKELY * k / share.share) + SPARE
        if n <= MOST_NEAREST or share.n_wanted > _MOST_IDS or not self._ix.pushes:
            return n
        ids = ",".join(map(str, self._table.ids[self._wanted].tolist()))
        self._expression, self._n_told = f"id in [{ids}]", share.n_wanted
        return k + SPARE

    def rows_compared(self, n: int) -> float:
        if n > MOST_NEAREST:
            return float("inf")
        return _ROWS_PER_REQUEST + _ROWS_PER_CANDIDATE * n + _ROWS_PER_ID * self._n_told

    def nominate(self, queries: Vectors, n: int) -> Ids:
        ix = self._ix
        as_many = {name for name in self._effort if name not in ("nprobe", "refine_k")}
        effort = {name: max(self._effort[name], n) for name in as_many}
        found = ix.server.nearest(
            ix.collection, queries, n=n, effort=self._effort | effort,
            partitions=self._share.partitions, expression=self._expression,
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
