"""faiss behind the contract of `Index`: what faiss answers is checked, scored again and ordered.

Position -1 ("nothing more"), unordered ties and results cut short by removed vectors are faiss's;
none of them leaves this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from index.base import Index, check_new_ids
from index.checks import check_ids, check_unique, check_vectors
from index.coded import SPARE, CodedKind, drop_dead
from index.errors import InputError
from index.faiss_filtered import FaissNominator
from index.faiss_kinds import Core, FaissKind, TrainedKind, Value
from index.faiss_plain import IvfKind
from index.filtered import search_filtered
from index.kinds import KINDS
from index.mapped_lists import MappedLists
from index.row_blocks import RowBlock
from index.scan import Block, scan
from index.topk import Candidates, Scores, best_of_table, pair_scores, slack
from index.types import Ids, Mask, Neighbors, SearchParameters, Vectors

RESCORED_ROWS = 1_024


class FaissIndex(Index):
    """Search with faiss on the CPU.

    Removed vectors are marked, not erased: HNSW cannot erase, and erasing from a flat index moves
    every vector behind it (70 ms each at 100,000). Build a new index when many are gone.

    Args:
        dim: length of a vector.
        kind: `flat` (exact), `hnsw` (graph), `ivf` (lists), `fastscan` (4-bit codes, all of them
            compared, the best scored again), `ivf_fastscan`, `ivf_rabitq` (such codes in lists),
            `cagra` (a graph from a GPU) or `factory` (what faiss makes of a string). All but flat
            and graphs learn from their first
            vectors unless `train` is called before.
        parameters: of the kind. flat, hnsw, ivf: dtype (float32 or float16). hnsw: m,
            ef_construction, ef_search. ivf: n_lists, n_probes, seed. Kinds of codes: rows (where
            the vectors stand that decide: float32 or float16 in memory, or mapped), k_factor,
            n_train; fastscan: m (codes; 0: dim / 2); ivf_*: n_lists, n_probes, seed; ivf_rabitq:
            n_bits; factory: factory, n_probes, ef_search, seed.

    Raises:
        InputError: an unknown kind, or a parameter unknown to the kind or outside its limits.
        BackendMissingError: faiss is not installed.

    Example:
        >>> graph = FaissIndex(3, kind="hnsw", m=16)
        >>> graph.add(np.eye(3, dtype=np.float32), ids=np.array([10, 11, 12]))
        >>> graph.search(np.eye(3, dtype=np.float32)[:1], k=1).ids.tolist()
        [[10]]
    """

    def __init__(self, dim: int, *, kind: str = "flat", **parameters: Value) -> None:
        super().__init__(dim)
        if kind not in KINDS:
            raise InputError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
        self.kind = kind
        self._back: FaissKind = KINDS[kind](self.dim, given=parameters)
        self._live_selector: object = None

    @property
    def parameters(self) -> Mapping[str, Value]:
        """Every parameter of the kind, defaults filled in."""
        return dict(self._back.parameters)

    @property
    def factory(self) -> str:
        """The index in faiss's own words."""
        return self._back.factory()

    @property
    def outside(self) -> tuple[RowBlock, ...]:
        """The blocks whose rows decide, where they stand outside of faiss."""
        return tuple(self._back.outside) if isinstance(self._back, CodedKind) else ()

    @property
    def efforts(self) -> tuple[str, ...]:
        return self._back.efforts()

    @property
    def is_trained(self) -> bool:
        """Tell whether lists and codes were learnt; `flat` and `hnsw` need none."""
        return self._back.is_trained

    @property
    def n_least(self) -> int:
        """Count the vectors without which training is impossible; 0 where none is needed."""
        return self._back.n_least if isinstance(self._back, TrainedKind) else 0

    @property
    def n_enough(self) -> int:
        """Count the vectors that training should see; 0 where none is needed."""
        return self._back.n_enough if isinstance(self._back, TrainedKind) else 0

    @property
    def takes_blocks(self) -> bool:
        """Tell whether `add_block` may be called: the vectors stand outside of faiss."""
        return isinstance(self._back, CodedKind) and self._back.is_mapped

    def train(self, vectors: Vectors) -> None:
        """Learn lists and codes from a sample, before or while the index fills.

        Args:
            vectors: float32 [N, D], unit length; a random sample, at least n_lists of them, and 16.

        Raises:
            InputError: the kind needs no training, is trained, or the sample is too small.
        """
        check_vectors(vectors, dim=self.dim, what="vectors")
        back = self._back
        if not isinstance(back, TrainedKind):
            raise InputError(f"an index of kind {self.kind} is not trained", code="bad_parameter")
        if len(vectors) < back.n_least:
            raise InputError(
                f"{len(vectors)} vectors cannot train {back.factory()}; "
                f"give at least {back.n_least}",
                code="too_few_to_train",
            )
        with self._guard.change():
            self._check_open()
            if back.is_trained:
                raise InputError("this index is trained; make a new one", code="trained")
            back.train(vectors)

    def settle(self, parameters: SearchParameters) -> None:
        """Make searches try this hard unless told otherwise; saved with the index.

        Args:
            parameters: what `tune` found; what is None stays as it is.

        Raises:
            InputError: a parameter has no effect on this kind.
        """
        self._check_parameters(parameters)
        with self._guard.change():
            self._check_open()
            for name in ("ef_search", "n_probes", "k_factor"):
                value = getattr(parameters, name)
                if value is not None:
                    self._back.parameters[name] = value

    @contextmanager
    def frozen(self) -> Iterator[tuple[Core, Ids, Mask]]:
        """Hold still for saving: yields the faiss object, the id and the life of each position.

        Raises:
            InputError: the index has not met enough vectors to be trained.
        """
        with self._guard.use():
            self._check_open()
            if not self._back.is_trained:
                raise InputError(
                    f"this {self.kind} index has {len(self)} vectors, too few to train "
                    f"{self._back.factory()}; choose fewer lists or kind flat",
                    code="too_few_to_train",
                )
            yield self._back.core, self._table.ids, self._table.live

    @classmethod
    def revived(
        cls,
        core: Core,
        *,
        dim: int,
        kind: str,
        parameters: Mapping[str, Value],
        ids: Ids,
        live: Mask,
        outside: Sequence[RowBlock] = (),
    ) -> FaissIndex:
        """Rebuild from what `frozen` and `outside` gave.

        Raises:
            InputError: the parts do not fit together.
        """
        ix = cls(dim, kind=kind, **parameters)
        ix._back.adopt(core)
        if isinstance(ix._back, CodedKind):
            for block in outside:
                ix._back.outside.append(block)
        n_outside = sum(block.n for block in ix.outside)
        if core.ntotal != len(ids) or n_outside not in (0, core.ntotal):
            raise InputError(
                f"faiss holds {core.ntotal} vectors for {len(ids)} ids and {n_outside} rows"
            )
        held = check_ids(ids[live])
        if not (held[1:] > held[:-1]).all():  # as a build leaves them
            check_unique(held)
        ix._table.restore(ids, live)
        return ix

    def add_block(self, block: RowBlock, *, ids: Ids) -> None:
        """Index rows that stay where they are, for codes whose `rows` are `mapped`.

        Args:
            block: unit rows once widened; checked by who wrote them; must not change.
            ids: int64 [block.n], none negative, none twice, none in use.

        Raises:
            InputError: a rule above is broken, the index is not trained, or keeps its own rows.
        """
        check_new_ids(ids, n_vectors=block.n)
        back = self._back
        if not isinstance(back, CodedKind) or not back.is_mapped or block.dim != self.dim:
            raise InputError(
                f"an index of kind {self.kind} and dim {self.dim} takes no rows of dim {block.dim} "
                "from outside; make it with rows='mapped', or use add",
                code="bad_parameter",
            )
        with self._guard.change():
            self._check_open()
            if not back.is_trained:
                raise InputError("train this index before blocks are added", code="untrained")
            self._check_unused(ids)
            back.add_block(block)
            self._table.append(ids)
            self._live_selector = None

    def map_lists(self, lists: MappedLists) -> None:
        """Prove the lists of a mapped file before their first use; for `index.derived`."""
        if isinstance(self._back, IvfKind):
            self._back.lists = lists

    def needed(
        self, effort: str, queries: Vectors, *, truth: Neighbors, k: int, given: SearchParameters
    ) -> Ids | None:
        """Tell the least value of an effort with which each true answer is found; see `tune`.

        Args:
            effort: one of `efforts`.
            queries: float32 [Q, D], unit length.
            truth: the exact answers, at least k columns.
            k: how many of them count.
            given: the other efforts.

        Returns:
            int64 [Q, k], `UNREACHED` where no value does; None where only searching can tell.
        """
        with self._guard.use():
            if not self._back.is_trained:
                return None
            order = np.argsort(self._table.ids, kind="stable")
            wanted = truth.ids[:, :k]
            at = np.searchsorted(self._table.ids, wanted, sorter=order)
            positions = order[np.minimum(at, len(order) - 1)]
            there = np.arange(k) < np.minimum(truth.counts, k)[:, None]
            known = there & (self._table.ids[positions] == wanted) & self._table.live[positions]
            positions = np.where(known, positions, -1)
            return self._back.needed(effort, queries, positions, k=k, given=given)

    def sample(self, n: int) -> tuple[Ids, Vectors]:
        """Pick up to n live vectors, evenly spread over the positions.

        Returns:
            Their ids, int64 [S], and the vectors, float32 [S, D].
        """
        with self._guard.use():
            live = np.flatnonzero(self._table.live)
            picked = live[np.linspace(0, len(live) - 1, min(n, len(live))).astype(int)]
            return self._table.ids[picked], self._back.rows(picked)

    def move(self, to: Callable[[FaissKind], FaissKind]) -> None:
        """Let another back end of the same rows search in place of this one's; see `index.gpu`."""
        with self._guard.change():
            self._check_open()
            self._back = to(self._back)

    def _add(self, vectors: Vectors, *, ids: Ids) -> None:  # noqa: ARG002
        self._back.add(vectors)
        self._live_selector = None

    def _removed(self) -> None:
        self._live_selector = None

    def _close(self) -> None:
        self._back = KINDS[self.kind](self.dim, given=self._back.parameters)

    def _search(
        self, queries: Vectors, *, k: int, wanted: Mask | None, parameters: SearchParameters
    ) -> Neighbors:
        back, n_live = self._back, self._table.n_live
        unready = not back.is_trained or back.scans(len(queries))
        if parameters.exact or unready:
            return self._scan(queries, k=k, wanted=wanted)
        if wanted is not None:
            by = FaissNominator(
                back,
                table=self._table,
                wanted=wanted,
                parameters=parameters,
                best=self._best,
            )
            return search_filtered(queries, k=k, wanted=wanted, by=by)
        n_fetched, positions, scores = self._nearest(queries, k=k, parameters=parameters)
        found = self._best(queries, positions, k)
        if not back.is_exact and found.counts.tolist().count(k) == len(queries):
            return found
        doubtful = found.counts < k
        if back.is_exact and n_fetched < n_live:
            floor = np.minimum(found.scores[:, -1], 1) - slack(self.dim) - back.error
            doubtful |= scores[:, -1] >= floor
        if doubtful.any():
            _replace(found, at=doubtful, by=self._scan(queries[doubtful], k=k, wanted=None))
        return found

    def _nearest(
        self, queries: Vectors, *, k: int, parameters: SearchParameters
    ) -> tuple[int, Ids, Scores]:
        """Ask faiss; give how many were asked for, who can be among the best k, and all scores."""
        back, n, n_live = self._back, self._table.n_positions, self._table.n_live
        # An exact kind fetches some more, to see whether the k-th best has a tie outside.
        more = max(32 if back.error else 8, k // 2) if back.is_exact else 0
        n_asked = min(k + more, n_live)
        selector = self._selector() if back.takes_selector else None
        some_dead = n != n_live and not back.takes_selector
        if some_dead:  # as many more as are likely to be dead, and of candidates no more than that
            n_asked = min(n, -(-n_asked * n // n_live) + SPARE)
            if "k_factor" in back.efforts():
                k_factor = parameters.k_factor or back.number("k_factor")
                share = k * n / n_live / n_asked
                parameters = replace(parameters, k_factor=max(1, math.ceil(k_factor * share)))
        scores, positions = back.nearest(
            queries, k=n_asked, selector=selector, parameters=parameters
        )
        near = drop_dead(positions, scores, self._table.live) if some_dead else (positions, scores)
        if n_asked == k:
            return n_asked, near[0], scores
        n_near = _n_contenders(near[1], k=k, error=slack(self.dim) + 2 * back.error)
        return n_asked, near[0][:, :n_near], scores

    def _best(self, queries: Vectors, positions: Ids, k: int) -> Neighbors:
        if positions.shape[1] >= k and not _some_missing(positions):
            ids, rows = self._table.ids[positions], self._back.rows
            return best_of_table(queries, positions, ids=ids, rows=rows, k=k)
        return self._rescored(queries, positions).to_neighbors(n_queries=len(queries), k=k)

    def _rescored(self, queries: Vectors, positions: Ids) -> Candidates:
        at_query, at_column = np.nonzero(positions >= 0)
        there = positions[at_query, at_column]
        scores = np.empty(len(there), np.float32)
        for start in range(0, len(there), RESCORED_ROWS):  # rows are copied: not all at once
            here = slice(start, start + RESCORED_ROWS)
            rows = self._back.rows(there[here])
            places = np.arange(len(rows))
            scores[here] = pair_scores(queries, rows, at_query=at_query[here], at_row=places)
        return Candidates(at_query, self._table.ids[there], scores)

    def _scan(self, queries: Vectors, *, k: int, wanted: Mask | None) -> Neighbors:
        return scan(self._blocks(self._table.live if wanted is None else wanted), queries, k=k)

    def _blocks(self, wanted: Mask) -> Iterator[Block]:
        for rows, positions in self._back.pieces():
            yield Block(rows, self._table.ids[positions], wanted=wanted[positions])

    def _selector(self) -> object:
        """Name the live positions to faiss; None while nothing was removed."""
        if self._table.n_live == self._table.n_positions:
            return None
        selector = self._live_selector
        if selector is None:  # two threads may both make one; they are equal
            bits = np.packbits(self._table.live, bitorder="little")
            selector = self._live_selector = self._back.faiss.IDSelectorBitmap(bits)
        return selector


def _some_missing(positions: Ids) -> bool:
    """Tell whether there is a -1."""
    if len(positions) == 1:  # a list is sooner at hand than an array of truths
        row: list[int] = positions[0].tolist()
        return min(row) < 0
    return bool(np.count_nonzero(positions < 0))


def _n_contenders(scores: Scores, *, k: int, error: float) -> int:
    """Count the columns, best first, that hold all who can be among the best k of their row."""
    n = int(scores.shape[1])
    if n <= k:
        return n
    if len(scores) == 1:
        row: list[float] = scores[0].tolist()
        return next((at for at in range(k, n) if row[at] < row[k - 1] - error), n)
    near = scores[:, k:] >= scores[:, k - 1 : k] - np.float32(error)
    return k + int(near.sum(axis=1).max())


def _replace(found: Neighbors, *, at: Mask, by: Neighbors) -> None:
    found.ids[at], found.scores[at], found.counts[at] = by.ids, by.scores, by.counts
