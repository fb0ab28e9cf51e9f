"""The search pipeline: plan, search each Space, best part per item, fuse, fetch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from index.types import Ids
from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.media import Loader
from retrieval.query.fusion import fuse_ranks
from retrieval.query.generation import Generation
from retrieval.query.plan import SpaceQuery, plan_query
from retrieval.types import Hit, Modality, Part, Query

# Parts asked for per item wanted at first: long sounds and videos crowd the top with their own.
_PARTS_PER_ITEM = 4

Best = dict[int, tuple[Part, float]]


def search(
    query: Query,
    *,
    reader: Reader,
    generation: Generation,
    encoder: Encoder,
    loader: Loader,
    leave_out: Iterable[int] = (),
) -> list[Hit]:
    """Answer a query.

    Args:
        query: what is looked for.
        reader, generation: of one and the same generation.
        encoder: of the store's model.
        loader: for a query that is a file.
        leave_out: ids of items that are no answers, usually the query itself.

    Returns:
        At most `query.k` hits, best first, ties by id, each item once.
    """
    excluded = set(leave_out)
    plans = plan_query(query, reader=reader, generation=generation, encoder=encoder, loader=loader)
    lists = [
        _search_space(plan, query, reader=reader, generation=generation, excluded=excluded)
        for plan in plans
    ]
    order = fuse_ranks([list(best) for best in lists])[: query.k]
    best = {id_: found[id_] for found in reversed(lists) for id_ in found}
    return _hits([(id_, *best[id_]) for id_ in order], reader)


def _search_space(
    plan: SpaceQuery, query: Query, *, reader: Reader, generation: Generation, excluded: set[int]
) -> Best:
    """Find the best part of each of the best items; asks for more parts until there are k items."""
    opened = generation.spaces.get(plan.space.id)
    if opened is None:  # nothing was ever added to this space
        return {}
    allowed = _allowed(plan, query.modality, reader=reader, generation=generation)
    wanted = query.k + len(excluded)
    n_parts = min(_PARTS_PER_ITEM * wanted, len(opened))
    while n_parts > 0:
        found = opened.search(plan.vector, k=n_parts, allowed=allowed)
        n_found = int(found.counts[0])
        best = _best_parts(found.ids[0, :n_found], found.scores[0, :n_found], reader, excluded)
        if len(best) >= query.k or n_found < n_parts or n_parts >= len(opened):
            return dict(list(best.items())[: query.k])
        n_parts = min(n_parts * 4, len(opened))
    return {}


def _allowed(
    plan: SpaceQuery, modality: Modality | None, *, reader: Reader, generation: Generation
) -> Ids | None:
    """List the part ids a filter leaves, or None for all."""
    wanted: list[Ids] = []
    if modality is not None:
        key = f"items:{modality}"
        if key not in generation.modality_ids:
            generation.modality_ids[key] = reader.part_ids(modality=modality)
        wanted.append(generation.modality_ids[key])
    if set(plan.part_modalities) != set(plan.space.modalities):
        key = f"parts:{','.join(plan.part_modalities)}"
        if key not in generation.modality_ids:
            generation.modality_ids[key] = reader.part_ids(part_modalities=plan.part_modalities)
        wanted.append(generation.modality_ids[key])
    if not wanted:
        return None
    allowed = wanted[0]
    for ids in wanted[1:]:
        allowed = np.intersect1d(allowed, ids, assume_unique=True)
    return allowed


def _best_parts(ids: Ids, scores: np.ndarray, reader: Reader, excluded: set[int]) -> Best:
    """Keep each item's best part; parts come best first, so the first one seen is the best.

    Ties between items go by item id, which the order of part ids need not follow.
    """
    parts = reader.parts(ids.tolist())
    best: Best = {}
    for part_id, score in zip(ids.tolist(), scores.tolist(), strict=True):
        part = parts.get(part_id)
        if part is not None and part.item_id not in excluded:
            best.setdefault(part.item_id, (part, score))
    return dict(sorted(best.items(), key=lambda entry: (-entry[1][1], entry[0])))


def _hits(best: list[tuple[int, Part, float]], reader: Reader) -> list[Hit]:
    items = reader.items([item_id for item_id, _, _ in best])
    return [
        Hit(
            rank=rank,
            id=item_id,
            path=items[item_id].path,
            modality=items[item_id].modality,
            # A sum of float32 products may end a hair outside [-1, 1].
            score=min(1.0, max(-1.0, score)),
            start_s=part.start_s,
            end_s=part.end_s,
            text=part.text,
            copies=items[item_id].copies,
        )
        for rank, (item_id, part, score) in enumerate(best, start=1)
    ]
