"""From encoded pairs to what is trained: which pair types, which heads, on which tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import HeadSpec
from retrieval.encoders.trained import apply_head
from retrieval.errors import ModelError, UsageError
from retrieval.training.features import SIDES, Features
from retrieval.training.heads_job import HeadOptions
from retrieval.training.objective import PairsObjective
from retrieval.training.pairs import Pair
from retrieval.types import Modality, Space

__all__ = [
    "PairTypes",
    "choose_space",
    "head_specs",
    "mapped_vectors",
    "n_rows_of",
    "pair_types",
    "training_objective",
]

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
PairType = tuple[Modality, Modality]
PairTypes = tuple[PairType, ...]

# Text last: it is the hub, and stays as the base has it.
_PAIR_TYPES: PairTypes = (("image", "text"), ("audio", "text"), ("image", "audio"))
# Fewer training rows than this teach a head nothing that holds.
_MIN_ROWS = 8


def choose_space(pairs: Sequence[Pair], *, encoder: Encoder) -> Space:
    """Choose the Space of the base model in which most rows have two sides.

    Args:
        pairs: the rows.
        encoder: the base model.

    Returns:
        One of its Spaces; the first of equals.

    Raises:
        ModelError: no Space holds two sides of any row (`pair_not_served`).

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> choose_space([Pair("1", text="red", image="r.png")], encoder=FakeEncoder()).id
        'fake'
    """

    def n_served(space: Space) -> int:
        sides = [s for s in SIDES if s in space.modalities]
        return sum(sum(getattr(p, side) is not None for side in sides) >= 2 for p in pairs)

    best = max(encoder.spaces, key=n_served)
    if n_served(best) == 0:
        raise ModelError(
            f"model {encoder.name} has no space that holds two sides of any of {len(pairs)} pairs; "
            "use another base",
            code="pair_not_served",
        )
    return best


def n_rows_of(pair: PairType, *, features: Features) -> int:
    """Count the rows that have both sides of a pair type."""
    return int((features.present[pair[0]] & features.present[pair[1]]).sum())


def pair_types(features: Features, *, rows: Ids) -> PairTypes:
    """List the pair types that the training rows hold often enough.

    Raises:
        UsageError: there is none (`too_few_pairs`).
    """
    found = tuple(
        pair
        for pair in _PAIR_TYPES
        if (features.present[pair[0]][rows] & features.present[pair[1]][rows]).sum() >= _MIN_ROWS
    )
    if not found:
        raise UsageError(
            f"of {len(rows)} training rows fewer than {_MIN_ROWS} have two sides that could be "
            f"encoded ({len(features.failures)} files failed); give more pairs",
            code="too_few_pairs",
        )
    return found


def head_specs(
    types: PairTypes, *, features: Features, options: HeadOptions
) -> dict[Modality, HeadSpec]:
    """Give a head to every modality in the pair types but text; see `HeadOptions`."""
    dim = features.vectors["text"].shape[1]
    hidden = 0 if options.kind == "linear" else options.dim_hidden
    plain = HeadSpec(options.kind, dim_in=dim, dim_out=dim, dim_hidden=hidden)
    blends = {
        side: HeadSpec("blend", dim + trunk.shape[1], dim_out=dim, dim_hidden=options.dim_hidden)
        for side, trunk in features.trunks.items()
    }
    wanted = [side for side in SIDES if side != "text" and any(side in pair for pair in types)]
    return {side: blends.get(side, plain) for side in wanted}


def training_objective(
    features: Features, *, rows: Ids, types: PairTypes, options: HeadOptions
) -> PairsObjective:
    """Put the training rows into tensors, with the loss that was asked for."""
    sides = [side for side in SIDES if any(side in pair for pair in types)]
    dim = features.vectors["text"].shape[1]
    return PairsObjective(
        features={s: torch.from_numpy(features.head_inputs(s, rows=rows)) for s in sides},
        present={s: torch.from_numpy(features.present[s][rows]) for s in sides},
        groups={s: torch.from_numpy(features.groups[s][rows]) for s in sides},
        weights={pair: options.weights.get(pair, 1.0) for pair in types},
        loss=options.loss,
        dims=(*options.dims, dim) if options.dims else (),
        gap_weight=options.gap_weight,
    )


def mapped_vectors(
    features: Features,
    *,
    rows: Ids,
    heads: Mapping[Modality, HeadSpec],
    tensors: Mapping[str, Vectors],
) -> dict[str, Vectors]:
    """Apply heads in numpy to some rows: modality -> float32 [R, D], unit length or zero."""
    out: dict[str, Vectors] = {}
    for side in SIDES:
        vectors = features.vectors[side][rows]
        if side in heads:
            weights = {name: tensors[f"{side}.{name}"] for name in heads[side].shapes()}
            inputs = features.head_inputs(side, rows=rows)
            mapped = apply_head(inputs, head=heads[side], weights=weights)
            lengths = np.linalg.norm(mapped, axis=1, keepdims=True)
            there = features.present[side][rows][:, None]
            vectors = np.where(there, mapped / np.maximum(lengths, 1e-12), 0).astype(np.float32)
        out[side] = vectors
    return out
