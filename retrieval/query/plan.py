"""Which Space answers a query, with which vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Union

import numpy as np

from index.types import Ids, Vectors
from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.encoders.text_cache import TEXT_CACHE
from retrieval.errors import ModelError, NotFoundError, UsageError
from retrieval.media import Loader, find_file
from retrieval.query.calibrate import Calibrator
from retrieval.query.expression import terms
from retrieval.query.generation import Generation
from retrieval.query.pair import Pair
from retrieval.types import (
    ROW_FLAG,
    Every,
    Expression,
    Loaded,
    LoadedPart,
    Modality,
    Payload,
    Query,
    Space,
    Sum,
    Term,
)

# Which parts of an item with several modalities speak for it when it is the query.
_SPEAKER: tuple[Modality, ...] = ("image", "audio", "text")

LoadWide = Callable[[Path], Loaded]
"""Loads a file whole, so that it can be cut; see `retrieval.media.cut.wide_spec`."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One direction to search, ready for one Space.

    Attributes:
        space: where to search.
        vector: float32 [1, D], unit length: what `score` is the cosine with.
        ranking: float32 [1, D], unit length: what hits are ordered by; `vector` or it centred.
        pair: how scores of this kind are distributed; None where the store is too small to say.
    """

    space: Space
    vector: Vectors
    ranking: Vectors
    pair: Pair | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Several directions: an item counts by its worst (`every`) or best (`either`)."""

    kind: Literal["every", "either"]
    parts: tuple[Tree, ...]


Tree = Union[Leaf, Group]


