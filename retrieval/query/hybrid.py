"""Words beside vectors: file names, captions, tags and texts that have a query's own words.

Coverage of an item is the share of the query's words that its texts have, each word weighed by
how few of the N texts have it: w = ln((N + 1) / (df + 1)) / ln(N + 1), near 1 for a word that one
text has, 0 for one that all have. A word that no text has weighs 0.5, and counts half where the
name of a file begins with it. Composed queries: AND takes the least of its parts that are texts,
OR the most, + and - their weighted mean.

Both rankings are fused by reciprocal ranks (Cormack et al. 2009), the words by their coverage:
    1 / (60 + rank among the vectors) + coverage / (60 + rank among the words)
Rank among the words is by coverage, in steps of 0.05, then by vector. An item whose file is named
exactly as the query comes first.

The bound: for every k, what is k-th among the vectors is at most ceil(k / 2) places further down in
the fused list. It holds by construction (`_bounded`), whatever the words bring. The list does not
depend on how much of it is wanted, so that pages fit together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from retrieval.catalog.read import Reader
from retrieval.catalog.words import query_words, words
from retrieval.query.expression import terms
from retrieval.query.rank import Found
from retrieval.query.rows import RowCache
from retrieval.types import Either, Every, Expression, Part, Sum, Term

Source = Literal["vector", "text", "both"]

WINDOW = 50
"""How many of the first hits by vector are fused with the words; the others follow."""

# A word that more texts have than this says little, and listing them takes time.
_COMMON = 1000
_MAX_WORDS = 24
_MIN_COVERAGE = 0.3
_MAX_ITEMS = 1000
_STEP = 0.05
_UNKNOWN_WEIGHT = 0.5
_PREFIX_SHARE = 0.5
_MIN_PREFIX_CHARS = 3
_RRF = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A hit in the making.

    Attributes:
        found: the item by its best part.
        confidence: None where nothing is calibrated.
        by: what brought it.
    """

    found: Found
    confidence: float | None
    by: Source = "vector"


@dataclass(frozen=True, slots=True)
class Wording:
    """What the words of a query bring.

    Attributes:
        coverage: of each item that has enough of them, in (0, 1].
        exact: the items with a file of exactly this name.
        parts: of each item the parts that are texts with such words; of others nothing.
    """

    coverage: Mapping[int, float]
    exact: frozenset[int]
    parts: Mapping[int, frozenset[int]]

    def __bool__(self) -> bool:
        return bool(self.coverage)


def allowance(k: int) -> int:
    """Say how many places the k-th hit of the vectors may lose to what the words bring.

    Example:
        >>> allowance(10), allowance(1)
        (5, 1)
    """
    return math.ceil(k / 2)


def words_of(expression: Expression) -> list[str]:
    """List the words of a query that are looked up."""
    texts = [term.value for term in terms(expression) if term.kind == "text"]
    return [word for text in texts for word in query_words(text)[:_MAX_WORDS]]


def read_wording(
    expression: Expression, *, reader: Reader, rows: RowCache | None = None
) -> Wording:
    """Look up the words of a query.

    Args:
        expression: the query; only its texts count.
        reader: of the generation that is searched.
        rows: what is remembered of that generation, if anything is.
    """
    rows = rows or RowCache()
    wanted = words_of(expression)
    has_text = any(term.kind == "text" for term in terms(expression))
    if not has_text or (wanted and not rows.has_texts_with(wanted, reader=reader)):
        return Wording({}, frozenset(), {})  # what most searches end with: one look was enough
    lexicon = _Lexicon(reader)
    covered = lexicon.coverage(expression) or {}
    alone = expression.value if isinstance(expression, Term) and expression.kind == "text" else ""
    exact = reader.items_named(alone, limit=_MAX_ITEMS)
    best = sorted(covered, key=lambda id_: (-covered[id_], id_))[:_MAX_ITEMS]
    kept = {id_: covered[id_] for id_ in best if covered[id_] >= _MIN_COVERAGE}
    return Wording(
        coverage={**kept, **dict.fromkeys(exact, 1.0)},
        exact=frozenset(exact),
        parts={id_: frozenset(lexicon.parts.get(id_, ())) for id_ in kept},
    )


