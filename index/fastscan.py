"""4-bit codes that are all compared in registers (FastScan), and the best scored again exactly.

Measured (PERFORMANCE 3.1): on a CLIP-like set of 100,000 x 512 two dimensions per code and 16
candidates per answer find 0.997 of what text queries look for, at 25 times the speed of comparing
every float; a graph of the same size stops at 0.66. Nothing is walked, so a query that lies far
from every stored vector loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from index.errors import InputError
from index.faiss_kinds import TRAIN_PER_LIST, Core, Limits, TrainedKind
from index.topk import Scores
from index.types import Ids, SearchParameters, Vectors

N_CODEWORDS = 16  # of 4 bits
SPARE = 8  # answers beyond k that are scored once more, for the order at the last place


class FastScanKind(TrainedKind):
    """Exhaustive 4-bit product quantisation with exact re-scoring: `PQ{m}x4fs,RFlat`.

    faiss takes no selector here: removed rows are fetched, dropped, and made up for by fetching
    more. Where that does not suffice `FaissIndex` scans.
    """

    name = "fastscan"
    limits: ClassVar[Limits] = {
        "m": (0, 0, 65_536),  # 0: two dimensions per code
        "k_factor": (16, 1, 10_000),
        "n_train": (N_CODEWORDS * 256, N_CODEWORDS, 1_000_000),
    }

    @property
    def n_least(self) -> int:
        return N_CODEWORDS

    @property
    def n_enough(self) -> int:
        return self.parameters["n_train"]

    def factory(self) -> str:
        return f"PQ{self.parameters['m']}x4fs,RFlat"

    def _settle(self, given: Mapping[str, int]) -> dict[str, int]:
        settled = super()._settle(given)
        settled["m"] = settled["m"] or (self.dim // 2 if self.dim % 2 == 0 else self.dim)
        if self.dim % settled["m"]:
            raise InputError(
                f"m is {settled['m']}; it must divide the dimension, {self.dim}",
                code="bad_parameter",
            )
        return settled

    def _new_core(self) -> Core:
        refined = self.faiss.IndexRefineFlat(self._new_codes())
        refined.is_trained = False
        return refined

    def _new_codes(self) -> Core:
        inner_product = self.faiss.METRIC_INNER_PRODUCT
        return self.faiss.IndexPQFastScan(self.dim, self.parameters["m"], 4, inner_product)

    def adopt(self, core: Core) -> None:
        super().adopt(core)
        mine, its = self._codes(self.core), self._codes(core)
        if not core.is_trained or (type(mine), mine.M) != (type(its), its.M):
            raise InputError(f"faiss read {type(its).__name__} of {its.M} codes: not {self.name}")
        if not its.ntotal == self._stored(core).ntotal == core.ntotal:
            raise InputError(f"faiss read {its.ntotal} codes for {core.ntotal} vectors")

    def nearest(
        self,
        queries: Vectors,
        *,
        k: int,
        selector: object,  # noqa: ARG002  # FastScan refuses it; `FaissIndex` drops the dead
        parameters: SearchParameters,
    ) -> tuple[Scores, Ids]:
        n = self.core.ntotal
        k_factor = parameters.k_factor or self.parameters["k_factor"]
        n_candidates = min(n, max(k * k_factor, k + SPARE))
        n_scored = min(n_candidates, k + SPARE)
        found: tuple[Scores, Ids] = self.core.search(
            queries,
            n_scored,
            params=self.faiss.IndexRefineSearchParameters(
                k_factor=n_candidates / n_scored, base_index_params=self._base(parameters)
            ),
        )
        return found

    def _base(self, parameters: SearchParameters) -> Any:  # Any: faiss's classes have no types
        del parameters  # none of them is for the codes
        return None

    def _trained_rows(self, positions: Ids) -> Vectors:
        return self._view(self._stored(self.core))[positions]

    def _trained_pieces(self) -> Iterator[tuple[Vectors, slice | Ids]]:
        yield self._view(self._stored(self.core)), slice(0, self.core.ntotal)

    def _codes(self, core: Core) -> Core:
        return self.faiss.downcast_index(core.base_index)

    def _stored(self, core: Core) -> Core:
        return self.faiss.downcast_index(core.refine_index)


class IvfFastScanKind(FastScanKind):
    """The same codes in lists, of which some are read: `IVF{n},PQ{m}x4fs,RFlat`."""

    name = "ivf_fastscan"
    limits: ClassVar[Limits] = {
        **FastScanKind.limits,
        "n_train": (0, 0, 100_000_000),  # 0: 39 per list
        "n_lists": (256, 1, 1_048_576),
        "n_probes": (16, 1, 1_048_576),
        "seed": (0, 0, 2**31 - 1),
    }

    @property
    def n_least(self) -> int:
        return max(N_CODEWORDS, self.parameters["n_lists"])

    @property
    def n_enough(self) -> int:
        least = max(FastScanKind.limits["n_train"][0], TRAIN_PER_LIST * self.parameters["n_lists"])
        return max(self.n_least, self.parameters["n_train"] or least)

    def factory(self) -> str:
        return f"IVF{self.parameters['n_lists']},{super().factory()}"

    def _new_codes(self) -> Core:
        faiss, n_lists, m = self.faiss, self.parameters["n_lists"], self.parameters["m"]
        codes = faiss.IndexIVFPQFastScan(
            faiss.IndexFlatIP(self.dim), self.dim, n_lists, m, 4, faiss.METRIC_INNER_PRODUCT
        )
        codes.cp.seed = self.parameters["seed"]
        return codes

    def adopt(self, core: Core) -> None:
        super().adopt(core)
        n_lists = self._codes(core).nlist
        if n_lists != self.parameters["n_lists"]:
            raise InputError(f"faiss read {n_lists} lists; expected {self.parameters}")

    def _base(self, parameters: SearchParameters) -> Any:  # Any: faiss's classes have no types
        n_probes = parameters.n_probes or self.parameters["n_probes"]
        return self.faiss.SearchParametersIVF(nprobe=n_probes)


def drop_dead(positions: Ids, live: Any) -> Ids:
    """Replace the positions of removed vectors by -1.

    Args:
        positions: int64 [Q, K], -1 for none.
        live: bool [N].

    Returns:
        int64 [Q, K].

    Example:
        >>> drop_dead(np.array([[0, 1, -1]]), np.array([True, False])).tolist()
        [[0, -1, -1]]
    """
    dead: Ids = np.where((positions >= 0) & live[positions], positions, -1)
    return dead
