"""The search pipeline: plan, search each leg, best part per item, calibrate, fuse, fetch.

Several queries go through it side by side. Each is answered by itself, as if it were alone; but
before each step what all of them will ask for is fetched ahead in one go, texts are encoded and
parts searched for and rows read as one batch, so that 32 queries cost little more than a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, Union

from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.errors import CrossfindError, NotFoundError, UsageError
from retrieval.media import Loader
from retrieval.query.calibrate import MIN_PARTS, Calibrator
from retrieval.query.expression import stored_ids, terms
from retrieval.query.generation import Generation
from retrieval.query.hybrid import (
    WINDOW,
    Answer,
    Wording,
    at_the_words,
    join,
    read_wording,
    words_of,
)
from retrieval.query.legwork import Legwork
from retrieval.query.nearest import Nearest, Wanted
from retrieval.query.plan import LoadWide, encode_ahead, expression_of, plan_query
from retrieval.query.where import parse_where
from retrieval.types import Hit, Item, Query

S = TypeVar("S")
T = TypeVar("T")

Outcome = Union[list[Hit], CrossfindError]
"""The hits of a query, or why there are none."""


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
    (outcome,) = search_each(
        [query],
        reader=reader,
        generation=generation,
        encoder=encoder,
        loader=loader,
        leave_out=leave_out,
        load_wide=load_wide,
        calibrator=calibrator,
    )
    if isinstance(outcome, CrossfindError):
        raise outcome
    return outcome


def search_each(
    queries: Sequence[Query],
    *,
    reader: Reader,
    generation: Generation,
    encoder: Encoder,
    loader: Loader,
    leave_out: Iterable[int] = (),
    load_wide: LoadWide | None = None,
    calibrator: Calibrator | None = None,
) -> list[Outcome]:
    """Answer several queries; one that cannot be answered costs no other its answer.

    Args:
        queries: what is looked for.
        reader, generation, encoder, loader, leave_out, load_wide, calibrator: see `search`.

    Returns:
        For each query, in their order, what `search` gives or the error it raises.
    """
    nearest, rows = Nearest(generation), generation.rows
    begin = partial(
        _begin,
        reader=reader,
        nearest=nearest,
        generation=generation,
        encoder=encoder,
        loader=loader,
        leave_out=frozenset(leave_out),
        load_wide=load_wide,
        calibrator=calibrator or Calibrator(reader=reader, generation=generation, encoder=encoder),
    )
    with suppress(CrossfindError):  # whom it concerns meets it again
        expressions = [expression_of(query) for query in queries]
        rows.has_texts_with([w for e in expressions for w in words_of(e)], reader=reader)
        encode_ahead(expressions, encoder=encoder)
    begun = [_attempt(begin, query) for query in queries]
    with suppress(CrossfindError):
        wanted = [(one.depth, w) for one in _good(begun) for w in one.wanted()]
        nearest.look_ahead([w for _, w in wanted])
        rows.parts({id_ for depth, w in wanted for id_, _ in nearest(w)[:depth]}, reader=reader)
    ranked = [_attempt(_Begun.ranked, one) for one in begun]
    with suppress(CrossfindError):
        rows.items({id_ for one in _good(ranked) for id_ in one.item_ids()}, reader=reader)
    return [_attempt(_Ranked.hits, one) for one in ranked]


def _attempt(work: Callable[[S], T], value: S | CrossfindError) -> T | CrossfindError:
    """Take a query one step further, unless it has failed before."""
    if isinstance(value, CrossfindError):
        return value
    try:
        return work(value)
    except CrossfindError as error:
        return error


def _good(values: Iterable[T | CrossfindError]) -> Iterator[T]:
    return (value for value in values if not isinstance(value, CrossfindError))


@dataclass(frozen=True, slots=True)
class _Begun:
    """A query that is planned.

    Attributes:
        legwork: its legs.
        wording: what its words bring; None where nothing looks at them.
    """

    legwork: Legwork
    wording: Wording | None

    @property
    def depth(self) -> int:
        """How many of the best items by vector are wanted."""
        query = self.legwork.query
        last = query.offset + query.k
        return max(last, WINDOW) if self.wording else last

    def wanted(self) -> list[Wanted]:
        """Tell which parts will be asked for first."""
        return self.legwork.wanted(self.depth)

    def ranked(self) -> _Ranked:
        """Search."""
        query, found = self.legwork.query, self.legwork.best(self.depth)
        if self.wording:
            look_up = partial(self.legwork.best_of, wording=self.wording)
            found = join(found, wording=self.wording, look_up=look_up)
        page = found[query.offset : query.offset + query.k]
        if self.wording:
            page = at_the_words(
                page,
                wording=self.wording,
                wanted=words_of(expression_of(query)),
                look_up=self.legwork.reader.parts,
            )
        return _Ranked(page, self.legwork)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A query that is answered, but for the rows of the items."""

    answers: list[Answer]
    legwork: Legwork

    def item_ids(self) -> list[int]:
        """Name the items."""
        return [answer.found.part.item_id for answer in self.answers]

    def hits(self) -> list[Hit]:
        """Make the hits."""
        generation, query = self.legwork.generation, self.legwork.query
        items = generation.rows.items(self.item_ids(), reader=self.legwork.reader)
        hits = [
            _hit(answer, items[answer.found.part.item_id], rank=rank)
            for rank, answer in enumerate(self.answers, start=query.offset + 1)
        ]
        return _confident(hits, query)


def _begin(
    query: Query,
    *,
    reader: Reader,
    nearest: Nearest,
    generation: Generation,
    encoder: Encoder,
    loader: Loader,
    leave_out: frozenset[int],
    load_wide: LoadWide | None,
    calibrator: Calibrator,
) -> _Begun:
    """Read what a query wants."""
    excluded = leave_out | _own_items(query, reader)
    condition = parse_where(query.where, columns=reader.columns()) if query.where.strip() else None
    wording = None
    if query.hybrid:
        wording = read_wording(expression_of(query), reader=reader, rows=generation.rows)
    try:
        legs = plan_query(
            query,
            reader=reader,
            generation=generation,
            encoder=encoder,
            loader=loader,
            load_wide=load_wide,
            calibrator=calibrator,
        )
    except UsageError as error:
        if error.code != "empty_query" or not wording:
            raise
        legs = []  # words that the model does not know, and the store does
    legwork = Legwork(legs, query, reader, generation, nearest, excluded, condition)
    return _Begun(legwork, wording)


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