def join(
    vectors: Sequence[Answer],
    *,
    wording: Wording,
    look_up: Callable[[Sequence[int], int], Sequence[Answer]],
) -> list[Answer]:
    """Fuse the answers of the vectors with those of the words.

    Args:
        vectors: best first, at least the first `WINDOW` where there are so many.
        wording: of the query.
        look_up: gives the best of some items by vector, of those that filters let through.

    Returns:
        All of them and at most `WINDOW` / 2 more, best first.
    """
    window, rest = vectors[:WINDOW], vectors[WINDOW:]
    place = {one.found.part.item_id: rank for rank, one in enumerate(window, start=1)}
    fresh = _fresh([id_ for id_ in wording.coverage if id_ not in place], wording, look_up)
    known = {one.found.part.item_id: one for one in (*window, *fresh)}
    order = {id_: at for at, id_ in enumerate(known)}
    by_words = sorted(
        (id_ for id_ in known if id_ in wording.coverage),
        key=lambda id_: (id_ not in wording.exact, -wording.coverage[id_], order[id_]),
    )
    score = {id_: 1 / (_RRF + rank) for id_, rank in place.items()}
    for rank, id_ in enumerate(by_words, start=1):
        score[id_] = score.get(id_, 0.0) + wording.coverage[id_] / (_RRF + rank)
    best = sorted(score, key=lambda id_: (id_ not in wording.exact, -score[id_], order[id_]))
    brought = {id_ for id_ in known if id_ not in place}
    fused = [_named(known[id_], wording, alone=id_ in brought) for id_ in _bounded(best, place)]
    return fused + [
        _named(one, wording, alone=False) for one in rest if one.found.part.item_id not in brought
    ]


def at_the_words(
    answers: Sequence[Answer],
    *,
    wording: Wording,
    wanted: Sequence[str],
    look_up: Callable[[Iterable[int]], Mapping[int, Part]],
) -> list[Answer]:
    """Let hits in sounds begin where the words are said; their scores and order stay.

    Args:
        answers: best first.
        wording: of the query.
        wanted: its words.
        look_up: gives parts by id.
    """
    told = {one.found.part.item_id for one in answers if one.by != "vector"}
    parts = look_up(sorted({id_ for item in told for id_ in wording.parts.get(item, ())}))
    said: dict[int, list[tuple[int, float, int, Part]]] = {}
    for part in parts.values():
        if part.start_s is not None:
            n_words = len(set(wanted) & set(words(part.text or "")))
            said.setdefault(part.item_id, []).append((-n_words, part.start_s, part.id, part))
    best = {item: min(found)[-1] for item, found in said.items()}
    return [
        replace(one, found=replace(one.found, part=best[one.found.part.item_id]))
        if one.found.part.item_id in best
        else one
        for one in answers
    ]


def _bounded(best: Sequence[int], place: Mapping[int, int]) -> list[int]:
    """Order by fused score, but let nothing of the vectors lose more places than it may.

    Args:
        best: item ids by fused score.
        place: their ranks among the vectors, 1 to n without a gap, where they have one.
    """
    by_rank = sorted(place, key=lambda id_: place[id_])
    placed: dict[int, None] = {}
    n_before = 0  # how many of `by_rank` are placed without a gap
    for id_ in best:
        # Everything placed that the vectors have after their next one, or not at all, is ahead.
        while n_before < len(by_rank) and id_ not in placed:
            n_ahead = len(placed) - n_before
            if id_ == by_rank[n_before] or n_ahead < allowance(n_before + 1):
                break
            placed.setdefault(by_rank[n_before])
            n_before = _gapless(by_rank, placed, n_before)
        placed.setdefault(id_)
        n_before = _gapless(by_rank, placed, n_before)
    return list(placed)


def _gapless(by_rank: Sequence[int], placed: Mapping[int, None], n_before: int) -> int:
    while n_before < len(by_rank) and by_rank[n_before] in placed:
        n_before += 1
    return n_before


