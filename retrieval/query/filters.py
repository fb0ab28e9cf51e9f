"""Which parts a query may find, as `Allowed` sets that a generation keeps for the next query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from index.allowed import Allowed
from index.types import Ids
from retrieval.catalog.conditions import Condition
from retrieval.catalog.read import Reader
from retrieval.query.generation import Generation
from retrieval.remote_fields import of_modality, to_expression
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
    whole: list[_Set] = []
    if modality is not None:
        make = partial(reader.part_ids, modality=modality)
        whole.append(_Set(("items", modality), make, of_modality(modality)))
    if part_modalities is not None:
        kinds = tuple(part_modalities)
        whole.append(_Set(("parts", *kinds), partial(reader.part_ids, part_modalities=kinds)))
    if condition is not None:
        make = partial(reader.part_ids_where, condition)
        whole.append(_Set(("where", condition), make, to_expression(condition)))
    if not whole:
        return None

    def common() -> Ids:
        ids = [_kept(one, generation).ids for one in whole]
        found = ids[0]
        for others in ids[1:]:
            found = np.intersect1d(found, others, assume_unique=True)
        return found

    words = " and ".join(one.expression for one in whole if one.expression)
    return _kept(_Set(tuple(one.key for one in whole), common, words), generation)


@dataclass(frozen=True, slots=True)
class _Set:
    """Parts that a restriction lets through: what it is kept by, how to find it, its expression."""

    key: object
    ids: Callable[[], Ids]
    expression: str = ""


def _kept(wanted: _Set, generation: Generation) -> Allowed:
    known = generation.allowed.get(wanted.key)
    if known is None:  # two threads may both make one; they are equal
        while len(generation.allowed) >= _MOST_KEPT:
            generation.allowed.pop(next(iter(generation.allowed)), None)
        known = Allowed(wanted.ids(), expression=wanted.expression)
        generation.allowed[wanted.key] = known
    return known
