"""What every kind of faiss index behind `FaissIndex` must be able to do.

Kinds speak positions, and may answer -1 for "nothing more"; `FaissIndex` turns both into ids.
"""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar, cast

import numpy as np

from index.errors import BackendMissingError, InputError
from index.rows import Half, KeptScales, StoredRows
from index.topk import Scores
from index.types import Ids, SearchParameters, Vectors

Core = Any  # a faiss index; faiss's classes are made at run time by SWIG

TRAIN_PER_LIST = 39
"""Fewer training vectors per list than this, and faiss warns that centroids are poor."""

Value = int | str
# parameter -> (default, lowest, highest) of a number, or the words it may be, the default first
UNREACHED = 2**31  # an effort beyond all limits
Limits = Mapping[str, tuple[int, int, int] | tuple[str, ...]]
DTYPES = ("float32", "float16")
_MOST_ASKED = 256

# Numbers of a batch from which faiss multiplies matrices rather than compare pair by pair. Its own
# 128,000 leaves 32 queries at 512 dimensions three times slower than they need be.
BLAS_FROM = 3_072

# float16 moves a row off the unit sphere by up to 2^-11, and faiss does not move it back.
HALF_ERROR = 2.0**-10


@functools.cache
def import_faiss() -> ModuleType:
    """Import faiss with threads that sleep while they wait, and small batches multiplied by BLAS.

    Spinning OpenMP threads on busy cores made single searches up to 40 times slower; the variable
    is read when the library is loaded. Never fork after a parallel search: the child hangs
    (faiss issue 5206).

    Raises:
        BackendMissingError: faiss is not installed.

    Example:
        >>> import_faiss().__name__
        'faiss'
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import faiss
    except ImportError as error:
        raise BackendMissingError(
            "this index needs faiss, which is not installed: pip install 'crossfind[cpu]' "
            "(exact search works without it)"
        ) from error
    module: ModuleType = faiss
    module.cvar.distance_compute_blas_threshold = BLAS_FROM
    return module


class FaissKind(ABC):
    """One kind of faiss index over inner products of unit vectors.

    Args:
        dim: length of a vector.
        given: parameters of this kind that differ from its defaults.

    Raises:
        InputError: a parameter is unknown to this kind or outside its limits.
    """

    name: ClassVar[str]
    is_exact: ClassVar[bool] = False
    takes_selector: ClassVar[bool] = True  # or else `FaissIndex` asks for more and drops the dead
    limits: ClassVar[Limits] = {}

    def __init__(self, dim: int, *, given: Mapping[str, Value]) -> None:
        self.dim = dim
        self.parameters = self._settle(given)
        self.faiss = import_faiss()
        self._seen: tuple[Core, StoredRows] | None = None  # faiss's memory as an array
        self._of_core: tuple[Core, dict[str, Core]] = (None, {})
        self._scales = KeptScales()
        self._asked: dict[tuple[int, ...], object] = {}
        self.core = self._new_core()

    @property
    def is_trained(self) -> bool:
        """Tell whether `nearest` may be called; until then `pieces` has everything."""
        return True

    @property
    def error(self) -> float:
        """How far a score may lie from the true one, beside rounding of sums."""
        return 0.0

    def efforts(self) -> tuple[str, ...]:
        """Name the search parameters that have an effect."""
        return ()

    def scans(self, n_queries: int) -> bool:  # noqa: ARG002  # most kinds never do
        """Tell whether so many queries at once are answered faster by comparing everything."""
        return False

    @abstractmethod
    def factory(self) -> str:
        """Name the index in faiss's own words."""

    def add(self, vectors: Vectors) -> None:
        """Append rows behind the last position."""
        self.core.add(vectors)

    @abstractmethod
    def nearest(
        self, queries: Vectors, *, k: int, selector: object, parameters: SearchParameters
    ) -> tuple[Scores, Ids]:
        """Find scores and positions [Q, k], best first, position -1 beyond the last."""

    def needed(
        self, effort: str, queries: Vectors, positions: Ids, *, k: int, given: SearchParameters
    ) -> Ids | None:
        """Tell the least value of an effort with which each position is among the nominees.

        Args:
            effort: one of `efforts`.
            queries: float32 [Q, D].
            positions: int64 [Q, K], the true answers; -1 for none.
            k: how many answers are asked for.
            given: the other effort.

        Returns:
            int64 [Q, K], `UNREACHED` where no value does; None where only searching can tell.
        """
        del effort, queries, positions, k, given
        return None

    @abstractmethod
    def rows(self, positions: Ids) -> Vectors:
        """Give back stored rows, float32 [P, D]."""

    @abstractmethod
    def pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        """Give all stored rows without copying, with the positions they have."""

    def flat_core(self) -> Core | None:
        """Give faiss's own flat float32 rows, where there are some in memory."""
        return None

    def adopt(self, core: Core) -> None:
        """Replace the empty faiss index by one that was read from a file.

        Raises:
            InputError: it is of another class, dim or metric than this kind makes.
        """
        mine, its = self._signature(self.core), self._signature(core)
        if mine != its:
            raise InputError(f"faiss read {its}; expected {mine}")
        self.core = core

    def _signature(self, core: Core) -> tuple[str, int, int]:
        return type(core).__name__, core.d, core.metric_type

    @abstractmethod
    def _new_core(self) -> Core: ...

    def _settle(self, given: Mapping[str, Value]) -> dict[str, Value]:
        settled: dict[str, Value] = {name: allowed[0] for name, allowed in self.limits.items()}
        for name, value in given.items():
            if name not in self.limits:
                raise InputError(
                    f"{name} has no effect on an index of kind {self.name}; leave it out",
                    code="bad_parameter",
                )
            settled[name] = _checked(name, value, allowed=self.limits[name])
        return settled

    def number(self, name: str) -> int:
        """The value of a parameter that is a number."""
        return int(self.parameters[name])

    def _ask(self, core: Core, queries: Vectors, *, k: int, asked: object) -> tuple[Scores, Ids]:
        """Search a faiss index past its Python, which would check once more what `Index` has."""
        n, pointer = len(queries), self.faiss.swig_ptr
        scores, positions = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
        core.search_c(n, pointer(queries), k, pointer(scores), pointer(positions), asked)
        return scores, positions

    def _asking(self, key: tuple[int, ...], make: Callable[[], object]) -> object:
        """Keep faiss's search parameters, which no search changes and SWIG is slow to make."""
        asked = self._asked.get(key)
        if asked is None:
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            asked = self._asked[key] = make()
        return asked

    def _part(self, name: str) -> Core:
        """Give a part of the faiss index as what it is; kept, as SWIG is slow to tell."""
        if self._of_core[0] is not self.core:
            self._of_core = self.core, {}
        parts = self._of_core[1]
        if name not in parts:
            parts[name] = self.faiss.downcast_index(getattr(self.core, name))
        return parts[name]

    def _view(self, flat: Core) -> Vectors:
        """See the rows of a faiss flat index as an array; valid until the next add."""
        n = flat.ntotal
        if not n:
            return np.empty((0, self.dim), np.float32)
        known = self._seen
        if known is None or known[0] is not flat or len(known[1]) != n:
            rows: Vectors = self.faiss.rev_swig_ptr(flat.get_xb(), n * self.dim)
            known = self._seen = (flat, rows.reshape(n, self.dim))
        return cast(Vectors, known[1])

    def _half_view(self, coded: Core) -> StoredRows:
        """See the rows of a faiss float16 index as an array; valid until the next add."""
        n = coded.ntotal
        if not n:
            return np.empty((0, self.dim), np.float16)
        known = self._seen
        if known is None or known[0] is not coded or len(known[1]) != n:
            codes = self.faiss.rev_swig_ptr(coded.codes.data(), n * 2 * self.dim)
            known = self._seen = (coded, codes.view(np.float16).reshape(n, self.dim))
        return known[1]

    def _half_rows(self, coded: Core, positions: Ids) -> Vectors:
        """Read rows of a faiss float16 index."""
        stored = cast(Half, self._half_view(coded))
        return self._scales.read(stored.take(positions, axis=0), at=positions, n=len(stored))