@dataclass(frozen=True, slots=True)
class Leg:
    """One search: a tree of directions over the parts of some modalities."""

    tree: Tree
    part_modalities: tuple[Modality, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A term, loaded: its modality, and its payloads or the ids of its stored parts."""

    term: Term
    modality: Modality
    payloads: tuple[Payload, ...]
    part_ids: Ids | None = None


def leaves(tree: Tree) -> list[Leaf]:
    """List the leaves of a tree, left to right."""
    if isinstance(tree, Leaf):
        return [tree]
    return [leaf for part in tree.parts for leaf in leaves(part)]


def expression_of(query: Query) -> Expression:
    """Give the composed form that every query has."""
    if query.expression is not None:
        return query.expression
    kind = query.kind if query.kind != "composed" else "text"
    return Term(query.value, kind=kind)


def plan_query(
    query: Query,
    *,
    reader: Reader,
    generation: Generation,
    encoder: Encoder,
    loader: Loader,
    load_wide: LoadWide | None = None,
    calibrator: Calibrator | None = None,
) -> list[Leg]:
    """Encode a query into the Spaces that serve it, one leg for parts that are ranked alike.

    Raises:
        UsageError: nothing in the query can be encoded (`empty_query`).
        NotFoundError: a stored item does not exist.
        ModelError: no Space serves the query.
    """
    expression = _spread(expression_of(query), reader=reader, encoder=encoder)
    sources = {
        term: _source(term, reader=reader, encoder=encoder, loader=loader, load_wide=load_wide)
        for term in dict.fromkeys(terms(expression))
    }
    planner = _Planner(sources, generation=generation, encoder=encoder, calibrator=calibrator)
    legs: dict[tuple[object, ...], Leg] = {}
    for part in _SPEAKER:
        tree = planner.tree(expression, part)
        if tree is None:
            continue
        found = leaves(tree)
        # Parts of all modalities without calibration share one search by plain cosine.
        key: tuple[object, ...] = tuple(leaf.space.id for leaf in found)
        key += (part,) if all(leaf.pair for leaf in found) else ()
        before = legs.get(key)
        legs[key] = Leg(tree, (*before.part_modalities, part) if before else (part,))
    if not legs and not planner.served:
        served = ", ".join(sorted({s.modality for s in sources.values()}))
        raise ModelError(
            f"model {encoder.name} cannot encode a query of modality {served}",
            code="modality_not_served",
        )
    return list(legs.values())


def encode_ahead(expressions: Iterable[Expression], *, encoder: Encoder) -> None:
    """Encode the texts of several queries in one batch; `plan_query` finds them remembered."""
    found = [term for expression in expressions for term in terms(expression)]
    texts = [_clean(term.value) for term in found if term.kind == "text"]
    spaces = {}
    for part in _SPEAKER if texts else ():
        with suppress(ModelError):
            space = encoder.space_for("text", part)
            spaces[space.id] = space
    for space in spaces.values():
        TEXT_CACHE.encode(texts, encoder=encoder, space=space)


class _Planner:
    """Builds the tree of one expression for parts of one modality; encodes each term once."""

    def __init__(
        self,
        sources: dict[Term, _Source],
        *,
        generation: Generation,
        encoder: Encoder,
        calibrator: Calibrator | None,
    ) -> None:
        self._sources = sources
        self._generation = generation
        self._encoder = encoder
        self._calibrator = calibrator
        self._vectors: dict[tuple[Term, str], Vectors | None] = {}
        self.served = False

    def tree(self, expression: Expression, part: Modality) -> Tree | None:
        """Plan an expression; None where no Space or no vector serves a piece of it."""
        if isinstance(expression, Term | Sum):
            return self._leaf(expression, part)
        parts = [self.tree(inner, part) for inner in expression.parts]
        good = tuple(tree for tree in parts if tree is not None)
        if len(good) < len(parts):
            return None
        # Either all leaves are calibrated or none: evidence and cosines cannot be compared.
        if not all(leaf.pair for tree in good for leaf in leaves(tree)):
            good = tuple(_plain(tree) for tree in good)
        return Group("every" if isinstance(expression, Every) else "either", good)

    def _leaf(self, expression: Term | Sum, part: Modality) -> Leaf | None:
        space = self._space(expression, part)
        if space is None:
            return None
        self.served = True
        if not self._exist(expression, space):
            return None
        vector = self._compose(expression, space, part=None)
        if not vector.any():
            raise UsageError(
                f"the query {_name(expression)} says nothing the model {self._encoder.name} "
                "knows; use other words",
                code="empty_query",
            )
        pair = self._pair(space, self._loudest(expression), part)
        ranking = vector
        if pair is not None:
            moved = self._compose(expression, space, part=part)
            if moved.any() and not np.array_equal(moved, vector):
                ranking = moved
        if self._generation.asked is not None and self._loudest(expression) == "text":
            self._generation.asked.note(ranking, space=space)
        return Leaf(space, vector, ranking, pair)

    def _space(self, expression: Term | Sum, part: Modality) -> Space | None:
        """Find the Space that serves every term of a sum for these parts."""
        wanted = {self._sources[term].modality for term in terms(expression)}
        try:
            served = {self._encoder.space_for(m, part) for m in sorted(wanted)}
        except ModelError:
            return None
        if len(served) == 1:
            return served.pop()
        for space in self._encoder.spaces:
            if {*wanted, part} <= set(space.modalities):
                return space
        return None

    def _exist(self, expression: Term | Sum, space: Space) -> bool:
        return all(self._vector(term, space) is not None for term in terms(expression))

    def _compose(self, expression: Term | Sum, space: Space, *, part: Modality | None) -> Vectors:
        """Add up to unit length; centred for parts of a modality unless `part` is None."""
        if isinstance(expression, Sum):
            total = np.zeros((1, space.dim), np.float64)
            for weight, inner in expression.parts:
                total += weight * self._compose(inner, space, part=part)
            return _unit(total)
        vector = self._vector(expression, space)
        assert vector is not None  # `_exist` has looked
        if part is None:
            return vector
        pair = self._pair(space, self._sources[expression].modality, part)
        return vector if pair is None or not pair.shift.any() else _unit(vector - pair.shift)

    def _pair(self, space: Space, query: Modality, part: Modality) -> Pair | None:
        return None if self._calibrator is None else self._calibrator.pair(space, query, part)

    def _vector(self, term: Term, space: Space) -> Vectors | None:
        key = (term, space.id)
        if key not in self._vectors:
            self._vectors[key] = self._encode(self._sources[term], space)
        return self._vectors[key]

    def _encode(self, source: _Source, space: Space) -> Vectors | None:
        if source.part_ids is not None:
            opened = self._generation.spaces.get(space.id)
            vectors = opened.vectors(source.part_ids) if opened is not None else ()
            return _mean(np.asarray(vectors)) if len(vectors) else None
        if source.modality == "text":
            texts = [str(payload) for payload in source.payloads]
            return _mean(TEXT_CACHE.encode(texts, encoder=self._encoder, space=space))
        return _mean(
            self._encoder.encode(list(source.payloads), modality=source.modality, space=space)
        )

    def _loudest(self, expression: Term | Sum) -> Modality:
        """Name the modality with the most weight in a sum."""
        weights: dict[Modality, float] = {}
        for weight, term in _flat(expression, 1.0):
            modality = self._sources[term].modality
            weights[modality] = weights.get(modality, 0.0) + abs(weight)
        return max(weights, key=lambda modality: weights[modality])


def _spread(expression: Expression, *, reader: Reader, encoder: Encoder) -> Expression:
    """Let a stored row of a table ask with each kind of its parts, all weighing the same.

    What a row lacks is left out, and the sum of what it has is brought to unit length.
    """
    if isinstance(expression, Sum):
        inner = [(w, _spread(part, reader=reader, encoder=encoder)) for w, part in expression.parts]
        return Sum(tuple((w, part) for w, part in inner if isinstance(part, Term | Sum)))
    if not isinstance(expression, Term):
        whole = (_spread(part, reader=reader, encoder=encoder) for part in expression.parts)
        return replace(expression, parts=tuple(whole))
    if expression.kind != "item":
        return expression
    item_id = int(expression.value)
    item = reader.items([item_id]).get(item_id)
    if item is None or ROW_FLAG not in item.flags:
        return expression
    held = {part.modality for part in reader.parts_of([item_id])}
    kinds = [modality for modality in _SPEAKER if modality in held]
    # A sum lives in one space: what the others hold cannot be added.
    together = [m for m in kinds if any({kinds[0], m} <= set(s.modalities) for s in encoder.spaces)]
    if len(together) < 2:
        return expression
    return Sum(tuple((1.0, replace(expression, part=modality)) for modality in together))


def _flat(expression: Term | Sum, weight: float) -> list[tuple[float, Term]]:
    if isinstance(expression, Term):
        return [(weight, expression)]
    return [pair for w, part in expression.parts for pair in _flat(part, weight * w)]


def _plain(tree: Tree) -> Tree:
    if isinstance(tree, Leaf):
        return Leaf(tree.space, tree.vector, tree.vector)
    return Group(tree.kind, tuple(_plain(part) for part in tree.parts))


def _source(
    term: Term,
    *,
    reader: Reader,
    encoder: Encoder,
    loader: Loader,
    load_wide: LoadWide | None,
) -> _Source:
    if term.kind == "text":
        return _Source(term, "text", (_clean(term.value),))
    if term.kind == "item":
        return _stored(term, reader)
    if term.crop is None and term.slice_s is None:
        return _loaded(term, loader.load(find_file(Path(term.value))).parts)
    if load_wide is None:
        raise UsageError("crops and slices cannot be used here", code="bad_query")
    from retrieval.media.cut import cut_picture, cut_sound

    wide = load_wide(Path(term.value))
    if term.slice_s is not None:
        return _loaded(term, cut_sound(wide, slice_s=term.slice_s, spec=encoder.media))
    assert term.crop is not None
    return _Source(term, "image", (cut_picture(wide, crop=term.crop, spec=encoder.media),))


def _loaded(term: Term, parts: Sequence[LoadedPart]) -> _Source:
    by_modality: dict[Modality, list[Payload]] = {}
    for part in parts:
        if not part.caption:
            by_modality.setdefault(part.modality, []).append(part.payload)
    modality = next(m for m in _SPEAKER if m in by_modality)
    return _Source(term, modality, tuple(by_modality[modality]))


def _stored(term: Term, reader: Reader) -> _Source:
    item_id = int(term.value)
    parts = reader.parts(reader.part_ids(item_id=item_id).tolist())
    if not parts:
        raise NotFoundError(f"no item #{item_id} in the store", code="no_such_item")
    speaker = next(m for m in _SPEAKER if any(p.modality == m for p in parts.values()))
    modality = term.part or speaker
    ids: Ids = np.array([p.id for p in parts.values() if p.modality == modality], dtype=np.int64)
    return _Source(term, modality, (), ids)


def _name(expression: Term | Sum) -> str:
    return repr(expression.value) if isinstance(expression, Term) else "as a whole"


def _clean(text: str) -> str:
    """Replace lone surrogates, which crash native tokenizers, and drop NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


def _mean(vectors: Vectors) -> Vectors:
    """Average unit vectors to one of unit length; zero if they cancel out. float32 [1, D]."""
    return _unit(vectors.mean(axis=0, keepdims=True, dtype=np.float64))


def _unit(total: np.ndarray) -> Vectors:
    norm = float(np.linalg.norm(total))
    unit: Vectors = (total / norm if norm > 1e-6 else np.zeros_like(total)).astype(np.float32)
    return unit
