"""Filling Spaces that do not serve yet: full batches, segments, commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from index.segments import write_segment
from index.storage import failpoint
from index.types import Ids
from retrieval.catalog.spaces import resting_name
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.encoders.base import Encoder, Vectors
from retrieval.store import Store
from retrieval.types import Modality, Part, Payload, Space


@dataclass
class _Waiting:
    ids: list[int] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)


class Filler:
    """Encode parts into pending Spaces; the writer lock is held.

    A part gets its vectors in all of its Spaces in one commit, or in none.

    Args:
        catalog, store: of the store.
        encoder: the new model.
        spaces: of it, those that are pending.
    """

    def __init__(
        self, *, catalog: Catalog, store: Store, encoder: Encoder, spaces: Sequence[Space]
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._encoder = encoder
        self._spaces = tuple(spaces)
        self._waiting: dict[Modality, _Waiting] = defaultdict(_Waiting)
        self._vectors: dict[str, dict[int, Vectors]] = defaultdict(dict)
        self._placed: list[int] = []

    @property
    def n_encoded(self) -> int:
        """Count the parts that are committed."""
        return len(self._placed)

    def placed_ids(self) -> Ids:
        """List the parts that are committed, ascending."""
        return np.array(sorted(self._placed), dtype=np.int64)

    def take(self, part: Part, payload: Payload) -> None:
        """Let a part wait for a full batch."""
        waiting = self._waiting[part.modality]
        waiting.ids.append(part.id)
        waiting.payloads.append(payload)
        if len(waiting.ids) >= self._encoder.batch_size.get(part.modality, 32):
            self._encode(part.modality)

    def commit(self) -> None:
        """Encode what waits, write a segment per Space, and name them in one transaction.

        The generation stays: nothing that serves has changed, and readers need not look again.
        """
        for modality in list(self._waiting):
            self._encode(modality)
        written = []
        placed: set[int] = set()
        for space in self._spaces:
            vectors = self._vectors.get(space.id, {})
            ids = np.array(sorted(vectors), dtype=np.int64)
            if len(ids):
                info = write_segment(
                    self._store.segments,
                    np.stack([vectors[int(id_)] for id_ in ids]),
                    ids=ids,
                    fingerprint=space.fingerprint,
                    tmp=self._store.tmp,
                )
                written.append((resting_name(space), info))
                placed.update(ids.tolist())
        failpoint("migrate.commit")

        def name_segments(writer: Writer) -> None:
            generation = writer.generation()
            for name, info in written:
                writer.add_segment(name, info, generation)

        if written:
            self._catalog.write(name_segments)
        self._placed += sorted(placed)
        self._vectors.clear()

    def _encode(self, modality: Modality) -> None:
        waiting = self._waiting.pop(modality)
        spaces = [space for space in self._spaces if modality in space.modalities]
        made = {
            space.id: self._encoder.encode(waiting.payloads, modality=modality, space=space)
            for space in spaces
        }
        for row, id_ in enumerate(waiting.ids):
            # A part that one Space cannot place gets a vector in none: all or nothing.
            if all(vectors[row].any() for vectors in made.values()):
                for name, vectors in made.items():
                    self._vectors[name][id_] = vectors[row]
