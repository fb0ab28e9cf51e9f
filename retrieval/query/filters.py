"""Which parts a query may find, as `Allowed` sets that a generation keeps for the next query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from index.allowed import Allowed
from index.types import Ids
from retrieval.catalog.conditions import Condition
from retrieval.catalog.read import Reader
from retrieval.query.generation import Generation
from retrieval.types import Modality

_MOST_KEPT = 64
"""Sets kept by a generation; of 1,000,000 parts one takes up to 9 MB."""


def allowed_parts(
    *,
    part_modalities: Sequence[Modality] | None,
    modality: Modality | None,
    condition: Condition | None,
    reader: Reader,
    generation: Generation,
) -> Allowed | None:
    """Find the parts that every given restriction lets through; None where nothing is restricted.

    Args:
        part_modalities: of the parts themselves, or None for any.
        modality: of the items that own them, or None for any.
        condition: on these items, or None.
        reader, generation: of one and the same generation.
    """
    whole: list[tuple[object, Callable[[], Ids]]] = []
    if modality is not None:
        whole.append((("items", modality), lambda: reader.part_ids(modality=modality)))
    if part_modalities is not None:
        kinds = tuple(part_modalities)
        whole.append((("parts", *kinds), lambda: reader.part_ids(part_modalities=kinds)))
    if condition is not None:
        wanted = condition
        whole.append((("where", condition), lambda: reader.part_ids_where(wanted)))
    if not whole:
        return None

    def both() -> Ids:
        ids = [_kept(key, make, generation).ids for key, make in whole]
        common = ids[0]
        for others in ids[1:]:
            common = np.intersect1d(common, others, assume_unique=True)
        return common

    return _kept(tuple(key for key, _ in whole), both, generation)


def _kept(key: object, make: Callable[[], Ids], generation: Generation) -> Allowed:
    known = generation.allowed.get(key)
    if known is None:  # two threads may both make one; they are equal
        while len(generation.allowed) >= _MOST_KEPT:
            generation.allowed.pop(next(iter(generation.allowed)), None)
        known = generation.allowed[key] = Allowed(make())
    return known
