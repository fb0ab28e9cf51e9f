"""Vectors of texts that were asked for lately: the same words are searched again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from retrieval.encoders.base import Encoder, Vectors
from retrieval.types import Space

# 4,096 vectors of 768 floats are 12 MB.
MAX_ENTRIES = 4096


class TextCache:
    """Remember text vectors, the least lately used going first; for several threads.

    Args:
        max_entries: the most vectors kept, at least 1.

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> cache, fake = TextCache(), FakeEncoder()
        >>> first = cache.encode(["red"], encoder=fake, space=fake.spaces[0])
        >>> again = cache.encode(["red"], encoder=fake, space=fake.spaces[0])
        >>> bool((first == again).all()), cache.n_hits, len(cache)
        (True, 1, 1)
    """

    def __init__(self, *, max_entries: int = MAX_ENTRIES) -> None:
        self.n_hits = 0
        self._max_entries = max_entries
        self._vectors: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def encode(self, texts: Sequence[str], *, encoder: Encoder, space: Space) -> Vectors:
        """Give the vectors of texts, encoding those that are not remembered.

        Args:
            texts: any.
            encoder: the model.
            space: of it; its fingerprint is part of what is remembered.

        Returns:
            float32 [N, D], as `Encoder.encode` gives them.
        """
        found = self._look_up(texts, space=space)
        missing = list(dict.fromkeys(t for t, v in zip(texts, found, strict=True) if v is None))
        if missing:
            made = encoder.encode(missing, modality="text", space=space)
            rows = dict(zip(missing, made, strict=True))
            self._remember(rows, space=space)
            found = [rows[t] if v is None else v for t, v in zip(texts, found, strict=True)]
        kept = [vector for vector in found if vector is not None]
        return np.stack(kept) if kept else np.zeros((0, space.dim), np.float32)

    def _look_up(self, texts: Sequence[str], *, space: Space) -> list[Vectors | None]:
        with self._lock:
            found = []
            for text in texts:
                key = (space.fingerprint, text)
                vector = self._vectors.get(key)
                if vector is not None:
                    self._vectors.move_to_end(key)
                    self.n_hits += 1
                found.append(vector)
            return found

    def _remember(self, rows: dict[str, Vectors], *, space: Space) -> None:
        with self._lock:
            for text, vector in rows.items():
                # A copy: a row of a large batch would keep the whole batch alive.
                self._vectors[space.fingerprint, text] = vector.copy()
            while len(self._vectors) > self._max_entries:
                self._vectors.popitem(last=False)


TEXT_CACHE = TextCache()
"""The one that queries of this process share."""
