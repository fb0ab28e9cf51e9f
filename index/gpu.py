"""An index of faiss on one or several GPUs, and a graph that a GPU builds for the CPU.

What a faiss GPU index cannot do is done right here or by `FaissIndex`, whose back end it becomes:

    selectors   taken and ignored by it: filters nominate without one (see `index.filtered`)
    removal     not implemented: removed rows are fetched, dropped and made up for
    threads     not even searches may meet: one thread owns the index and everything on the device
    k > 2,048   refused by it: the CPU answers
    float16     its scores only nominate: the rows in the computer's memory decide

Vectors added later stay on the CPU until the index is placed again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from index.base import Index
from index.errors import BackendMissingError, DamagedError, InputError
from index.faiss_index import FaissIndex
from index.faiss_kinds import HALF_ERROR, Core, FaissKind, import_faiss
from index.faiss_plain import IvfKind
from index.row_blocks import PIECE_ROWS
from index.rows import StoredRows
from index.topk import Scores
from index.torch_exact import TorchExactIndex
from index.types import Ids, SearchParameters, Vectors

_log = logging.getLogger(__name__)

PLACED = ("flat", "ivf")
MOST_K = MOST_PROBES = 2_048  # of faiss on a GPU

# copyTo a graph hung for fewer than five rows (faiss issue 4260); CAGRA's own degree is 64.
LEAST_ROWS = 256
N_CANARIES = 64
LEAST_FOUND = 0.9


def n_gpus() -> int:
    """Count the GPUs that faiss can use; 0 where its wheel has no GPU part.

    Example:
        >>> n_gpus() >= 0
        True
    """
    faiss = import_faiss()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def place(ix: FaissIndex, *, gpus: Sequence[int] | None = None) -> FaissIndex:
    """Search an index on GPUs, in float16; on several, each holds a share of the vectors.

    Where there is no GPU, or none for this kind, the index stays where it is and one warning says
    so: answers are the same either way.

    Args:
        ix: of kind `flat` or `ivf`, trained; saved and searched as before.
        gpus: numbers of the devices; all where None.

    Returns:
        The same index, whose candidates now come from the GPUs.

    Raises:
        InputError: a device that does not exist.

    Example:
        >>> flat = FaissIndex(3)
        >>> flat.add(np.eye(3, dtype=np.float32), ids=np.arange(3))
        >>> place(flat).search(np.eye(3, dtype=np.float32)[:1], k=1).ids.tolist()
        [[0]]
    """
    there = n_gpus()
    if not there or ix.kind not in PLACED or not ix.is_trained:
        why = "faiss sees no GPU" if not there else f"faiss has no {ix.factory} on a GPU"
        _log.warning("%s: this index is searched on the CPU", why)
        return ix
    chosen = list(range(there)) if gpus is None else list(gpus)
    if not chosen or not set(chosen) <= set(range(there)):
        raise InputError(f"gpus is {chosen}; faiss sees {there}, numbered from 0")
    ix.move(lambda back: _GpuKind(back, gpus=chosen))
    return ix


def exact_on_gpu(dim: int) -> Index:
    """Make an empty exact index for a GPU: of torch, or else of faiss, to be placed once full.

    Args:
        dim: length of a vector.

    Raises:
        BackendMissingError: neither sees a GPU.

    Example:
        >>> try:
        ...     exact = exact_on_gpu(3)
        ... except BackendMissingError:
        ...     exact = FaissIndex(3)  # no GPU here
    """
    try:
        return TorchExactIndex(dim)
    except BackendMissingError:
        if not n_gpus():
            raise
        return FaissIndex(dim, kind="flat", dtype="float16")


def build_graph(ix: FaissIndex, *, gpu: int = 0, degree: int = 64) -> FaissIndex:
    """Build a graph over the vectors of an index on a GPU (CAGRA), to be searched on a CPU.

    Args:
        ix: whose live vectors are taken; kept as it is.
        gpu: number of the device.
        degree: neighbours of a vector, a power of two.

    Returns:
        An index of kind `cagra`: an HNSW graph of one level.

    Raises:
        BackendMissingError: faiss has no CAGRA here: it needs the wheel `faiss-gpu-cuvs`.
        InputError: too few vectors for a graph.
        DamagedError: the graph does not find the vectors it was built from (faiss issue 5459).

    Example:
        >>> flat = FaissIndex(3)
        >>> try:
        ...     graph = build_graph(flat)
        ... except (BackendMissingError, InputError):
        ...     graph = flat  # no GPU here, or nothing to build from
    """
    faiss = import_faiss()
    if not n_gpus() or not hasattr(faiss, "GpuIndexCagra"):
        raise BackendMissingError(
            "faiss builds no CAGRA graph here: it takes a GPU and pip install faiss-gpu-cuvs"
        )
    ids, rows = ix.sample(len(ix))
    if len(ids) < LEAST_ROWS:
        raise InputError(f"{len(ids)} vectors are too few for a graph; compare them: kind flat")
    config = faiss.GpuIndexCagraConfig()
    config.device, config.graph_degree = gpu, degree
    config.intermediate_graph_degree = 2 * degree
    resources = faiss.StandardGpuResources()
    built = faiss.GpuIndexCagra(resources, ix.dim, faiss.METRIC_INNER_PRODUCT, config)
    built.train(rows)  # trains and adds
    graph = FaissIndex(ix.dim, kind="cagra", m=degree // 2)
    with graph.frozen() as (core, _, _):
        built.copyTo(core)
    made = FaissIndex.revived(
        core, dim=ix.dim, kind="cagra", parameters=graph.parameters, ids=ids,
        live=np.ones(len(ids), np.bool_),
    )  # fmt: skip
    _check_canaries(made, ids, rows)
    return made


def _check_canaries(made: FaissIndex, ids: Ids, rows: Vectors) -> None:
    some = np.linspace(0, len(ids) - 1, N_CANARIES).astype(int)
    found = made.search(np.ascontiguousarray(rows[some]), k=1)
    order = np.argsort(ids)
    there = order[np.searchsorted(ids, found.ids[:, 0], sorter=order)]
    # A copy of the vector under another id is as good an answer as the vector itself.
    share = float(np.mean(np.einsum("nd,nd->n", rows[there], rows[some]) > 1 - 1e-5))
    if share < LEAST_FOUND:
        raise DamagedError(
            f"the graph built on the GPU finds {share:.0%} of its own vectors; build an HNSW graph "
            "on the CPU instead"
        )


class _GpuKind(FaissKind):
    """A kind whose candidates come from GPUs, and whose rows stay where they were.

    One thread touches the placed index and the resources of its devices.
    """

    name = "gpu"
    takes_selector = False

    def __init__(self, within: FaissKind, *, gpus: Sequence[int]) -> None:
        self._within = within
        self.is_exact = within.is_exact  # type: ignore[misc]  # of the kind within
        self.dim, self.faiss, self.parameters = within.dim, within.faiss, within.parameters
        self.core = within.core  # what is saved is what the CPU has
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="crossfind-gpu")
        self._resources: list[object] = []
        self._n_placed = self.core.ntotal
        self._placed: Core = self._owner.submit(self._place, gpus).result()

    def _place(self, gpus: Sequence[int]) -> Core:
        faiss = self.faiss
        if isinstance(self._within, IvfKind) and self._within.lists is not None:
            self._within.lists.prove_all()  # they are all read now
        self._resources = [faiss.StandardGpuResources() for _ in gpus]
        options = faiss.GpuMultipleClonerOptions() if len(gpus) > 1 else faiss.GpuClonerOptions()
        options.useFloat16 = True
        if hasattr(options, "use_cuvs"):  # which knows no float16 rows (GpuCloner.cpp)
            options.use_cuvs = False
        if len(gpus) == 1:
            return faiss.index_cpu_to_gpu(self._resources[0], gpus[0], self.core, options)
        options.shard = True
        core = self._in_float32() if type(self.core) is faiss.IndexScalarQuantizer else self.core
        return faiss.index_cpu_to_gpu_multiple_py(self._resources, core, options, list(gpus))

    def _in_float32(self) -> Core:
        """Give the rows as the only flat index that faiss spreads over GPUs, where it halves them.

        While it does the computer's memory holds them once more, in float32.
        """
        flat = self.faiss.IndexFlatIP(self.dim)
        for rows, _ in self.pieces():
            for start in range(0, len(rows), PIECE_ROWS):
                flat.add(rows[start : start + PIECE_ROWS].astype(np.float32))
        return flat

    @property
    def error(self) -> float:
        return 2 * HALF_ERROR  # rows and queries are both rounded

    def efforts(self) -> tuple[str, ...]:
        return self._within.efforts()

    def factory(self) -> str:
        return self._within.factory()

    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        n_probes = parameters.n_probes or int(self.parameters.get("n_probes", 1))
        if k > MOST_K or n_probes > MOST_PROBES or self._n_placed != self.core.ntotal:
            return self._within.nearest(queries, k=k, selector=selector, parameters=parameters)
        reads_lists = "n_probes" in self.efforts()

        def search() -> tuple[Scores, Ids]:
            asked = self.faiss.SearchParametersIVF(nprobe=n_probes) if reads_lists else None
            found: tuple[Scores, Ids] = self._placed.search(queries, k, params=asked)
            return found

        return self._owner.submit(search).result()

    def rows(self, positions: Ids) -> Vectors:
        return self._within.rows(positions)

    def pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        return self._within.pieces()

    def flat_core(self) -> Core | None:
        return self._within.flat_core()

    def add(self, vectors: Vectors) -> None:
        self._within.add(vectors)
        self.core = self._within.core

    def _new_core(self) -> Core:  # the one within is used
        return self._within.core
