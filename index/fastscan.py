"""4-bit codes that are compared in registers (FastScan): all of them, or those of some lists.

Measured (PERFORMANCE 3.1): on a CLIP-like set of 100,000 x 512 two dimensions per code and 16
candidates per answer find 0.997 of what text queries look for, at 25 times the speed of comparing
every float; a graph of the same size stops at 0.66. Nothing is walked, so a query that lies far
from every stored vector loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from index.coded import CodedKind
from index.errors import InputError
from index.faiss_kinds import TRAIN_PER_LIST, Core, Limits, Value
from index.ivf_training import train_coarse
from index.needed import probes_needed
from index.types import Ids, SearchParameters, Vectors

N_CODEWORDS = 16  # of 4 bits
N_TRAIN = N_CODEWORDS * 256

# Of faiss's ways to compare codes the quickest here (Zen 4, 20,000 x 256 and 50,000 x 512): all of
# them with eight queries at a time, in two fours, take .72 of the time of its own choice, lists one
# query after the other with candidates in a reservoir .85; a single query takes the same and .87.
QUERIES_AT_A_TIME = 0x44  # IndexFastScan.qbs
LIST_BY_LIST = 11  # IndexIVFFastScan.implem


class FastScanKind(CodedKind):
    """Exhaustive 4-bit product quantisation with exact re-scoring: `RR{d},PQ{m}x4fs,RFlat`."""

    name = "fastscan"
    limits: ClassVar[Limits] = {
        **CodedKind.limits,
        "m": (0, 0, 65_536),  # 0: two dimensions per code
        "n_train": (N_TRAIN, N_CODEWORDS, 1_000_000),
    }

    @property
    def n_least(self) -> int:
        return N_CODEWORDS

    @property
    def n_enough(self) -> int:
        return self.number("n_train")

    def _codes_factory(self) -> str:
        return f"RR{self.dim},PQ{self.parameters['m']}x4fs"

    def _settle(self, given: Mapping[str, Value]) -> dict[str, Value]:
        settled = super()._settle(given)
        m = int(settled["m"]) or (self.dim // 2 if self.dim % 2 == 0 else self.dim)
        if self.dim % m:
            raise InputError(
                f"m is {m}; it must divide the dimension, {self.dim}", code="bad_parameter"
            )
        settled["m"] = m
        return settled

    def _new_codes(self) -> Core:
        inner_product = self.faiss.METRIC_INNER_PRODUCT
        codes = self.faiss.IndexPQFastScan(self.dim, self.number("m"), 4, inner_product)
        return self._rotated(codes)

    def _hasten(self, codes: Core) -> None:
        self.faiss.downcast_index(codes.index).qbs = QUERIES_AT_A_TIME

    def _codes_signature(self, codes: Core) -> tuple[object, ...]:
        within = self.faiss.downcast_index(codes.index)
        return (*super()._codes_signature(codes), type(within).__name__, within.M)


class ListedKind(CodedKind):
    """Codes in lists around trained centroids, of which some are read."""

    limits: ClassVar[Limits] = {
        **CodedKind.limits,
        "n_train": (0, 0, 100_000_000),  # 0: 39 per list
        "n_lists": (256, 1, 1_048_576),
        "n_probes": (16, 1, 1_048_576),
        "seed": (0, 0, 2**31 - 1),
    }

    @property
    def n_least(self) -> int:
        return max(N_CODEWORDS, self.number("n_lists"))

    @property
    def n_enough(self) -> int:
        least = max(N_TRAIN, TRAIN_PER_LIST * self.number("n_lists"))
        return max(self.n_least, self.number("n_train") or least)

    def efforts(self) -> tuple[str, ...]:
        return ("n_probes", "k_factor")

    def train(self, vectors: Vectors) -> None:
        codes = self._codes
        turned = self.faiss.downcast_VectorTransform(codes.chain.at(0)).apply(vectors)
        train_coarse(self._lists(codes), turned, seed=self.number("seed"))
        super().train(vectors)

    def _lists(self, codes: Core) -> Core:
        return self.faiss.downcast_index(codes.index)

    def needed(
        self, effort: str, queries: Vectors, positions: Ids, *, k: int, given: SearchParameters
    ) -> Ids | None:
        if effort == "n_probes":
            codes = self._codes
            turned = self.faiss.downcast_VectorTransform(codes.chain.at(0)).apply(queries)
            return probes_needed(self._lists(codes), turned, positions)
        return super().needed(effort, queries, positions, k=k, given=given)

    def _codes_signature(self, codes: Core) -> tuple[object, ...]:
        return (*super()._codes_signature(codes), self._lists(codes).nlist)

    def _base(self, parameters: SearchParameters) -> Any:  # Any: faiss's classes have no types
        n_probes = parameters.n_probes or self.number("n_probes")
        lists = self.faiss.SearchParametersIVF(nprobe=n_probes)
        return self.faiss.SearchParametersPreTransform(index_params=lists)


class IvfFastScanKind(ListedKind, FastScanKind):
    """The same codes in lists, of which some are read: `RR{d},IVF{n},PQ{m}x4fs,RFlat`."""

    name = "ivf_fastscan"
    limits: ClassVar[Limits] = {**FastScanKind.limits, **ListedKind.limits}

    def _codes_factory(self) -> str:
        lists = f"IVF{self.parameters['n_lists']}"
        return f"RR{self.dim},{lists},PQ{self.parameters['m']}x4fs"

    def _new_codes(self) -> Core:
        faiss, n_lists, m = self.faiss, self.number("n_lists"), self.number("m")
        codes = faiss.IndexIVFPQFastScan(
            faiss.IndexFlatIP(self.dim), self.dim, n_lists, m, 4, faiss.METRIC_INNER_PRODUCT
        )
        return self._rotated(codes)

    def _hasten(self, codes: Core) -> None:
        self._lists(codes).implem = LIST_BY_LIST


class IvfRabitqKind(ListedKind):
    """One to nine bits a dimension in lists (RaBitQ, Gao and Long 2024).

    Smallest codes that still work: 80 bytes at 512 dimensions. Slower than `ivf_fastscan` at the
    same recall (PERFORMANCE 3.1), so it is chosen for memory alone.
    """

    name = "ivf_rabitq"
    limits: ClassVar[Limits] = {**ListedKind.limits, "n_bits": (1, 1, 9)}

    def _codes_factory(self) -> str:
        return f"RR{self.dim},{self._unturned()}"

    def _unturned(self) -> str:
        n_bits = self.number("n_bits")
        return f"IVF{self.parameters['n_lists']},RaBitQfs{n_bits if n_bits > 1 else ''}"

    def _new_codes(self) -> Core:
        inner_product = self.faiss.METRIC_INNER_PRODUCT
        codes = self.faiss.index_factory(self.dim, self._unturned(), inner_product)
        return self._rotated(codes)
