"""From encoded pairs to what is trained: which pair types, which heads, on which tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import HeadSpec
from retrieval.encoders.trained import apply_head
from retrieval.errors import ModelError, UsageError
from retrieval.training.classes import ClassRows
from retrieval.training.features import SIDES, Features
from retrieval.training.guides import Guide
from retrieval.training.heads_job import HeadOptions
from retrieval.training.objective import PairsObjective
from retrieval.training.pairs import Pair
from retrieval.types import Modality, Space

__all__ = [
    "PairTypes",
    "check_options",
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


def check_options(options: HeadOptions, *, types: PairTypes, dim: int) -> None:
    """Refuse options that would have no effect on these pairs.

    Raises:
        UsageError: a prefix that is none (`bad_dims`), a weight for pairs that are not there
            (`bad_weights`), or a class file for a modality without a head (`bad_classes`).
    """
    wrong = [d for d in options.dims if not 1 <= d < dim]
    if wrong:
        raise UsageError(
            f"prefixes {wrong} do not lie in 1 to {dim - 1}, the dims of this base; "
            "leave the full one out",
            code="bad_dims",
        )
    known = ", ".join("-".join(pair) for pair in types)
    for pair, weight in options.weights.items():
        if pair not in types or weight <= 0:
            raise UsageError(
                f"a weight of {weight:g} for {'-'.join(pair)} has no use here; pairs of {known} "
                "are trained, with weights above 0",
                code="bad_weights",
            )
    for side in options.classes:
        if (side, "text") not in types:
            raise UsageError(
                f"classes of {side} need pairs of {side} and text; these are {known}",
                code="bad_classes",
            )


def training_objective(
    features: Features,
    *,
    rows: Ids,
    types: PairTypes,
    options: HeadOptions,
    guides: Sequence[Guide] = (),
    classes: Sequence[ClassRows] = (),
) -> PairsObjective:
    """Put the training rows into tensors, then the classes, with the loss that was asked for."""
    sides = [side for side in SIDES if any(side in pair for pair in types)]
    dim = features.vectors["text"].shape[1]
    n_classes = sum(len(c.texts) for c in classes)
    return PairsObjective(
        features={s: _stack(features.head_inputs(s, rows=rows), s, classes) for s in sides},
        present={s: _stack(features.present[s][rows], s, classes) for s in sides},
        groups={s: _stack(features.groups[s][rows], s, classes) for s in sides},
        weights={pair: options.weights.get(pair, 1.0) for pair in types},
        loss=options.loss,
        dims=(*options.dims, dim) if options.dims else (),
        gap_weight=options.gap_weight,
        guides=[guide.extended(n_classes) for guide in guides],
    )


def _stack(
    values: npt.NDArray[Any], side: Modality, classes: Sequence[ClassRows]
) -> torch.Tensor:  # Any: vectors, presence or groups
    """Put the rows of classes below those of the data."""
    parts, n_rows = [values], len(values)
    for of_one in classes:
        n = len(of_one.texts)
        there = side in ("text", of_one.side)
        if values.dtype == np.bool_:
            parts.append(np.full(n, there))
        elif values.ndim == 1:
            alone = -(1 << 40) - n_rows - np.arange(n)
            parts.append(of_one.groups if side == "text" else alone)
        elif there:
            parts.append(of_one.texts if side == "text" else of_one.inputs)
        else:
            parts.append(np.zeros((n, values.shape[1]), np.float32))
        n_rows += n
    return torch.from_numpy(np.concatenate(parts))


def mapped_vectors(
    features: Features,
    *,
    rows: Ids,
    heads: Mapping[Modality, HeadSpec],
    tensors: Mapping[str, Vectors],
    dim: int | None = None,
) -> dict[str, Vectors]:
    """Apply heads in numpy to some rows: modality -> float32 [R, D], unit length or zero.

    With `dim`, cut to that prefix and brought to unit length again.
    """
    out: dict[str, Vectors] = {}
    for side in SIDES:
        vectors = features.vectors[side][rows]
        if side in heads:
            weights = {name: tensors[f"{side}.{name}"] for name in heads[side].shapes()}
            inputs = features.head_inputs(side, rows=rows)
            vectors = apply_head(inputs, head=heads[side], weights=weights)
        if side in heads or dim is not None:
            vectors = vectors[:, :dim]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            there = features.present[side][rows][:, None]
            vectors = np.where(there, vectors / np.maximum(lengths, 1e-12), 0).astype(np.float32)
        out[side] = vectors
    return out
