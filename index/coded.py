"""Kinds that compare codes and score the best candidates again with the vectors themselves.

The vectors stand beside the codes: inside faiss in float32 or float16, where it scores them again,
or outside in float16 blocks that may be mapped from segments, so that memory holds little more
than the codes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

import numpy as np

from index.errors import InputError
from index.faiss_kinds import HALF_ERROR, UNREACHED, Core, Limits, TrainedKind, Value
from index.needed import candidates_needed
from index.row_blocks import ArrayBlock, RowBlock, RowBlocks
from index.rows import StoredRows, read_rows
from index.topk import Scores
from index.types import Ids, Mask, SearchParameters, Vectors

SPARE = 8  # answers beyond k that are scored once more, for the order at the last place


class CodedKind(TrainedKind):
    """Codes that nominate and vectors that decide; a back end writes `_new_codes`.

    FastScan takes no selector: removed rows are fetched, dropped, and made up for by fetching
    more. Where that does not suffice `FaissIndex` scans.
    """

    takes_selector = False
    limits: ClassVar[Limits] = {
        "k_factor": (16, 1, 10_000),
        "rows": ("float32", "float16", "mapped"),
    }

    def __init__(self, dim: int, *, given: Mapping[str, Value]) -> None:
        self.outside = RowBlocks(dim)
        super().__init__(dim, given=given)

    @property
    def is_mapped(self) -> bool:
        """Tell whether the vectors stand outside of faiss."""
        return self.parameters["rows"] == "mapped"

    @property
    def error(self) -> float:
        return HALF_ERROR if self.parameters["rows"] == "float16" else 0.0

    def factory(self) -> str:
        refine = {"float32": ",RFlat", "float16": ",Refine(SQfp16)", "mapped": ""}
        return f"{self._codes_factory()}{refine[str(self.parameters['rows'])]}"

    def efforts(self) -> tuple[str, ...]:
        return ("k_factor",)

    @abstractmethod
    def _codes_factory(self) -> str: ...

    @abstractmethod
    def _new_codes(self) -> Core: ...

    def _hasten(self, codes: Core) -> None:  # most kinds leave it to faiss
        """Set how faiss compares codes, which changes no answer but by chance among equals."""

    def _rotated(self, codes: Core) -> Core:
        """Turn vectors at random before they are coded, so that each code gets its share.

        Where a few directions hold most of what differs, as they do in embeddings, codes of
        unturned vectors spend most bits on the rest: at 50,000 x 512 texts find 0.57 with four
        candidates an answer, turned 0.94 (`python -m benchmarks.goal 5`).
        """
        turned = self.faiss.RandomRotationMatrix(self.dim, self.dim)
        turned.init(_ROTATION_SEED)
        return self.faiss.IndexPreTransform(turned, codes)

    def _new_core(self) -> Core:
        codes = self._new_codes()
        self._hasten(codes)
        if self.is_mapped:
            return codes
        faiss = self.faiss
        if self.parameters["rows"] == "float32":
            refined = faiss.IndexRefineFlat(codes)
        else:
            half, inner_product = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            stored = faiss.IndexScalarQuantizer(self.dim, half, inner_product)
            refined = faiss.IndexRefine(codes, stored)
        refined.is_trained = bool(codes.is_trained)
        return refined

    def adopt(self, core: Core) -> None:
        super().adopt(core)
        mine, its = self._codes, self._codes_of(core)
        if not core.is_trained or self._codes_signature(mine) != self._codes_signature(its):
            raise InputError(f"faiss read {self._codes_signature(its)}: not {self.factory()}")
        if not self.is_mapped and not its.ntotal == core.refine_index.ntotal == core.ntotal:
            raise InputError(f"faiss read {its.ntotal} codes for {core.ntotal} vectors")
        self._hasten(its)

    def _codes_signature(self, codes: Core) -> tuple[object, ...]:
        return (type(codes).__name__,)

    def add(self, vectors: Vectors) -> None:
        if not self.is_mapped:
            super().add(vectors)
        elif self.is_trained:
            self.add_block(ArrayBlock(vectors.astype(np.float16)))
        else:  # kept as it will be kept; what waits is scanned as it will be scored
            super().add(read_rows(vectors.astype(np.float16)))

    def add_block(self, block: RowBlock) -> None:
        """Append the rows of a block that stays where it is."""
        for start in range(0, block.n, _ADDED_AT_ONCE):
            self.core.add(read_rows(block.slice(start, min(start + _ADDED_AT_ONCE, block.n))))
        self.outside.append(block)

    def train(self, vectors: Vectors) -> None:
        if not self.is_mapped:
            super().train(vectors)
            return
        waiting, self._waiting = self._waiting, []
        super().train(vectors)
        for rows in waiting:
            self.add_block(ArrayBlock(rows.astype(np.float16)))

    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        del selector
        n = self.core.ntotal
        k_factor = parameters.k_factor or self.number("k_factor")
        n_candidates = min(n, max(k * k_factor, k + SPARE))
        n_scored = min(n_candidates, k + SPARE)
        if self.is_mapped:
            base = self._kept_base(parameters)
            _, positions = self._ask(self.core, queries, k=n_candidates, asked=base)
            return self._best(queries, positions, n_scored)

        def refining() -> object:
            return self.faiss.IndexRefineSearchParameters(
                k_factor=n_candidates / n_scored, base_index_params=self._base(parameters)
            )

        asked = self._asking((n_candidates, n_scored, *self._effort(parameters)), refining)
        return self._ask(self.core, queries, k=n_scored, asked=asked)

    def _kept_base(self, parameters: SearchParameters) -> object:
        return self._asking(self._effort(parameters), lambda: self._base(parameters))

    def _effort(self, parameters: SearchParameters) -> tuple[int, int]:
        """What `_base` depends on."""
        mine = self.parameters
        return (
            parameters.n_probes or int(mine.get("n_probes", 0)),
            parameters.ef_search or int(mine.get("ef_search", 0)),
        )

    def nominate(self, queries: Vectors, *, n: int, parameters: SearchParameters) -> Ids:
        """Find the nearest n positions [Q, n] as the codes alone see it, -1 beyond the last."""
        base = self._kept_base(parameters)
        codes = self._codes
        return self._ask(codes, queries, k=min(n, codes.ntotal), asked=base)[1]

    def flat_core(self) -> Core | None:
        stored = None if self.is_mapped or not self.is_trained else self._stored
        return stored if self.parameters["rows"] == "float32" else None

    def needed(
        self, effort: str, queries: Vectors, positions: Ids, *, k: int, given: SearchParameters
    ) -> Ids | None:
        if effort != "k_factor":
            return None
        base = self._base(given)
        ranks = candidates_needed(self._codes, queries, positions, params=base)
        return np.where(ranks < UNREACHED, -(-ranks // k), UNREACHED)

    def _best(self, queries: Vectors, positions: Ids, n_kept: int) -> tuple[Scores, Ids]:
        """Score candidates in float32 and keep the best; the rest of the row is -1."""
        scores = np.full((len(queries), n_kept), -np.inf, np.float32)
        kept = np.full((len(queries), n_kept), -1, np.int64)
        for row, (query, near) in enumerate(zip(queries, positions, strict=True)):
            there = np.sort(near[near >= 0])  # in the order of the file
            of_there = self.outside.rows(there) @ query
            best = np.argsort(-of_there, kind="stable")[:n_kept]
            scores[row, : len(best)], kept[row, : len(best)] = of_there[best], there[best]
        return scores, kept

    def _base(self, parameters: SearchParameters) -> Any:  # Any: faiss's classes have no types
        """Say to faiss how to compare codes, which no selector is needed for or taken."""
        del parameters
        return None

    def _trained_rows(self, positions: Ids) -> Vectors:
        if self.is_mapped:
            return self.outside.rows(positions)
        stored = self._stored
        if self.parameters["rows"] == "float16":
            return self._half_rows(stored, positions)
        return self._view(stored).take(positions, axis=0)

    def _trained_pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        if self.is_mapped:
            yield from self.outside.pieces()
        else:
            yield self._stored_rows(), slice(0, self.core.ntotal)

    def _stored_rows(self) -> StoredRows:
        stored = self._stored
        half = self.parameters["rows"] == "float16"
        return self._half_view(stored) if half else cast(StoredRows, self._view(stored))

    def _codes_of(self, core: Core) -> Core:
        return core if self.is_mapped else self.faiss.downcast_index(core.base_index)

    @property
    def _codes(self) -> Core:
        return self.core if self.is_mapped else self._part("base_index")

    @property
    def _stored(self) -> Core:
        return self._part("refine_index")


_ADDED_AT_ONCE = 65_536
_ROTATION_SEED = 1_234


def drop_dead(positions: Ids, scores: Scores, live: Mask) -> tuple[Ids, Scores]:
    """Move removed vectors behind all others, as -1 with the lowest score.

    Args:
        positions: int64 [Q, K], best first, -1 for none.
        scores: float32 [Q, K].
        live: bool [N].

    Returns:
        Both, of the same shapes.

    Example:
        >>> scores = np.array([[0.9, 0.8, 0.7]], np.float32)
        >>> drop_dead(np.array([[1, 0, -1]]), scores, np.array([True, False]))[0].tolist()
        [[0, -1, -1]]
    """
    dead = (positions < 0) | ~live[positions]
    order = np.argsort(dead, axis=1, kind="stable")
    kept = np.where(dead, -1, positions), np.where(dead, np.float32(-np.inf), scores)
    return np.take_along_axis(kept[0], order, 1), np.take_along_axis(kept[1], order, 1)