def _fresh(
    others: Sequence[int],
    wording: Wording,
    look_up: Callable[[Sequence[int], int], Sequence[Answer]],
) -> list[Answer]:
    """Choose the items that only the words bring: exact names, then by coverage, then by vector."""
    wanted = allowance(WINDOW)
    chosen: list[Answer] = []
    groups: dict[tuple[bool, float], list[int]] = {}
    for id_ in others:
        groups.setdefault((id_ in wording.exact, wording.coverage[id_]), []).append(id_)
    for key in sorted(groups, reverse=True):
        if len(chosen) == wanted:
            break
        chosen += look_up(groups[key], wanted - len(chosen))
    return chosen


def _named(one: Answer, wording: Wording, *, alone: bool) -> Answer:
    if one.found.part.item_id not in wording.coverage:
        return one
    return replace(one, by="text" if alone else "both")


class _Lexicon:
    """The words of one query among the texts of a store."""

    def __init__(self, reader: Reader) -> None:
        self.parts: dict[int, set[int]] = {}
        self._reader = reader

    @cached_property
    def _n_texts(self) -> int:
        return max(self._reader.count_texts(), 2)

    def coverage(self, expression: Expression) -> dict[int, float] | None:
        """Give the coverage of each item that has any of it; None where nothing is a text."""
        if isinstance(expression, Term):
            return self._of_text(expression.value) if expression.kind == "text" else None
        if isinstance(expression, Sum):
            return self._of_sum(expression)
        told = [c for part in expression.parts if (c := self.coverage(part)) is not None]
        if not told:
            return None
        if isinstance(expression, Every):
            common = set(told[0]).intersection(*told[1:])
            return {id_: min(one[id_] for one in told) for id_ in common}
        assert isinstance(expression, Either)
        return {id_: max(one.get(id_, 0.0) for one in told) for id_ in set().union(*told)}

    def _of_sum(self, total: Sum) -> dict[int, float] | None:
        told = [(w, c) for w, part in total.parts if (c := self.coverage(part)) is not None]
        positive = sum(w for w, _ in told if w > 0)
        if not positive:
            return None
        items: set[int] = set().union(*(c for _, c in told))
        means = {i: sum(w * c.get(i, 0.0) for w, c in told) / positive for i in items}
        return {id_: min(1.0, mean) for id_, mean in means.items() if mean > 0}

    def _of_text(self, text: str) -> dict[int, float]:
        wanted = query_words(text)[:_MAX_WORDS]
        n_having = {word: self._reader.count_texts_with(word, limit=_COMMON + 1) for word in wanted}
        rare = [word for word, n in n_having.items() if 0 < n <= _COMMON]
        credit, weight = {}, {}
        for word, n in n_having.items():
            weight[word] = self._weight(n)
            if n:
                among = rare if n > _COMMON else []
                credit[word] = dict.fromkeys(self._items(word, among=among), 1.0)
            elif len(word) >= _MIN_PREFIX_CHARS:
                credit[word] = dict.fromkeys(self._items(word, prefix=True), _PREFIX_SHARE)
            else:
                credit[word] = {}
        return _shares(weight, credit)

    def _weight(self, n_having: int) -> float:
        if not n_having:
            return _UNKNOWN_WEIGHT
        n_texts = self._n_texts
        return max(0.01, math.log((n_texts + 1) / (n_having + 1)) / math.log(n_texts + 1))

    def _items(self, word: str, *, prefix: bool = False, among: Sequence[str] = ()) -> set[int]:
        found = self._reader.text_matches(word, limit=_COMMON, prefix=prefix, among=among)
        for one in found:
            if one.part_id is not None:
                self.parts.setdefault(one.item_id, set()).add(one.part_id)
        return {one.item_id for one in found}


def _shares(
    weight: Mapping[str, float], credit: Mapping[str, Mapping[int, float]]
) -> dict[int, float]:
    total = sum(weight.values())
    items: Iterable[int] = set().union(*credit.values()) if credit else ()
    return {
        id_: round(sum(weight[w] * credit[w].get(id_, 0.0) for w in weight) / total / _STEP) * _STEP
        for id_ in items
    }
