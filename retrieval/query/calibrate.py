"""Measure what scores mean, per pair of modalities, with random queries of a generation.

Centring (MODELS.md 3; GR-CLIP) searches with q - mean of the queries of its modality, which takes
from every item the bias it has towards all such queries. It is on per direction of a model only
where it measured better (benchmarks/quality/calibration.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from index.types import Ids, Vectors
from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.query.bank import TEXTS
from retrieval.query.generation import Generation
from retrieval.query.hub_search import Hubs, measure_hubs, read_alphas, search_corrected
from retrieval.query.kept import Arrays, Kept
from retrieval.query.open_space import OpenSpace
from retrieval.query.pair import MIN_SPREAD, Pair
from retrieval.store import BANK_KIND
from retrieval.types import Modality, Space

MIN_PARTS = 30
"""Fewer stored parts of a modality than this say nothing about a distribution."""

_VERSION = 1  # raise when the same vectors give other figures
_SAMPLE = 1024
_MIN_SCORE_SPREAD = 0.01
_MAX_COMPARISONS = 4_000_000
_FEWEST_QUERIES = 32
# (query, part) directions of a model in which centring measured better. None with these weights:
# text->audio .940 for .950 on ESC-10, text->image .292 for .309 on shop photos (R@10), audio->image
# .852 for .889 in the demo; image->text gains .011 with sentences and nowhere else.
CENTRED: dict[str, frozenset[tuple[str, str]]] = {"starter": frozenset()}


class Calibrator:
    """Calibrates the pairs of one generation of a store, each when it is first asked for."""

    def __init__(
        self,
        *,
        reader: Reader,
        generation: Generation,
        encoder: Encoder,
        centred: frozenset[tuple[str, str]] | None = None,
        alphas: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        self._reader = reader
        self._generation = generation
        self._encoder = encoder
        self._centred = CENTRED.get(encoder.name, frozenset()) if centred is None else centred
        self._alphas = alphas

    def pair(self, space: Space, query: Modality, part: Modality) -> Pair | None:
        """Give the distribution of a pair; None where the store holds too little to know it."""
        known = self._generation.pairs
        # What a store has chosen stays for a generation; who brings strengths of his own pays.
        own = None if self._alphas is None else self._alphas.get((query, part), 0.0)
        key = (space.id, query, part, (query, part) in self._centred, own)
        if key not in known:
            known[key] = self._kept_pair(space, query, part)
        return known[key]

    def _kept_pair(self, space: Space, query: Modality, part: Modality) -> Pair | None:
        """Read a pair that was measured on the very same vectors, or measure and keep it."""
        opened = self._generation.spaces.get(space.id)
        if opened is None or len(self.part_ids(part)) < MIN_PARTS:
            return None
        ids, alpha = self.part_ids(part), self._alpha(opened, query, part)
        # The vectors alone do not say which of them are of this modality, or count as queries.
        key = (
            _VERSION, opened.state, query, part, (query, part) in self._centred, alpha, TEXTS,
            ids.tobytes(), b"" if query == "text" else self.part_ids(query).tobytes(),
        )  # fmt: skip
        arrays = _kept(opened).get(
            "calibration", key, lambda: _arrays(self._measure(opened, query, part, alpha))
        )
        return Pair.from_arrays(arrays) if arrays else None

    def _alpha(self, opened: OpenSpace, query: Modality, part: Modality) -> float:
        """Give the strength of hub correction; between parts of one kind there is none."""
        alphas = read_alphas(opened.store, opened.space) if self._alphas is None else self._alphas
        return alphas.get((query, part), 0.0) if query != part else 0.0

    def _measure(
        self, opened: OpenSpace, query: Modality, part: Modality, alpha: float
    ) -> Pair | None:
        space = opened.space
        ids = self.part_ids(part)
        sample_ids, sample = opened.lookup(_spread(ids, _SAMPLE))
        query_ids, queries = self._queries(opened, query, n_parts=len(ids))
        if len(sample) < MIN_PARTS or len(queries) < MIN_PARTS:
            return None
        shift = np.zeros((1, space.dim), np.float32)
        if (query, part) in self._centred:
            shift = queries.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        ranking, own = _ranking(queries, query_ids, shift=shift)
        hubs = measure_hubs(opened, ids, bank=ranking, alpha=alpha, sample_ids=sample_ids)
        best = _best_z(opened, ranking, own, sample=sample, hubs=hubs, allowed=ids)
        if not len(best):
            return None
        (z, z_spread), (score, score_spread) = (_robust(column) for column in best.T)
        return Pair(
            sample, shift, z, max(z_spread, 0.05), score, max(score_spread, _MIN_SCORE_SPREAD), hubs
        )

    def part_ids(self, part: Modality) -> Ids:
        """List the ids of the parts of a modality, ascending."""
        key = f"parts:{part}"
        if key not in self._generation.modality_ids:
            found = self._reader.part_ids(part_modalities=(part,))
            self._generation.modality_ids[key] = found
        return self._generation.modality_ids[key]

    def _queries(
        self, opened: OpenSpace, query: Modality, *, n_parts: int
    ) -> tuple[Ids | None, Vectors]:
        """Give random queries: texts of the bank, or stored pictures and sounds with their ids."""
        n_wanted = max(_FEWEST_QUERIES, min(len(TEXTS), _MAX_COMPARISONS // n_parts))
        if query == "text":
            vectors = self._bank(opened)[:: max(1, len(TEXTS) // n_wanted)]
            return None, vectors[vectors.any(axis=1)]
        ids = _spread(self.part_ids(query), n_wanted)
        found, vectors = opened.lookup(ids)
        return found, vectors

    def _bank(self, opened: OpenSpace) -> Vectors:
        """Give the vectors of all texts of the bank, which no store changes."""
        space = opened.space

        def make() -> Arrays:
            return {"vectors": self._encoder.encode(list(TEXTS), modality="text", space=space)}

        key = (_VERSION, space.id, space.fingerprint, TEXTS)
        return np.asarray(_kept(opened).get(BANK_KIND, key, make)["vectors"], dtype=np.float32)


def _arrays(pair: Pair | None) -> Arrays:
    return {} if pair is None else pair.to_arrays()  # none: too little was there to measure


def _kept(opened: OpenSpace) -> Kept:
    return Kept(opened.store.derived, tmp=opened.store.tmp)


def _ranking(
    queries: Vectors, query_ids: Ids | None, *, shift: Vectors
) -> tuple[Vectors, Ids | None]:
    """Centre queries; those of which nothing is left go."""
    moved = queries - shift
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    good = norms[:, 0] > 1e-6
    ranking = np.ascontiguousarray((moved / np.maximum(norms, 1e-6))[good], dtype=np.float32)
    return ranking, None if query_ids is None else query_ids[good]


def _best_z(
    opened: OpenSpace,
    ranking: Vectors,
    own: Ids | None,
    *,
    sample: Vectors,
    hubs: Hubs | None,
    allowed: Ids,
) -> np.ndarray:
    """Give each query's best z and best score over all parts but itself. float64 [Q, 2]"""
    scores = ranking @ sample.T - (0.0 if hubs is None else hubs.of_sample)
    means, spreads = scores.mean(axis=1), scores.std(axis=1)
    found = search_corrected(opened, ranking, k=2, allowed=allowed, hubs=hubs)
    best = []
    for row in range(len(ranking)):
        first = 1 if own is not None and found.ids[row, 0] == own[row] else 0
        if first < found.counts[row] and spreads[row] > MIN_SPREAD:
            score = float(found.scores[row, first])
            best.append(((score - float(means[row])) / float(spreads[row]), score))
    return np.array(best, dtype=np.float64)


def _robust(values: np.ndarray) -> tuple[float, float]:
    """Give the median, and the spread that a normal distribution would have by its quartiles."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _spread(ids: Ids, n: int) -> Ids:
    """Take about n ids, evenly spread over all of them."""
    if len(ids) <= n:
        return ids
    return ids[np.linspace(0, len(ids) - 1, n).round().astype(np.int64)]
