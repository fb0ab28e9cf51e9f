"""Hub correction in a search: ranking by score(q, x) = q.x - alpha b(x), exactly, on any index.

b(x) is `hubs.hub_bias` of part x. An index ranks by q.x; what it has not given yet scores at most
its last score - alpha min b. So more are asked for until the k best of those that were given are
above that (Fagin's threshold algorithm, with one list). The strength alpha of each direction is
chosen by `crossfind index tune --hubs`, and 0 unless it surely helps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from index.allowed import Allowed
from index.checks import MAX_K
from index.storage import publish
from index.types import Ids, Neighbors, Vectors
from retrieval.query.hubs import hub_bias
from retrieval.query.open_space import OpenSpace
from retrieval.store import HUBS_KIND, Store
from retrieval.types import Space

__all__ = ["Hubs", "measure_hubs", "read_alphas", "search_corrected", "write_alphas"]

_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Hubs:
    """What is taken from the scores of the parts of one modality.

    Attributes:
        ids: int64 [N], ascending.
        taken: float32 [N], alpha b(x).
        of_sample: float32 [S], the same for the sample that scores are standardised with.
    """

    ids: Ids
    taken: Vectors
    of_sample: Vectors

    @property
    def least(self) -> float:
        """What is taken from every part at least."""
        return float(self.taken.min()) if len(self.taken) else 0.0

    def of(self, ids: Ids) -> Vectors:
        """Look up what is taken from parts; the least from those that are not known."""
        if not len(self.ids):
            return np.zeros(len(ids), np.float32)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, self.taken[at], np.float32(self.least))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Give what is kept on disk."""
        return {"ids": self.ids, "taken": self.taken, "of_sample": self.of_sample}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Hubs:
        """Read what was kept."""
        taken, of_sample = (np.asarray(arrays[n], np.float32) for n in ("taken", "of_sample"))
        return cls(np.asarray(arrays["ids"], np.int64), taken, of_sample)


def measure_hubs(
    opened: OpenSpace, ids: Ids, *, bank: Vectors, alpha: float, sample_ids: Ids
) -> Hubs | None:
    """Measure how near the parts of a modality are to a bank of queries.

    Args:
        opened: the space.
        ids: int64 [N], of the parts, ascending.
        bank: float32 [B, D], unit length, as queries rank.
        alpha: strength; 0 for none.
        sample_ids: int64 [S], some of the parts.

    Returns:
        What to take from scores; None without correction.
    """
    if not alpha:
        return None
    known: list[Ids] = [np.zeros(0, np.int64)]
    taken: list[Vectors] = [np.zeros(0, np.float32)]
    for start in range(0, len(ids), _BLOCK):
        here, vectors = opened.lookup(ids[start : start + _BLOCK])
        known.append(here)
        taken.append(np.float32(alpha) * hub_bias(vectors, bank=bank))
    owners = np.concatenate(known)
    order = np.argsort(owners, kind="stable")
    hubs = Hubs(owners[order], np.concatenate(taken)[order], np.zeros(0, np.float32))
    return Hubs(hubs.ids, hubs.taken, hubs.of(sample_ids))


def search_corrected(
    opened: OpenSpace,
    queries: Vectors,
    *,
    k: int,
    allowed: Ids | Allowed | None,
    hubs: Hubs | None,
) -> Neighbors:
    """Find the k best parts of each query by corrected score, ties by id.

    Args:
        opened: the space.
        queries: float32 [Q, D], unit length.
        k: how many.
        allowed: parts that may be found; None for all.
        hubs: what is taken from scores; None for nothing.
    """
    if hubs is None or not len(queries):
        return opened.search(queries, k=k, allowed=allowed)
    n_all = max(k, min(len(opened), MAX_K))
    n_asked = min(2 * k + 16, n_all)
    while True:
        found = opened.search(queries, k=n_asked, allowed=allowed)
        rows = [_best(found, row, k=k, hubs=hubs) for row in range(len(queries))]
        if n_asked >= n_all or all(sure for _, _, sure in rows):
            break
        n_asked = min(4 * n_asked, n_all)
    ids, scores = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)
    for row, (own, corrected, _) in enumerate(rows):
        ids[row, : len(own)], scores[row, : len(own)] = own, corrected
    return Neighbors(ids, scores, np.array([len(own) for own, _, _ in rows], dtype=np.int64))


def _best(found: Neighbors, row: int, *, k: int, hubs: Hubs) -> tuple[Ids, Vectors, bool]:
    """Give the k best of what an index gave, and whether nothing else can be among them."""
    n = int(found.counts[row])
    ids, scores = found.ids[row, :n], found.scores[row, :n]
    corrected = scores - hubs.of(ids)
    order = np.lexsort((ids, -corrected))[:k]
    sure = n < found.ids.shape[1]
    if not sure and len(order) == k:
        sure = bool(corrected[order[-1]] > scores[-1] - hubs.least)
    return ids[order], corrected[order], sure


def read_alphas(store: Store, space: Space) -> dict[tuple[str, str], float]:
    """Read the strengths that were chosen for a space: (query, part) -> alpha; none: no file."""
    path = store.derived / f"{HUBS_KIND}-{space.fingerprint[:32]}.json"
    try:
        told = json.loads(path.read_text(encoding="ascii"))
        return {cast(tuple[str, str], tuple(key.split(">"))): float(a) for key, a in told.items()}
    except (OSError, ValueError, AttributeError):
        return {}  # never chosen, or lost: as good as before


def write_alphas(store: Store, space: Space, alphas: Mapping[tuple[str, str], float]) -> None:
    """Keep the strengths chosen for a space, beside those of directions that were not asked."""
    told = {">".join(k): a for k, a in (read_alphas(store, space) | dict(alphas)).items() if a}
    raw = json.dumps(told, sort_keys=True).encode("ascii")
    path = store.derived / f"{HUBS_KIND}-{space.fingerprint[:32]}.json"
    publish(path, tmp=store.tmp, write=lambda sink: _write(sink, raw))


def _write(sink: BinaryIO, data: bytes) -> None:
    sink.write(data)
