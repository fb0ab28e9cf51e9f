"""The Encoder contract: `encode` checks, batches and normalises; an adapter writes one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError, ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space

Vectors = npt.NDArray[np.float32]

# Shorter than this and the direction of a vector is rounding noise.
_MIN_NORM = 1e-6


class Encoder(ABC):
    """Turn media of one or more modalities into unit vectors of one or more Spaces.

    An adapter sets `name`, `spaces`, `media` and `batch_size`, and writes `_encode_batch`.

    Attributes:
        name: the model's name as a user writes it, e.g. `starter`.
        spaces: the Spaces this model offers.
        media: the form in which it wants its media.
        batch_size: the most inputs `_encode_batch` is given at once, by modality.
    """

    name: str
    spaces: tuple[Space, ...]
    media: MediaSpec
    batch_size: dict[Modality, int]

    def space_for(self, query: Modality, item: Modality) -> Space:
        """Name the Space in which a query of one modality finds parts of another.

        Args:
            query: modality of the query (image, audio or text).
            item: modality of the parts searched (image, audio or text).

        Returns:
            The Space that serves the pair best.

        Raises:
            ModelError: no Space of this model holds both (`pair_not_served`).
        """
        for space in self.spaces:
            if query in space.modalities and item in space.modalities:
                return space
        raise ModelError(
            f"model {self.name} cannot search {item} by {query}; "
            f"it knows {', '.join(sorted({m for s in self.spaces for m in s.modalities}))}",
            code="pair_not_served",
        )

    def encode(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space | None = None
    ) -> Vectors:
        """Encode inputs of one modality.

        Args:
            inputs: pictures uint8 RGB [H, W, 3], sounds float32 [T] in [-1, 1] at
                `media.sample_rate_hz`, or texts.
            modality: what they are.
            space: the Space wanted; the first that holds the modality if left out.

        Returns:
            float32 [N, D], unit length, row i for input i. A row the model could not place
            (not finite, or no length) is all zero: the caller drops that input by its row,
            and the batch's other rows stay aligned.

        Raises:
            ModelError: the model has no such modality or Space, or gave a wrong shape.
            InputError: an input has the wrong type or shape.
        """
        target = space or next((s for s in self.spaces if modality in s.modalities), None)
        if target is None or modality not in target.modalities or target not in self.spaces:
            raise ModelError(
                f"model {self.name} does not encode {modality}"
                + (f" into space {space.id}" if space else ""),
                code="modality_not_served",
            )
        for position, value in enumerate(inputs):
            _check(value, modality=modality, position=position)
        step = max(1, self.batch_size.get(modality, 32))
        out = np.zeros((len(inputs), target.dim), dtype=np.float32)
        for start in range(0, len(inputs), step):
            batch = inputs[start : start + step]
            raw = np.asarray(
                self._encode_batch(batch, modality=modality, space=target), dtype=np.float32
            )
            if raw.shape != (len(batch), target.dim):
                raise ModelError(
                    f"model {self.name} gave vectors of shape {raw.shape} for {len(batch)} inputs; "
                    f"expected {(len(batch), target.dim)}",
                    code="model_shape",
                )
            out[start : start + step] = _unit(raw)
        return out

    @abstractmethod
    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> npt.NDArray[np.float32]:
        """Encode one batch; float32 [N, space.dim], any length."""

    def close(self) -> None:  # noqa: B027 - an adapter without resources has nothing to do
        """Give back what the model holds."""


def _check(value: Payload, *, modality: Modality, position: int) -> None:
    """Refuse an input whose type or shape does not fit its modality."""
    if modality == "text":
        good = isinstance(value, str)
    elif modality == "image":
        good = (
            isinstance(value, np.ndarray)
            and value.dtype == np.uint8
            and value.ndim == 3
            and value.shape[2] == 3
            and value.size > 0
        )
    else:
        good = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 1
        good = good and len(value) > 0
    if not good:
        found = (
            f"{value.dtype} {list(value.shape)}"
            if isinstance(value, np.ndarray)
            else type(value).__name__
        )
        wanted = {
            "text": "str",
            "image": "uint8 [H, W, 3]",
            "audio": "float32 [T], T > 0",
        }.get(modality, "a part's modality")
        raise InputError(
            f"{modality} input {position} is {found}; expected {wanted}", code="bad_payload"
        )


def _unit(raw: Vectors) -> Vectors:
    """Normalise rows; rows that are not finite or have no length become zero."""
    finite = np.asarray(np.isfinite(raw).all(axis=1))
    safe = np.where(finite[:, None], raw, 0.0).astype(np.float32)
    norms = np.linalg.norm(safe, axis=1, keepdims=True)
    return np.where(norms > _MIN_NORM, safe / np.maximum(norms, _MIN_NORM), 0.0).astype(np.float32)
