"""Filling Spaces that do not serve yet: full batches, segments, commits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index.segments import write_segment
from index.storage import failpoint
from index.types import Ids
from retrieval.catalog.spaces import resting_name
from retrieval.catalog.store import Catalog
from retrieval.catalog.write import Writer
from retrieval.encoders.base import Encoder
from retrieval.encoders.waiting_parts import WaitingParts
from retrieval.store import Store
from retrieval.types import Part, Payload, Space


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
        self._spaces = tuple(spaces)
        self._waiting = WaitingParts(encoder, spaces=self._spaces)
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
        self._waiting.put(part.id, payload, modality=part.modality)
        if self._waiting.has_full:
            self._waiting.encode_full()

    def commit(self) -> None:
        """Encode what waits, write a segment per Space, and name them in one transaction.

        The generation stays: nothing that serves has changed, and readers need not look again.
        """
        self._waiting.encode_all()
        made = self._waiting.vectors
        # A part that one Space cannot place gets a vector in none: all or nothing.
        unplaced = {id_ for of in made.values() for id_, vector in of.items() if not vector.any()}
        written = []
        placed: set[int] = set()
        for space in self._spaces:
            vectors = made.get(space.id, {})
            ids = np.array(sorted(vectors.keys() - unplaced), dtype=np.int64)
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
        made.clear()
