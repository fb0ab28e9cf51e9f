"""One generation of a store, opened for searching."""

from __future__ import annotations

from dataclasses import dataclass, field

from index.allowed import Allowed
from index.types import Ids
from retrieval.asked import Asked
from retrieval.catalog.read import Reader
from retrieval.catalog.records import Snapshot
from retrieval.query.open_space import OpenSpace
from retrieval.query.pair import Pair
from retrieval.query.rows import RowCache
from retrieval.remote import Remote
from retrieval.store import Store


@dataclass
class Generation:
    """What readers of one generation share; replaced whole when a writer commits.

    Attributes:
        number: the generation.
        spaces: by id.
        modality_ids: part ids by modality, filled as calibration asks for them.
        allowed: sets of parts that filters let through; see `retrieval.query.filters`.
        rows: parts and items, filled as hits are made.
        pairs: what `calibrate.Calibrator` has measured, filled as searches ask for it.
        asked: where directions of text searches are kept; None where they are not.
    """

    number: int
    spaces: dict[str, OpenSpace]
    modality_ids: dict[str, Ids] = field(default_factory=dict)
    allowed: dict[object, Allowed] = field(default_factory=dict)
    rows: RowCache = field(default_factory=RowCache)
    pairs: dict[tuple[str, str, str, bool, float | None], Pair | None] = field(default_factory=dict)
    asked: Asked | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """List what was damaged and how the answers were found all the same."""
        return tuple(w for space in self.spaces.values() for w in space.warnings)


def open_generation(
    snapshot: Snapshot,
    before: Generation | None = None,
    *,
    store: Store,
    remote: Remote | None = None,
) -> Generation:
    """Open a snapshot for searching; files are read on first use.

    Args:
        snapshot: of the catalog.
        before: a generation that serves; what it has opened is shared.
        store: where the files are.
        remote: where Milvus is; None where the settings name none.
    """
    held = {} if before is None else before.spaces
    return Generation(
        number=snapshot.generation,
        spaces={
            s.id: OpenSpace(s, store=store, snapshot=snapshot, before=held.get(s.id), remote=remote)
            for s in snapshot.spaces
        },
    )


def follow(
    held: Generation | None,
    *,
    newest: int,
    reader: Reader,
    store: Store,
    stays: bool,
    remote: Remote | None = None,
) -> Generation:
    """Give the generation to search in a read transaction.

    Args:
        held: the one that served so far, if any.
        newest: number of the generation that the transaction sees.
        reader: the transaction.
        store: where the files are.
        stays: True keeps `held` although there may be a newer one.
        remote: where Milvus is.
    """
    if held is None:
        return open_generation(reader.snapshot(), store=store, remote=remote)
    if held.number == newest:
        return held
    if stays:
        held.rows.stop()
        return held
    return open_generation(reader.snapshot(), held, store=store, remote=remote)
