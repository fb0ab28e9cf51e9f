"""What a score means: how those of unrelated queries are distributed, per pair of modalities.

For a query q and parts x of one modality, with a sample of the stored parts:
    z          = (score - mean of q's scores) / spread of q's scores
    evidence   = (z - M) / S     M, S: median and robust spread of the best z of random queries
    confidence = 1 / (1 + exp(-1.702 (score - B) / T))
                              B, T: median and robust spread of the best score of random queries
1.702 makes the logistic follow the normal distribution, so confidence is about the share of
random queries whose best hit is worse. AND and OR are ordered by evidence, which, unlike
cosines, is comparable between modalities. Confidence does not use z: where the thing wanted is
common in a store, the spread of just that query is large (AUROC of present against absent
labels .43 with z, .95 with the score; benchmarks/quality/calibration.py).
Nor does other evidence of one query tell more than its best score: the gap to the tenth hit, how
much the first hits agree, how near query and hit are to random queries, the number of words; a
logistic of all of them gains .000 +- .011 on 421 drawings held out (halves of concepts, 20 deals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from index.types import Vectors
from retrieval.query.hub_search import Hubs
from retrieval.query.kept import Arrays

MIN_SPREAD = 1e-4
"""Scores that differ by less than this do not differ."""

_LOGISTIC = 1.702


@dataclass(frozen=True, slots=True)
class Pair:
    """How queries of one modality score parts of another.

    Attributes:
        sample: float32 [S, D], stored parts of the modality.
        shift: float32 [1, D], taken from a query before it ranks; zero without centring.
        best_z, best_z_spread: median and robust spread of the best z of random queries.
        best_score, best_score_spread: the same of their best scores.
        hubs: what is taken from the scores of parts that are near to everything; None: nothing.
    """

    sample: Vectors
    shift: Vectors
    best_z: float
    best_z_spread: float
    best_score: float
    best_score_spread: float
    hubs: Hubs | None = None

    def to_arrays(self) -> Arrays:
        """Give what to keep of it beside the store's indexes."""
        own = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self) if f.name != "hubs"}
        held = {} if self.hubs is None else self.hubs.to_arrays()
        return own | {f"hubs_{name}": array for name, array in held.items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Pair:
        """Make it of what `to_arrays` gave."""
        held = {n.removeprefix("hubs_"): a for n, a in arrays.items() if n.startswith("hubs_")}
        return cls(
            sample=np.asarray(arrays["sample"], np.float32),
            shift=np.asarray(arrays["shift"], np.float32),
            best_z=float(arrays["best_z"]),
            best_z_spread=float(arrays["best_z_spread"]),
            best_score=float(arrays["best_score"]),
            best_score_spread=float(arrays["best_score_spread"]),
            hubs=Hubs.from_arrays(held) if held else None,
        )

    def moments(self, ranking: Vectors) -> tuple[float, float]:
        """Give mean and spread of a query's scores over the sample.

        Args:
            ranking: float32 [1, D], what the query ranks by.
        """
        taken = 0.0 if self.hubs is None else self.hubs.of_sample
        scores = (self.sample @ ranking[0] - taken).astype(np.float64)
        return float(scores.mean()), max(float(scores.std()), MIN_SPREAD)

    def evidence(self, z: float) -> float:
        """Standardise z by the best z of random queries."""
        return (z - self.best_z) / self.best_z_spread

    def sureness(self, score: float) -> float:
        """Standardise a score by the best scores of random queries."""
        return (score - self.best_score) / self.best_score_spread


def confidence(sureness: float) -> float:
    """Turn a standardised score into a share in [0, 1].

    Example:
        >>> confidence(0.0), round(confidence(1.645), 2)
        (0.5, 0.94)
    """
    return 1.0 / (1.0 + math.exp(-_LOGISTIC * max(-40.0, min(40.0, sureness))))
