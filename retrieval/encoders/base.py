"""The Encoder contract: `encode` checks, batches and normalises; an adapter writes one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from retrieval.errors import InputError, ModelError
from retrieval.types import MediaSpec, Modality, Payload, Space

Vectors = npt.NDArray[np.float32]

# Shorter than this and the direction of a vector is rounding noise.
_MIN_NORM = 1e-6


class Encoder(ABC):
    """Turn media of one or more modalities into unit vectors of one or more Spaces.

    An adapter sets `name`, `spaces`, `media` and `batch_size`, and writes `_encode_batch`. One
    whose vectors come from richer features also sets `trunk_dims` and writes `_trunk_batch`.

    Attributes:
        name: the model's name as a user writes it, e.g. `starter`.
        spaces: the Spaces this model offers.
        media: the form in which it wants its media.
        batch_size: the most inputs `_encode_batch` is given at once, by modality.
        trunk_dims: length of the trunk's features, by modality that has a trunk; see `trunk`.
    """

    name: str
    spaces: tuple[Space, ...]
    media: MediaSpec
    batch_size: dict[Modality, int]
    trunk_dims: Mapping[Modality, int] = MappingProxyType({})

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

    def trunk(self, inputs: Sequence[Payload], *, modality: Modality) -> Vectors:
        """Compute the features that the model's own heads stand on, for other heads to stand on.

        Args:
            inputs, modality: see `encode`.

        Returns:
            float32 [N, F], any length, F as `trunk_dims` says; the vectors of the modality's first
            Space where the model has no trunk. A row the model could not place is all zero.

        Raises:
            ModelError, InputError: see `encode`.
        """
        return self.encode_with_trunk(inputs, modality=modality)[1]

    def encode_with_trunk(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space | None = None
    ) -> tuple[Vectors, Vectors]:
        """Do `encode` and `trunk` in one pass.

        Args:
            inputs, modality, space: see `encode`.

        Returns:
            The vectors float32 [N, D], unit length, and the trunk's features float32 [N, F].

        Raises:
            ModelError, InputError: see `encode`.
        """
        target = self._target(modality, space=space)
        if modality not in self.trunk_dims:
            vectors = self.encode(inputs, modality=modality, space=target)
            if target == self._target(modality, space=None):
                return vectors, vectors
            return vectors, self.encode(inputs, modality=modality)
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

    def _trunk_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Encode one batch; as `_encode_batch`, and the trunk's features [N, F].

        Called only for the modalities in `trunk_dims`, and a model that has them writes it.
        """
        raise NotImplementedError(f"{type(self).__name__} names trunk_dims but has no _trunk_batch")

    def close(self) -> None:  # noqa: B027 - an adapter without resources has nothing to do
        """Give back what the model holds."""


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
