"""The Encoder contract: `encode` checks, batches and normalises; an adapter writes one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError, ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space

Vectors = npt.NDArray[np.float32]

# Shorter than this and the direction of a vector is rounding noise.
_MIN_NORM = 1e-6


class Encoder(ABC):
    """Turn media of one or more modalities into unit vectors of one or more Spaces.

    An adapter sets `name`, `spaces`, `media` and `batch_size`, and writes `_encode_batch`; see also
    `TrunkEncoder`.

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
        target = self._target(modality, space=space)
        out = np.zeros((len(inputs), target.dim), dtype=np.float32)
        for rows, batch in self._batches(inputs, modality=modality):
            raw = self._encode_batch(batch, modality=modality, space=target)
            out[rows] = _unit(self._shaped(raw, n=len(batch), dim=target.dim))
        return out

    def _target(self, modality: Modality, *, space: Space | None) -> Space:
        """Find the Space wanted, or the first that holds the modality."""
        target = space or next((s for s in self.spaces if modality in s.modalities), None)
        if target is None or modality not in target.modalities or target not in self.spaces:
            raise ModelError(
                f"model {self.name} does not encode {modality}"
                + (f" into space {space.id}" if space else ""),
                code="modality_not_served",
            )
        return target

    def _batches(
        self, inputs: Sequence[Payload], *, modality: Modality
    ) -> Iterator[tuple[slice, Sequence[Payload]]]:
        """Check all inputs, then cut them into batches, each with its rows."""
        check_inputs(inputs, modality=modality)
        step = max(1, self.batch_size.get(modality, 32))
        for start in range(0, len(inputs), step):
            yield slice(start, start + step), inputs[start : start + step]

    def _shaped(self, raw: npt.ArrayLike, *, n: int, dim: int) -> Vectors:
        """Make what an adapter gave float32, and refuse a wrong shape."""
        vectors = np.asarray(raw, dtype=np.float32)
        if vectors.shape != (n, dim):
            raise ModelError(
                f"model {self.name} gave vectors of shape {vectors.shape} for {n} inputs; "
                f"expected {(n, dim)}",
                code="model_shape",
            )
        return vectors

    @abstractmethod
    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> npt.NDArray[np.float32]:
        """Encode one batch; float32 [N, space.dim], any length."""

    def close(self) -> None:  # noqa: B027 - an adapter without resources has nothing to do
        """Give back what the model holds."""


class TrunkEncoder(Encoder):
    """An Encoder whose vectors come from richer features, on which other heads can stand.

    Attributes:
        trunk_dims: length F of the features, by modality that has them.
    """

    trunk_dims: Mapping[Modality, int]

    def encode_with_trunk(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space | None = None
    ) -> tuple[Vectors, Vectors]:
        """Do `encode` and give the features too, in one pass.

        Args:
            inputs, space: see `encode`.
            modality: one of `trunk_dims`.

        Returns:
            The vectors float32 [N, D], unit length, and the features float32 [N, F], any length.
            A row the model could not place is all zero in both.

        Raises:
            ModelError: the modality has no trunk (`modality_not_served`), or see `encode`.
            InputError: see `encode`.
        """
        target = self._target(modality, space=space)
        if modality not in self.trunk_dims:
            raise ModelError(
                f"model {self.name} has no trunk for {modality}; it has one for "
                f"{', '.join(self.trunk_dims)}",
                code="modality_not_served",
            )
        dim = self.trunk_dims[modality]
        out = np.zeros((len(inputs), target.dim), dtype=np.float32)
        features = np.zeros((len(inputs), dim), dtype=np.float32)
        for rows, batch in self._batches(inputs, modality=modality):
            raw, trunk = self._trunk_batch(batch, modality=modality, space=target)
            trunk = self._shaped(trunk, n=len(batch), dim=dim)
            vectors = _unit(self._shaped(raw, n=len(batch), dim=target.dim))
            placed = np.asarray(vectors.any(axis=1) & np.isfinite(trunk).all(axis=1))
            out[rows] = np.where(placed[:, None], vectors, 0)
            features[rows] = np.where(placed[:, None], trunk, 0)
        return out, features

    @abstractmethod
    def _trunk_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Encode one batch as `_encode_batch`, and give the features [N, F]."""


def check_inputs(inputs: Sequence[Payload], *, modality: Modality) -> None:
    """Refuse inputs whose type or shape does not fit their modality.

    Args:
        inputs, modality: see `Encoder.encode`.

    Raises:
        InputError: names the first of them, by its position (`bad_payload`).
    """
    for position, value in enumerate(inputs):
        _check(value, modality=modality, position=position)


def _check(value: Payload, *, modality: Modality, position: int) -> None:
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
