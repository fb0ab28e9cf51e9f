"""Spaces and their states: which serve, which are being filled, which can come back.

A Space that does not serve bears its fingerprint in its name (`starter@1a2b3c4d5e6f`), so that an
older version of the very same model can wait beside the one that serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from retrieval.catalog.chunks import chunks
from retrieval.catalog.read import Reader
from retrieval.catalog.read_store import SpaceState
from retrieval.catalog.schema import DerivedRow, SegmentRow, SpaceRow, TombstoneRow
from retrieval.catalog.seal import Row, amend, sealed
from retrieval.errors import ModelError
from retrieval.types import Space


class SpaceWriter(Reader):
    """What a Writer can do with Spaces."""

    def ensure_space(self, space: Space) -> None:
        """Register a space that serves, or check that the one of that name is the same.

        Raises:
            ModelError: same name, other weights (`space_mismatch`).
        """
        found = {known.id: known for known in self.spaces()}.get(space.id)
        if found is None:
            self._insert_space(space, name=space.id, state="active")
        elif found.fingerprint != space.fingerprint:
            raise ModelError(
                f"the store's space '{found.id}' was made by model {found.model} "
                f"({found.fingerprint[:12]}), not by {space.model} ({space.fingerprint[:12]}); "
                f"their vectors cannot be mixed: run 'crossfind index migrate --to {space.model}' "
                "or build a new store with --store",
                code="space_mismatch",
            )

    def ensure_pending(self, space: Space) -> None:
        """Register a space to be filled while others serve; one that was kept is filled up."""
        name = resting_name(space)
        if name not in self._resting():
            self._insert_space(space, name=name, state="pending")

    def switch_spaces(self, targets: Sequence[Space]) -> None:
        """Let filled spaces serve, and keep those that served until now, and no others.

        Args:
            targets: pending, or serving already.
        """
        wanted = {(space.id, space.fingerprint) for space in targets}
        filled = {resting_name(space) for space in targets} & self._resting()
        for name in filled:
            self._set_space(name, name=name, state="pending")
        self.drop_spaces("kept")
        for old in self.spaces():
            if (old.id, old.fingerprint) not in wanted:
                self._set_space(old.id, name=resting_name(old), state="kept")
        for space in targets:
            here = resting_name(space)
            self._set_space(here if here in filled else space.id, name=space.id, state="active")
            named = SpaceRow.id == space.id
            amend(self._connection, SpaceRow, named, model=space.model, licence=space.licence)

    def drop_spaces(self, state: SpaceState) -> int:
        """Forget the spaces of a state with their segments; their files go with the garbage."""
        pks = list(
            self._connection.execute(
                sa.select(SpaceRow.pk).where(SpaceRow.state == state)
            ).scalars()
        )
        for table in (DerivedRow, SegmentRow):
            self._connection.execute(sa.delete(table).where(table.space_pk.in_(pks)))
        self._connection.execute(sa.delete(SpaceRow).where(SpaceRow.pk.in_(pks)))
        return len(pks)

    def bury_vectors(self, part_ids: Iterable[int], generation: int) -> None:
        """Mark vectors whose parts went while they were not serving."""
        for chunk in chunks(part_ids):
            known = self._connection.execute(
                sa.select(TombstoneRow.part_id).where(TombstoneRow.part_id.in_(chunk))
            ).scalars()
            fresh = sorted(set(chunk) - set(known))
            if fresh:
                self._connection.execute(sa.insert(TombstoneRow), tombstone_rows(fresh, generation))

    def _resting(self) -> set[str]:
        return {s.id for s in (*self.spaces(state="pending"), *self.spaces(state="kept"))}

    def _insert_space(self, space: Space, *, name: str, state: SpaceState) -> None:
        row: Row = {
            "id": name,
            "model": space.model,
            "fingerprint": space.fingerprint,
            "dim": space.dim,
            "modalities": ",".join(space.modalities),
            "state": state,
            "licence": space.licence,
        }
        self._connection.execute(sa.insert(SpaceRow), [sealed(SpaceRow, row)])

    def _set_space(self, known_as: str, *, name: str, state: SpaceState) -> None:
        amend(self._connection, SpaceRow, SpaceRow.id == known_as, id=name, state=state)


def resting_name(space: Space) -> str:
    """Name a space that does not serve.

    Example:
        >>> resting_name(Space("a", "m", "0123456789abcdef", 4, ("text",)))
        'a@0123456789ab'
    """
    return f"{space.id}@{space.fingerprint[:12]}"


def tombstone_rows(part_ids: Iterable[int], generation: int) -> list[Row]:
    """Make the rows that bury vectors."""
    rows = ({"part_id": id_, "generation": generation} for id_ in part_ids)
    return [sealed(TombstoneRow, row) for row in rows]
