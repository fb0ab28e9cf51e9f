"""How much of a blend is learnt: the smallest share that validation finds as good as any."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from retrieval.encoders.model_file import HeadSpec
from retrieval.training.adopt import KS, Recalls, held_out_recalls
from retrieval.training.features import Features
from retrieval.training.heads_plan import PairTypes, mapped_vectors
from retrieval.types import Modality

__all__ = ["choose_shares", "recalls_of"]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# The model the head was trained in has 0.7; 1 forgets what the base knew.
_SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# A lower share is as good if it loses at most this part of the best hit@1.
_SLACK = 0.005


def choose_shares(
    features: Features,
    *,
    rows: Ids,
    types: PairTypes,
    heads: Mapping[Modality, HeadSpec],
    tensors: Mapping[str, Vectors],
) -> tuple[dict[str, Vectors], dict[Modality, float]]:
    """Set the share of each blend: the smallest whose hit@1 on some rows is near the best.

    One modality after the other, the others as they stand: each has pairs of its own.

    Args:
        features: of all rows.
        rows: int64 [R], the validation rows.
        types: pair types judged.
        heads: how the heads are built.
        tensors: their weights, as trained.

    Returns:
        The tensors with the shares chosen, and the shares by modality.
    """
    out, chosen = dict(tensors), {}
    for side in (s for s, head in heads.items() if head.kind == "blend"):
        scores = {}
        for share in _SHARES:
            out[f"{side}.share"] = np.array([share], dtype=np.float32)
            recalls = recalls_of(features, rows=rows, types=types, heads=heads, tensors=out)
            scores[share] = _first_hits(recalls)
        floor = max(scores.values()) - _SLACK
        chosen[side] = next(share for share in _SHARES if scores[share] >= floor)
        out[f"{side}.share"] = np.array([chosen[side]], dtype=np.float32)
    return out, chosen


def recalls_of(
    features: Features,
    *,
    rows: Ids,
    types: PairTypes,
    heads: Mapping[Modality, HeadSpec],
    tensors: Mapping[str, Vectors],
    dim: int | None = None,
) -> Recalls:
    """Search the rows among themselves with heads applied by the code that will serve them.

    With `dim`, by vectors cut to that prefix.
    """
    vectors = mapped_vectors(features, rows=rows, heads=heads, tensors=tensors, dim=dim)
    return held_out_recalls(features, rows=rows, vectors=vectors, pairs=types)


def _first_hits(recalls: Recalls) -> float:
    """Share of all queries whose first answer is right: ten class names weigh as ten queries."""
    column = KS.index(1)
    return float(np.concatenate([hits[:, column] for hits in recalls.values()]).mean())
