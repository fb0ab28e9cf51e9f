"""Parts that wait for a full batch of their modality, and the vectors made of them.

What waits and turns out to be known is left out before anything of it is encoded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from retrieval.encoders.base import Encoder, Vectors
from retrieval.types import Modality, Payload, Space

_BATCH_SIZE = 32  # of a modality for which the model names none


@dataclass(frozen=True, slots=True)
class _Part:
    key: int
    payload: Payload
    content_hash: str


class WaitingParts:
    """Collect parts and encode them by full batches, in the order they came.

    Args:
        encoder: the model.
        spaces: those of it that get vectors.

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> waiting = WaitingParts(FakeEncoder(), spaces=FakeEncoder().spaces)
        >>> waiting.put(7, "a dog", modality="text", content_hash="ab")
        >>> waiting.has_full
        False
        >>> waiting.encode_all()
        >>> [sorted(vectors) for vectors in waiting.vectors.values()]
        [[7]]
    """

    def __init__(self, encoder: Encoder, *, spaces: Sequence[Space]) -> None:
        self._encoder, self._spaces = encoder, tuple(spaces)
        self._parts: dict[Modality, list[_Part]] = defaultdict(list)
        self.vectors: dict[str, dict[int, Vectors]] = defaultdict(dict)
        """By id of the space, then by key: float32 [D]."""

    @property
    def has_full(self) -> bool:
        """Tell whether a batch is full."""
        return any(len(parts) >= self._size(modality) for modality, parts in self._parts.items())

    def put(
        self, key: int, payload: Payload, *, modality: Modality, content_hash: str = ""
    ) -> None:
        """Let a part wait.

        Args:
            key: under which its vectors will be found.
            payload: to encode.
            modality: of the payload.
            content_hash: of the content it is a part of, by which it can be left out.
        """
        self._parts[modality].append(_Part(key, payload, content_hash))

    def leave_out(self, hashes: Set[str]) -> None:
        """Drop what waits of some contents."""
        for modality, parts in self._parts.items():
            self._parts[modality] = [part for part in parts if part.content_hash not in hashes]

    def encode_full(self) -> None:
        """Encode the full batches; the rest waits for more."""
        for modality, parts in self._parts.items():
            self._encode(modality, n_first=len(parts) - len(parts) % self._size(modality))

    def encode_all(self) -> None:
        """Encode what waits."""
        for modality, parts in self._parts.items():
            self._encode(modality, n_first=len(parts))

    def _size(self, modality: Modality) -> int:
        return max(1, self._encoder.batch_size.get(modality, _BATCH_SIZE))

    def _encode(self, modality: Modality, *, n_first: int) -> None:
        if not n_first:
            return
        parts = self._parts[modality]
        ready, self._parts[modality] = parts[:n_first], parts[n_first:]
        payloads = [part.payload for part in ready]
        for space in self._spaces:
            if modality in space.modalities:
                vectors = self._encoder.encode(payloads, modality=modality, space=space)
                keys = (part.key for part in ready)
                self.vectors[space.id].update(zip(keys, vectors, strict=True))
