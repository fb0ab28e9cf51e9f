"""The search pipeline: plan, search each leg, best part per item, calibrate, fuse, fetch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from index.allowed import Allowed
from index.types import Ids
from retrieval.catalog.conditions import Condition
from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.errors import NotFoundError, UsageError
from retrieval.media import Loader
from retrieval.query.calibrate import MIN_PARTS, Calibrator, confidence
from retrieval.query.expression import stored_ids, terms
from retrieval.query.filters import allowed_parts
from retrieval.query.fusion import fuse_ranks
from retrieval.query.generation import Generation
from retrieval.query.hybrid import WINDOW, Answer, Wording, join, read_wording
from retrieval.query.plan import Leaf, Leg, LoadWide, expression_of, leaves, plan_query
from retrieval.query.rank import Best, Found, search_leg
from retrieval.query.where import parse_where
from retrieval.types import Hit, Item, Modality, Query


def search(
    query: Query,
    *,
    reader: Reader,
    generation: Generation,
    encoder: Encoder,
    loader: Loader,
    leave_out: Iterable[int] = (),
    load_wide: LoadWide | None = None,
    calibrator: Calibrator | None = None,
) -> list[Hit]:
    """Answer a query.

    Args:
        query: what is looked for.
        reader, generation: of one and the same generation.
        encoder: of the store's model.
        loader: for a query that is a file.
        leave_out: ids of items that are no answers, usually the query itself.
        load_wide: for a query with a crop or slice.
        calibrator: how scores are judged; made from the store when left out.

    Returns:
        At most `query.k` hits, best first, ties by id, each item once.

    Raises:
        UsageError: the query or its filter cannot be carried out.
    """
    excluded = set(leave_out) | _own_items(query, reader)
    condition = parse_where(query.where, columns=reader.columns()) if query.where.strip() else None
    wording = read_wording(expression_of(query), reader=reader) if query.hybrid else None
    try:
        legs = plan_query(
            query,
            reader=reader,
            generation=generation,
            encoder=encoder,
            loader=loader,
            load_wide=load_wide,
            calibrator=calibrator
            or Calibrator(reader=reader, generation=generation, encoder=encoder),
        )
    except UsageError as error:
        if error.code != "empty_query" or not wording:
            raise
        legs = []  # words that the model does not know, and the store does
    legwork = _Legwork(legs, query, reader, generation, excluded, condition)
    last = query.offset + query.k
    if wording:
        found = join(
            legwork.best(max(last, WINDOW)),
            wording=wording,
            look_up=partial(legwork.best_of, wording=wording),
        )
    else:
        found = legwork.best(last)
    answers = found[query.offset : last]
    hits = _hits(answers, legwork, first_rank=query.offset + 1)
    return _confident(hits, query)


@dataclass(frozen=True, slots=True)
class _Legwork:
    """The legs of a query, ready to be searched among all parts or some.

    Attributes:
        condition: what the filter wants; None for all.
    """

    legs: list[Leg]
    query: Query
    reader: Reader
    generation: Generation
    excluded: set[int]
    condition: Condition | None

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
    lists of AND and OR merge by the evidence that their own order was made with.
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
    first = {id_: (one, best is merged) for best in reversed(lists) for id_, one in best.items()}
    return [
        Answer(one, confidence(one.sureness) if known else None)
        for one, known in (first[item_id] for item_id in order)
    ]


def _is_calibrated(leg: Leg) -> bool:
    return all(leaf.pair for leaf in leaves(leg.tree))


def _own_items(query: Query, reader: Reader) -> set[int]:
    """Name the stored items that a composed query is made of."""
    expression = expression_of(query)
    own = stored_ids(expression)
    for term in terms(expression) if query.kind == "composed" else ():
        if term.kind == "file":
            try:
                own.add(reader.item_at(term.value))
            except NotFoundError:
                continue  # a file that is not in the store cannot be found
    return own


def _part_modalities(leg: Leg) -> tuple[Modality, ...] | None:
    """Name the part modalities of a leg; None where its Spaces hold no others."""
    held = {m for leaf in leaves(leg.tree) for m in leaf.space.modalities}
    return None if held == set(leg.part_modalities) else leg.part_modalities


def _confident(hits: list[Hit], query: Query) -> list[Hit]:
    """Keep the hits that reach the wanted confidence; they keep their ranks."""
    if not query.min_confidence:
        return hits
    if any(hit.confidence is None for hit in hits):
        raise UsageError(
            f"a confidence needs at least {MIN_PARTS} stored pieces of each kind that is searched; "
            "add more, or name a larger kind with --for",
            code="not_calibrated",
        )
    return [hit for hit in hits if (hit.confidence or 0.0) >= query.min_confidence]


def _hits(answers: list[Answer], legwork: _Legwork, *, first_rank: int) -> list[Hit]:
    ids = [answer.found.part.item_id for answer in answers]
    items = legwork.generation.rows.items(ids, reader=legwork.reader)
    return [
        _hit(answer, items[answer.found.part.item_id], rank=rank)
        for rank, answer in enumerate(answers, start=first_rank)
    ]


def _hit(answer: Answer, item: Item, *, rank: int) -> Hit:
    found = answer.found
    return Hit(
        rank=rank,
        id=item.id,
        path=item.path,
        modality=item.modality,
        # A sum of float32 products may end a hair outside [-1, 1].
        score=min(1.0, max(-1.0, found.cosine)),
        start_s=found.part.start_s,
        end_s=found.part.end_s,
        text=found.part.text,
        copies=item.copies,
        z=found.z,
        confidence=answer.confidence,
        by=answer.by,
        columns=item.columns,
    )
