"""Files decoded and encoded elsewhere: how their vectors travel, and pass for payloads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder, Vectors
from retrieval.errors import ModelError
from retrieval.types import Details, Failure, Loaded, LoadedPart, Modality, Payload, Space

Row = dict[str, Any]  # Any: what a column of a Ray dataset holds


class EncodedText(str):
    """A text that brings its vectors along.

    Attributes:
        vectors: float32 [sum of D], of every space that holds texts, behind each other.
    """

    vectors: Vectors

    def __new__(cls, text: str, vectors: Vectors) -> EncodedText:
        """Make it of both."""
        made = super().__new__(cls, text)
        made.vectors = vectors
        return made


class EncodedElsewhere(Encoder):
    """Stand for a model whose work was done elsewhere: the payloads are the vectors.

    Args:
        own: the store's model, for its names and spaces; it encodes nothing here.
    """

    def __init__(self, own: Encoder) -> None:
        self.name, self.spaces, self.media = own.name, own.spaces, own.media
        self.batch_size = own.batch_size

    def encode(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space | None = None
    ) -> Vectors:
        """Take the vectors of one space out of what the payloads bring."""
        target = self._target(modality, space=space)
        start = 0
        for one in spaces_of(self, modality):
            if one == target:
                break
            start += one.dim
        brought = [p.vectors if isinstance(p, EncodedText) else np.asarray(p) for p in inputs]
        rows = np.stack(brought)[:, start : start + target.dim]
        return np.ascontiguousarray(rows, np.float32)

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> npt.NDArray[np.float32]:
        return self.encode(inputs, modality=modality, space=space)


def spaces_of(encoder: Encoder, modality: Modality) -> list[Space]:
    """List the spaces that hold a modality, in the order of the model."""
    return [space for space in encoder.spaces if modality in space.modalities]


def encode_files(
    outcomes: Sequence[Loaded | Failure], *, encoder: Encoder
) -> list[tuple[Loaded | Failure, Vectors]]:
    """Encode the parts of many files together.

    Args:
        outcomes: what became of the files.
        encoder: the model.

    Returns:
        Each file with the vectors of its parts, behind each other, float32 [all of them].
    """
    parts = [part for one in outcomes if isinstance(one, Loaded) for part in one.parts]
    vectors: list[Vectors] = [np.zeros(0, np.float32)] * len(parts)
    for modality in sorted({part.modality for part in parts}):
        at = [number for number, part in enumerate(parts) if part.modality == modality]
        payloads = [parts[number].payload for number in at]
        made = [
            encoder.encode(payloads, modality=modality, space=space)
            for space in spaces_of(encoder, modality)
        ]
        for number, row in zip(at, np.concatenate(made, axis=1) if made else (), strict=True):
            vectors[number] = row
    encoded, start = [], 0
    for one in outcomes:
        n_parts = len(one.parts) if isinstance(one, Loaded) else 0
        mine = vectors[start : start + n_parts]
        encoded.append((one, np.concatenate([np.zeros(0, np.float32), *mine])))
        start += n_parts
    return encoded


def to_row(outcome: Loaded | Failure, vectors: Vectors) -> Row:
    """Write a file and its vectors as text and bytes: no pickle."""
    if isinstance(outcome, Failure):
        return {"head": json.dumps({"bad": asdict(outcome)}), "vectors": b""}
    parts = [
        [p.modality, p.payload if isinstance(p.payload, str) else None, p.start_s, p.end_s,
         p.record, p.caption]
        for p in outcome.parts
    ]  # fmt: skip
    fields = {**asdict(replace(outcome, parts=())), "parts": parts}
    return {"head": json.dumps({"loaded": fields}), "vectors": vectors.tobytes()}


def from_row(row: Row, *, encoder: Encoder) -> Loaded | Failure:
    """Read what `to_row` wrote; the payloads of its parts are vectors, or texts that bring them.

    Raises:
        ModelError: the vectors are not as many as the parts need: the workers run another model.
    """
    head = json.loads(row["head"])
    if "bad" in head:
        return Failure(**head["bad"])
    fields = head["loaded"]
    rest = np.frombuffer(row["vectors"], np.float32)
    parts = []
    for modality, text, start_s, end_s, record, caption in fields.pop("parts"):
        dim = sum(space.dim for space in spaces_of(encoder, modality))
        mine, rest = rest[:dim], rest[dim:]
        if len(mine) != dim:
            raise ModelError(
                f"a worker sent {len(mine)} values where {encoder.name} has {dim}; "
                "install the same crossfind and model on every machine",
                code="model_shape",
            )
        payload = mine if text is None else EncodedText(text, mine)
        parts.append(LoadedPart(modality, payload, start_s, end_s, record, caption))
    details = fields.pop("details")
    return Loaded(
        **{**fields, "flags": tuple(fields["flags"])},
        parts=tuple(parts),
        details=Details(**{**details, "tags": tuple(details["tags"])}),
    )
