"""Any index of faiss by its factory string, where the string means what people think it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from index.coded import CodedKind
from index.errors import InputError
from index.faiss_kinds import TRAIN_PER_LIST, Core, Limits, Value
from index.ivf_training import train_coarse
from index.needed import probes_needed
from index.types import Ids, SearchParameters, Vectors

_ROTATION = r"(?:RR\d+|OPQ\d+(?:_\d+)?),"
_LISTS = r"IVF(?P<lists>\d+)(?P<graph>_HNSW\d+)?,"
_CODES = r"(?:Flat|SQ[468]|SQfp16|SQbf16|PQ\d+(?:x\d+(?:fsr?)?)?|RaBitQ[1-9]?|RaBitQfs[1-9]?)"
_GRAPH = r"(?P<hnsw>HNSW\d+(?:_(?:SQfp16|SQbf16|SQ8|PQ\d+))?)"
_REFINE = r"(?:,(?P<rows>RFlat|Refine\(SQfp16\)))?"
_KNOWN = re.compile(f"(?P<rotation>{_ROTATION})?(?:(?:{_LISTS})?{_CODES}|{_GRAPH}){_REFINE}")

_ROWS = {"RFlat": "float32", "Refine(SQfp16)": "float16"}
_N_TRAIN = 65_536

_REFUSED = (
    (r"PCA", "PCA subtracts a mean, which reorders cosines (faiss issue 2636): use OPQ or RR"),
    (r"IDMap", "crossfind keeps the ids itself: leave IDMap out"),
    (r"L2norm", "vectors have unit length already: leave L2norm out"),
    (r"LSH|ITQ|^B", "binary codes know no cosine: use RaBitQ"),
    (r"NSG|NNDescent", "such a graph cannot grow: use HNSW"),
    (r"Panorama", "Panorama gains nothing for queries of another modality: use Flat"),
)


class FactoryKind(CodedKind):
    """What `faiss.index_factory` makes, with the vectors beside it to decide the order."""

    name = "factory"
    limits: ClassVar[Limits] = {
        **CodedKind.limits,
        "n_train": (0, 0, 100_000_000),  # 0: 50 per list, at least 65,536
        "n_probes": (16, 1, 1_048_576),
        "ef_search": (64, 1, 100_000),
        "seed": (0, 0, 2**31 - 1),
    }

    @property
    def n_least(self) -> int:
        return max(256, self._n_lists)

    @property
    def n_enough(self) -> int:
        enough = max(_N_TRAIN, TRAIN_PER_LIST * self._n_lists)
        return max(self.n_least, self.number("n_train") or enough)

    @property
    def _n_lists(self) -> int:
        return int(self._parts["lists"] or 0)

    def efforts(self) -> tuple[str, ...]:
        first = ("n_probes",) if self._n_lists else ("ef_search",) if self._parts["hnsw"] else ()
        return (*first, "k_factor")

    def _settle(self, given: Mapping[str, Value]) -> dict[str, Value]:
        asked = dict(given)
        text = str(asked.pop("factory", ""))
        self._parts = read_factory(text)
        refine = self._parts["rows"]
        if refine:
            asked.setdefault("rows", _ROWS[refine])
            text = text.removesuffix(f",{refine}")
        return {**super()._settle(asked), "factory": text}

    def _codes_factory(self) -> str:
        return str(self.parameters["factory"])

    def _new_codes(self) -> Core:
        faiss = self.faiss
        try:
            return faiss.index_factory(self.dim, self._codes_factory(), faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise InputError(
                f"faiss cannot make {self._codes_factory()!r} of dim {self.dim}: "
                f"{_first_line(error)}",
                code="bad_factory",
            ) from error

    def train(self, vectors: Vectors) -> None:
        codes = self._codes
        if self._n_lists and not (self._parts["rotation"] or self._parts["graph"]):
            train_coarse(codes, vectors, seed=self.number("seed"))
        super().train(vectors)

    def needed(
        self, effort: str, queries: Vectors, positions: Ids, *, k: int, given: SearchParameters
    ) -> Ids | None:
        plain = not (self._parts["rotation"] or self._parts["graph"])
        if effort == "n_probes" and plain:
            return probes_needed(self._codes, queries, positions)
        return super().needed(effort, queries, positions, k=k, given=given)

    def _base(self, parameters: SearchParameters) -> Any:  # Any: faiss's classes have no types
        inner = self._inner(parameters)
        if inner is None or not self._parts["rotation"]:
            return inner
        return self.faiss.SearchParametersPreTransform(index_params=inner)

    def _inner(self, parameters: SearchParameters) -> Any:
        faiss = self.faiss
        if self._parts["hnsw"]:
            ef_search = parameters.ef_search or self.number("ef_search")
            return faiss.SearchParametersHNSW(efSearch=ef_search)
        if not self._n_lists:
            return None
        n_probes = parameters.n_probes or self.number("n_probes")
        if not self._parts["graph"]:
            return faiss.SearchParametersIVF(nprobe=n_probes)
        # A walk over the centroids that stops early loses texts first (PERFORMANCE 1.4).
        walk = faiss.SearchParametersHNSW(efSearch=max(64, 2 * n_probes))
        return faiss.SearchParametersIVF(nprobe=n_probes, quantizer_params=walk)


def read_factory(text: str) -> dict[str, str | None]:
    """Take a factory string apart, or say why it is refused.

    Args:
        text: e.g. `OPQ64_256,IVF4096,PQ64x4fs,Refine(SQfp16)`.

    Returns:
        rotation, lists, graph, hnsw and rows; None for what is not there.

    Raises:
        InputError: `bad_factory`, with the reason.

    Example:
        >>> read_factory("IVF256,SQ8,RFlat")["lists"]
        '256'
    """
    for pattern, reason in _REFUSED:
        if re.search(pattern, text):
            raise InputError(f"factory {text!r} is refused: {reason}", code="bad_factory")
    known = _KNOWN.fullmatch(text)
    if known is None:
        raise InputError(
            f"factory {text!r} is not understood; it is [RR{{d}},|OPQ{{m}},][IVF{{n}}[_HNSW{{m}}],]"
            "Flat|SQ8|SQfp16|PQ{m}x4fs|RaBitQfs{bits}, or HNSW{m}[_SQfp16], "
            "then [,RFlat|,Refine(SQfp16)]",
            code="bad_factory",
        )
    return known.groupdict()


def _first_line(error: RuntimeError) -> str:
    said = str(error).splitlines()[0]
    return said.split("Error: ")[-1][:200]
