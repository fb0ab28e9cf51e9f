"""Kinds whose codes are the vectors themselves, in float32 or float16: flat, graph and lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from index.errors import InputError
from index.faiss_kinds import (
    DTYPES,
    HALF_ERROR,
    TRAIN_PER_LIST,
    Core,
    FaissKind,
    Limits,
    TrainedKind,
)
from index.ivf_training import train_coarse
from index.mapped_lists import MappedLists
from index.needed import probes_needed
from index.rows import StoredRows
from index.topk import Scores
from index.types import Ids, SearchParameters, Vectors

# From this many queries at once, multiplying float16 rows widened to float32 by BLAS beats faiss,
# which decodes every row for every query (measured 5 times at 256 queries).
SCAN_HALVES_FROM = 8


class FlatKind(FaissKind):
    """Every vector compared; faster than numpy for single queries and many threads."""

    name = "flat"
    is_exact = True
    limits: ClassVar[Limits] = {"dtype": DTYPES}

    @property
    def error(self) -> float:
        return HALF_ERROR if self._is_half else 0.0

    @property
    def _is_half(self) -> bool:
        return self.parameters["dtype"] == "float16"

    def factory(self) -> str:
        return "SQfp16" if self._is_half else "Flat"

    def scans(self, n_queries: int) -> bool:
        return self._is_half and n_queries >= SCAN_HALVES_FROM

    def _new_core(self) -> Core:
        faiss = self.faiss
        if not self._is_half:
            return faiss.IndexFlatIP(self.dim)
        half, inner_product = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        return faiss.IndexScalarQuantizer(self.dim, half, inner_product)

    def nearest(
        self,
        queries: Vectors,
        *,
        k: int,
        selector: object,
        parameters: SearchParameters,  # noqa: ARG002  # none has an effect here
    ) -> tuple[Scores, Ids]:
        asked = self.faiss.SearchParameters(sel=selector) if selector else None
        return self._ask(self.core, queries, k=k, asked=asked)

    def rows(self, positions: Ids) -> Vectors:
        if self._is_half:
            return self._half_rows(self.core, positions)
        return self._view(self.core).take(positions, axis=0)

    def pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        yield self._stored(), slice(0, self.core.ntotal)

    def flat_core(self) -> Core | None:
        return None if self._is_half else self.core

    def _stored(self) -> StoredRows:
        return self._half_view(self.core) if self._is_half else self._view(self.core)


class HnswKind(FaissKind):
    """A navigable graph (Malkov and Yashunin 2016): fastest for queries like the stored vectors."""

    name = "hnsw"
    limits: ClassVar[Limits] = {
        "m": (32, 2, 256),
        "ef_construction": (80, 1, 10_000),
        "ef_search": (64, 1, 100_000),
        "dtype": DTYPES,
    }

    @property
    def _is_half(self) -> bool:
        return self.parameters["dtype"] == "float16"

    def factory(self) -> str:
        return f"HNSW{self.parameters['m']}" + ("_SQfp16" if self._is_half else "")

    def efforts(self) -> tuple[str, ...]:
        return ("ef_search",)

    def _new_core(self) -> Core:
        faiss, inner_product, m = self.faiss, self.faiss.METRIC_INNER_PRODUCT, self.number("m")
        if self._is_half:
            half = faiss.ScalarQuantizer.QT_fp16
            core = faiss.IndexHNSWSQ(self.dim, half, m, inner_product)
        else:
            core = faiss.IndexHNSWFlat(self.dim, m, inner_product)
        core.hnsw.efConstruction = self.number("ef_construction")
        return core

    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        ef_search = max(parameters.ef_search or self.number("ef_search"), k)

        def walk() -> object:
            return self.faiss.SearchParametersHNSW(efSearch=ef_search, sel=selector)

        asked = self._asking((ef_search,), walk) if selector is None else walk()
        return self._ask(self.core, queries, k=k, asked=asked)

    def rows(self, positions: Ids) -> Vectors:
        if self._is_half:
            return self._half_rows(self._part("storage"), positions)
        return self._view(self._part("storage")).take(positions, axis=0)

    def pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        yield self._stored(), slice(0, self.core.ntotal)

    def flat_core(self) -> Core | None:
        return None if self._is_half else self._part("storage")

    def _stored(self) -> StoredRows:
        storage = self._part("storage")
        return self._half_view(storage) if self._is_half else self._view(storage)


class CagraKind(HnswKind):
    """A graph that a GPU built (CAGRA), in one level; see `index.gpu.build_graph`."""

    name = "cagra"
    limits: ClassVar[Limits] = {"m": (32, 2, 256), "ef_search": (64, 1, 100_000)}

    @property
    def _is_half(self) -> bool:
        return False

    def factory(self) -> str:
        return f"HNSW{self.parameters['m']}"

    def _new_core(self) -> Core:
        faiss = self.faiss
        return faiss.IndexHNSWCagra(self.dim, self.number("m"), faiss.METRIC_INNER_PRODUCT)

    def add(self, vectors: Vectors) -> None:  # noqa: ARG002  # none are taken
        raise InputError(
            "a graph built on a GPU takes no more vectors; build it again, or use kind hnsw",
            code="bad_parameter",
        )


class IvfKind(TrainedKind):
    """Lists of near vectors around trained centroids."""

    name = "ivf"
    limits: ClassVar[Limits] = {
        "n_lists": (256, 1, 1_048_576),
        "n_probes": (16, 1, 1_048_576),
        "seed": (0, 0, 2**31 - 1),
        "dtype": DTYPES,
    }
    lists: MappedLists | None = None  # where they stay in their file

    @property
    def _is_half(self) -> bool:
        return self.parameters["dtype"] == "float16"

    @property
    def n_least(self) -> int:
        return self.number("n_lists")

    @property
    def n_enough(self) -> int:
        return TRAIN_PER_LIST * self.number("n_lists")

    def factory(self) -> str:
        return f"IVF{self.parameters['n_lists']},{'SQfp16' if self._is_half else 'Flat'}"

    def efforts(self) -> tuple[str, ...]:
        return ("n_probes",)

    def _new_core(self) -> Core:
        faiss, inner_product = self.faiss, self.faiss.METRIC_INNER_PRODUCT
        coarse, n_lists = faiss.IndexFlatIP(self.dim), self.number("n_lists")
        if self._is_half:
            half = faiss.ScalarQuantizer.QT_fp16
            core = faiss.IndexIVFScalarQuantizer(
                coarse, self.dim, n_lists, half, inner_product, False
            )
        else:
            core = faiss.IndexIVFFlat(coarse, self.dim, n_lists, inner_product)
        return core

    def adopt(self, core: Core) -> None:
        super().adopt(core)
        if not core.is_trained or core.nlist != self.number("n_lists"):
            raise InputError(f"faiss read {core.nlist} lists; expected {self.parameters}")

    def train(self, vectors: Vectors) -> None:
        train_coarse(self.core, vectors, seed=self.number("seed"))
        super().train(vectors)

    def _after_training(self) -> None:
        self.core.set_direct_map_type(self.faiss.DirectMap.Array)  # position -> row, for `rows`

    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        n_probes = min(parameters.n_probes or self.number("n_probes"), self.number("n_lists"))

        def reading() -> object:
            return self.faiss.SearchParametersIVF(nprobe=n_probes, sel=selector)

        asked = self._asking((n_probes,), reading) if selector is None else reading()
        if self.lists is not None and not self.lists.all_proven:
            return self._prove_and_read(self.lists, queries, k=k, n_probes=n_probes, asked=asked)
        return self._ask(self.core, queries, k=k, asked=asked)

    def _prove_and_read(
        self, lists: MappedLists, queries: Vectors, *, k: int, n_probes: int, asked: object
    ) -> tuple[Scores, Ids]:
        """Rank the lists once, to prove those that are read and to read them."""
        pointer, n = self.faiss.swig_ptr, len(queries)
        near, probed = self._ask(self._part("quantizer"), queries, k=n_probes, asked=None)
        lists.prove(probed)
        scores, positions = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
        given = (pointer(queries), k, pointer(probed), pointer(near))
        self.core.search_preassigned_c(
            n, *given, pointer(scores), pointer(positions), False, asked
        )  # in faiss's Python it takes no parameters
        return scores, positions

    def needed(
        self, effort: str, queries: Vectors, positions: Ids, *, k: int, given: SearchParameters
    ) -> Ids | None:
        del effort, k, given  # lists are all there is
        return probes_needed(self.core, queries, positions)

    def add(self, vectors: Vectors) -> None:
        if self.lists is not None:  # faiss would end the process rather than grow a mapped list
            self.lists.prove_all()
            self.core, self.lists = self.lists.read(), None
        super().add(vectors)

    def _trained_rows(self, positions: Ids) -> Vectors:
        if self.lists is not None:
            codes = self.lists.codes(positions)
            if self._is_half:
                return self._scales.read(codes.view(np.float16), at=positions, n=self.core.ntotal)
            return codes.view(np.float32)
        rows: Vectors = self.core.reconstruct_batch(positions)
        if self._is_half:
            self._scales.bring_to_one(rows, at=positions, n=self.core.ntotal)
        return rows

    def _trained_pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        if self.lists is not None:
            self.lists.prove_all()
        lists = self.core.invlists
        for number in range(lists.nlist):
            n = lists.list_size(number)
            if n:
                codes = self.faiss.rev_swig_ptr(lists.get_codes(number), n * lists.code_size)
                positions = self.faiss.rev_swig_ptr(lists.get_ids(number), n)
                dtype = np.float16 if self._is_half else np.float32
                yield codes.view(dtype).reshape(n, self.dim), positions
