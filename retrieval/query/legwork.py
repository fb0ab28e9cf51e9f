"""The legs of one query: searched, filtered, and merged into one list of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from index.allowed import Allowed
from index.types import Ids
from retrieval.catalog.conditions import Condition
from retrieval.catalog.read import Reader
from retrieval.query.filters import allowed_parts
from retrieval.query.fusion import fuse_ranks
from retrieval.query.generation import Generation
from retrieval.query.hybrid import Answer, Wording
from retrieval.query.nearest import Nearest, Wanted
from retrieval.query.pair import confidence
from retrieval.query.plan import Leaf, Leg, leaves
from retrieval.query.rank import Best, Found, first_wanted, search_leg
from retrieval.query.results import SAME
from retrieval.types import Modality, Query

__all__ = ["Legwork"]


@dataclass(frozen=True, slots=True)
class Legwork:
    """The legs of a query, ready to be searched among all parts or some.

    Attributes:
        legs: of the query; none where only its words are known.
        query: what is looked for.
        reader, generation: of one and the same generation.
        nearest: finds parts.
        excluded: ids of items that are no answers.
        condition: what the filter wants; None for all.
    """

    legs: list[Leg]
    query: Query
    reader: Reader
    generation: Generation
    nearest: Nearest
    excluded: frozenset[int]
    condition: Condition | None

    def wanted(self, k: int) -> list[Wanted]:
        """Tell which parts `best` will ask for first."""
        return [
            one
            for leg in self.legs
            for one in first_wanted(
                leg,
                k=k,
                generation=self.generation,
                allowed=self._allowed(_part_modalities(leg), among=None),
                excluded=self.excluded,
            )
        ]

    def best(self, k: int, *, among: Ids | None = None) -> list[Answer]:
        """Find the best k items, or the best of those that own some parts."""
        found = [
            search_leg(
                leg,
                k=k,
                reader=self.reader,
                generation=self.generation,
                allowed=self._allowed(_part_modalities(leg), among=among),
                excluded=self.excluded,
                nearest=self.nearest,
            )
            for leg in self.legs
        ]
        calibrated = [_is_calibrated(leg) for leg in self.legs]
        plain = all(isinstance(leg.tree, Leaf) for leg in self.legs)
        return _fuse(found, calibrated, plain=plain)[:k]

    def best_of(self, item_ids: Sequence[int], n: int, *, wording: Wording) -> list[Answer]:
        """Find the best n of some items, by the texts that have the words where they are texts."""
        parts = self.reader.parts_of(item_ids)
        good = [
            part
            for part in parts
            if not wording.parts.get(part.item_id) or part.id in wording.parts[part.item_id]
        ]
        ids: Ids = np.array(sorted(part.id for part in good), dtype=np.int64)
        if self.legs:
            return self.best(n, among=ids)
        through = self._allowed(None, among=ids)
        assert through is not None  # `among` restricts it
        allowed = set(through.ids.tolist())
        kept = {part.item_id: part for part in reversed(good) if part.id in allowed}
        wanted = sorted(set(kept) - self.excluded)[:n]
        return [Answer(Found(kept[id_], evidence=0.0, cosine=0.0), None) for id_ in wanted]

    def _allowed(
        self, part_modalities: tuple[Modality, ...] | None, *, among: Ids | None
    ) -> Allowed | None:
        through = allowed_parts(
            part_modalities=part_modalities,
            modality=self.query.modality,
            condition=self.condition,
            reader=self.reader,
            generation=self.generation,
        )
        if among is None:
            return through
        return Allowed(among if through is None else np.intersect1d(among, through.ids))


def _fuse(found: list[Best], calibrated: list[bool], *, plain: bool) -> list[Answer]:
    """Merge calibrated lists; lists that cannot be compared with them join by rank.

    The lists of a plain query merge by confidence, which within one list rises with the score, so
    that the merged list falls in confidence. Sureness is confidence before it saturates at 1. The
    lists of AND and OR merge by the evidence that their own order was made with. What is the same
    as a plain query comes first: a picture's own copy is no worse than a sound that suits it.
    """

    def weight(one: Found) -> float:
        return one.sureness if plain else one.evidence

    merged: Best = {}
    for best, known in zip(found, calibrated, strict=True):
        for item_id, one in best.items() if known else ():
            before = merged.get(item_id)
            if before is None or weight(one) > weight(before):
                merged[item_id] = one
    merged = dict(sorted(merged.items(), key=lambda entry: (-weight(entry[1]), entry[0])))
    others = [best for best, known in zip(found, calibrated, strict=True) if not known]
    lists = [merged, *others] if merged else others
    order = fuse_ranks([list(best) for best in lists])
    same = _same(found) if plain else set()
    if same:
        order.sort(key=lambda id_: id_ not in same)
    first = {id_: (one, best is merged) for best in reversed(lists) for id_, one in best.items()}
    return [
        Answer(one, confidence(one.sureness) if known else None)
        for one, known in (first[item_id] for item_id in order)
    ]


def _same(found: list[Best]) -> set[int]:
    """Name the items at the head of a list that are the same as the query."""
    heads = (takewhile(lambda one: one[1].cosine >= SAME, best.items()) for best in found)
    return {item_id for head in heads for item_id, _ in head}


def _is_calibrated(leg: Leg) -> bool:
    return all(leaf.pair for leaf in leaves(leg.tree))


def _part_modalities(leg: Leg) -> tuple[Modality, ...] | None:
    """Name the part modalities of a leg; None where its Spaces hold no others."""
    held = {m for leaf in leaves(leg.tree) for m in leaf.space.modalities}
    return None if held == set(leg.part_modalities) else leg.part_modalities
