"""Reading what the store consists of: its generation, spaces, segments and indexes."""

from __future__ import annotations

from typing import Literal, cast

import sqlalchemy as sa

from index.types import SegmentInfo
from retrieval.catalog.records import DerivedEntry, SegmentEntry, Snapshot
from retrieval.catalog.schema import DerivedRow, SegmentRow, SpaceRow, StoreRow, TombstoneRow
from retrieval.types import Modality, Space

SpaceState = Literal["pending", "active", "kept"]
"""Being filled, serving, or left from before the last migration."""


class StoreReader:
    """What a Reader can tell of the store as a whole."""

    _connection: sa.Connection

    def generation(self) -> int:
        """Read the number of the last commit."""
        return int(self._connection.execute(sa.select(StoreRow.generation)).scalar_one())

    def next_ids(self) -> tuple[int, int]:
        """Read the first item id and part id that were never used."""
        row = self._connection.execute(
            sa.select(StoreRow.next_item_id, StoreRow.next_part_id)
        ).one()
        return int(row[0]), int(row[1])

    def spaces(self, *, state: SpaceState = "active") -> tuple[Space, ...]:
        """List the spaces of the store that serve, or those of another state."""
        rows = self._connection.execute(
            sa.select(SpaceRow).where(SpaceRow.state == state).order_by(SpaceRow.pk)
        )
        return tuple(
            Space(
                id=row.id,
                model=row.model,
                fingerprint=row.fingerprint,
                dim=row.dim,
                modalities=cast(tuple[Modality, ...], tuple(row.modalities.split(","))),
                licence=row.licence,
            )
            for row in rows
        )

    def snapshot(self) -> Snapshot:
        """Read what a search of this generation needs."""
        names = self._space_names("active")
        newest: dict[str, DerivedEntry] = {}
        serving = sa.select(DerivedRow).where(DerivedRow.space_pk.in_(names))
        for row in self._connection.execute(serving.order_by(DerivedRow.pk)):
            newest[names[row.space_pk]] = DerivedEntry(
                space_id=names[row.space_pk],
                generation=row.generation,
                name=row.name,
                sha256=row.sha256,
                kind=row.kind,
                n_vectors=row.n_vectors,
                recall=row.recall,
                recall_queries=row.recall_queries,
                plan=row.plan,
                measured=row.measured,
            )
        return Snapshot(
            generation=self.generation(),
            spaces=self.spaces(),
            segments=self.segments(),
            derived=tuple(newest.values()),
            tombstones={
                int(part_id): int(generation)
                for part_id, generation in self._connection.execute(
                    sa.select(TombstoneRow.part_id, TombstoneRow.generation)
                )
            },
        )

    def segments(self, *, state: SpaceState = "active") -> tuple[SegmentEntry, ...]:
        """List the segments that count, of spaces of a state, oldest first."""
        names = self._space_names(state)
        rows = self._connection.execute(
            sa.select(SegmentRow)
            .where(SegmentRow.retired_generation.is_(None))
            .where(SegmentRow.space_pk.in_(names))
            .order_by(SegmentRow.pk)
        )
        return tuple(
            SegmentEntry(
                space_id=names[row.space_pk],
                info=SegmentInfo(
                    name=row.name,
                    n_vectors=row.n_vectors,
                    dim=row.dim,
                    dtype=row.dtype,
                    sha256=row.sha256,
                    size_bytes=row.size_bytes,
                ),
                generation=row.generation,
            )
            for row in rows
        )

    def file_names(self) -> set[str]:
        """List the segment and index files that any kept generation names."""
        segments = self._connection.execute(sa.select(SegmentRow.name)).scalars()
        derived = self._connection.execute(sa.select(DerivedRow.name)).scalars()
        return {str(name) for name in (*segments, *derived) if name}

    def _space_names(self, state: SpaceState) -> dict[int, str]:
        rows = self._connection.execute(
            sa.select(SpaceRow.pk, SpaceRow.id).where(SpaceRow.state == state)
        )
        return {int(pk): str(name) for pk, name in rows}