def _checked(name: str, value: Value, *, allowed: tuple[int, int, int] | tuple[str, ...]) -> Value:
    if isinstance(allowed[0], str):
        if value not in allowed:
            raise InputError(
                f"{name} is {value!r}; it must be one of {', '.join(map(str, allowed))}",
                code="bad_parameter",
            )
        return value
    low, high = int(allowed[1]), int(allowed[2])
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"{name} is {value!r}; it must be a whole number from {low} to {high}",
            code="bad_parameter",
        )
    return value


class TrainedKind(FaissKind):
    """A kind that learns from its first vectors: they wait in a plain list until there are enough.

    While they wait, they are scanned.
    """

    def __init__(self, dim: int, *, given: Mapping[str, Value]) -> None:
        super().__init__(dim, given=given)
        self._waiting: list[Vectors] = []
        self._was_trained = False

    @property
    def is_trained(self) -> bool:
        if not self._was_trained:  # asking faiss takes a while
            self._was_trained = bool(self.core.is_trained)
        return self._was_trained

    @property
    @abstractmethod
    def n_least(self) -> int:
        """Count the vectors without which training is impossible."""

    @property
    @abstractmethod
    def n_enough(self) -> int:
        """Count the vectors at which waiting ends."""

    def train(self, vectors: Vectors) -> None:
        """Learn, then put away what has waited for it."""
        self.core.train(vectors)
        self._after_training()
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            self.core.add(block)

    def _after_training(self) -> None:  # most kinds have nothing to do
        """Prepare the trained index for its first vector."""

    def add(self, vectors: Vectors) -> None:
        if self.is_trained:
            self.core.add(vectors)
            return
        self._waiting.append(vectors.copy())
        if sum(len(block) for block in self._waiting) >= self.n_enough:
            self._waiting = [np.concatenate(self._waiting)]
            self.train(self._waiting[0])

    def rows(self, positions: Ids) -> Vectors:
        if not self.is_trained:
            return np.concatenate(self._waiting)[positions]
        return self._trained_rows(positions)

    @abstractmethod
    def _trained_rows(self, positions: Ids) -> Vectors: ...

    def pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]:
        if self.is_trained:
            yield from self._trained_pieces()
            return
        start = 0
        for block in self._waiting:
            yield block, slice(start, start + len(block))
            start += len(block)

    @abstractmethod
    def _trained_pieces(self) -> Iterator[tuple[StoredRows, slice | Ids]]: ...
