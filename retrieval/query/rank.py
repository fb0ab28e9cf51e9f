"""Searching one leg: the best part of each of the best items, exact also for AND and OR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from index.allowed import Allowed
from index.types import Vectors
from retrieval.catalog.read import Reader
from retrieval.query.generation import Generation
from retrieval.query.nearest import Near, Nearest, Wanted
from retrieval.query.plan import Leaf, Leg, Tree, leaves
from retrieval.types import Part

# Parts asked for per item wanted at first: long sounds and videos crowd the top with their own.
_PARTS_PER_ITEM = 4


@dataclass(frozen=True, slots=True)
class Found:
    """An item found, by its best part.

    Attributes:
        part: the part.
        evidence: what lists are ordered by; the cosine where nothing is calibrated.
        cosine: in [-1, 1].
        z: see `retrieval.query.calibrate`; None where nothing is calibrated.
        sureness: what confidence is made of; means nothing where nothing is calibrated.
    """

    part: Part
    evidence: float
    cosine: float
    z: float | None = None
    sureness: float = 0.0


Best = dict[int, Found]


def search_leg(
    leg: Leg,
    *,
    k: int,
    reader: Reader,
    generation: Generation,
    allowed: Allowed | None,
    excluded: frozenset[int],
    nearest: Nearest,
) -> Best:
    """Find the best k items of a leg, best first, ties by item id.

    AND and OR are searched as Fagin's threshold algorithm does: each direction gives its best
    parts; what none of them gave cannot beat the tree's value at their last scores. More parts
    are asked for until k items beat that.

    Args:
        leg: what to search.
        k: how many items.
        reader, generation: of one and the same generation.
        allowed: part ids that may be found; None for all.
        excluded: ids of items that are no answers.
        nearest: finds the parts.
    """
    wanted = first_wanted(leg, k=k, generation=generation, allowed=allowed, excluded=excluded)
    if not wanted:
        return {}
    n_parts, n_parts_all = wanted[0].n, _n_parts(leg, generation)
    moments = [_Moments(one.leaf) for one in wanted]
    while True:
        near = [nearest(one) for one in wanted]
        exhausted = n_parts >= n_parts_all or all(len(found) < n_parts for found in near)
        if isinstance(leg.tree, Leaf):
            best = _first_k(near[0], moments[0], k, reader, generation, excluded)
            enough = len(best) >= k
        else:
            best, beaten = _rank(
                leg.tree, _joined(wanted, near, generation), moments, reader, generation, excluded
            )
            enough = len([f for f in best.values() if f.evidence >= beaten]) >= k
        if exhausted or enough:
            return _with_cosines(dict(list(best.items())[:k]), leg.tree, generation=generation)
        n_parts = min(n_parts * 4, n_parts_all)
        wanted = [replace(one, n=n_parts) for one in wanted]


def first_wanted(
    leg: Leg, *, k: int, generation: Generation, allowed: Allowed | None, excluded: frozenset[int]
) -> list[Wanted]:
    """Tell which parts a leg asks for first, one wish for each direction; none: nothing is there.

    Args:
        leg, k, generation, allowed, excluded: see `search_leg`.
    """
    directions = leaves(leg.tree)
    n_parts_all = _n_parts(leg, generation)
    if not n_parts_all or any(leaf.space.id not in generation.spaces for leaf in directions):
        return []  # nothing was ever added there
    n_parts = min(_PARTS_PER_ITEM * (k + len(excluded)), n_parts_all)
    return [Wanted(leaf, n_parts, allowed) for leaf in directions]


def _is_corrected(leaf: Leaf) -> bool:
    return leaf.pair is not None and leaf.pair.hubs is not None


def _n_parts(leg: Leg, generation: Generation) -> int:
    opened = (generation.spaces.get(leaf.space.id) for leaf in leaves(leg.tree))
    return max((len(o) for o in opened if o is not None), default=0)


class _Moments:
    """The straight line from a direction's score to its z and evidence."""

    def __init__(self, leaf: Leaf) -> None:
        self._pair = leaf.pair
        self._mean, self._spread = leaf.pair.moments(leaf.ranking) if leaf.pair else (0.0, 1.0)

    def z(self, score: float) -> float:
        return (score - self._mean) / self._spread

    def sureness(self, score: float) -> float:
        return 0.0 if self._pair is None else self._pair.sureness(score)

    def evidence(self, score: float) -> float:
        return score if self._pair is None else self._pair.evidence(self.z(score))

    def found(self, part: Part, score: float) -> Found:
        z = None if self._pair is None else self.z(score)
        return Found(part, self.evidence(score), score, z, self.sureness(score))


def _first_k(
    near: Near,
    moments: _Moments,
    k: int,
    reader: Reader,
    generation: Generation,
    excluded: frozenset[int],
) -> Best:
    """Take the first k items of a list of parts, each by its first part, ties by item id.

    A single list is complete down to its last score, ties included: its k items are the best.
    """
    first: dict[int, tuple[Part, float]] = {}
    last = -np.inf
    step = k + len(excluded)  # an item often has one part: the rest need not be looked up
    for start in range(0, len(near), step):
        some = near[start : start + step]
        if len(first) >= k and some[0][1] < last:
            break
        parts = generation.rows.parts([id_ for id_, _ in some], reader=reader)
        for id_, score in some:
            if len(first) >= k and score < last:
                break
            part = parts.get(id_)
            if part is not None and part.item_id not in excluded and part.item_id not in first:
                first[part.item_id] = (part, score)
                last = score
    return _ordered(first, moments)


def _ordered(first: dict[int, tuple[Part, float]], moments: _Moments) -> Best:
    order = sorted(first.items(), key=lambda entry: (-entry[1][1], entry[0]))
    return {item_id: moments.found(part, score) for item_id, (part, score) in order}


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Scores of candidate parts in every direction, and the last score that each one gave."""

    scores: dict[int, tuple[float, ...]]
    last: tuple[float, ...]


def _joined(wanted: list[Wanted], near: list[Near], generation: Generation) -> _Candidates:
    """Score what any direction found in all of them."""
    found = [dict(one) for one in near]
    last = tuple(one[-1][1] if one else -1.0 for one in near)
    everyone = sorted(set().union(*found))
    columns = [
        _complete(one.leaf, scores, everyone, generation=generation)
        for one, scores in zip(wanted, found, strict=True)
    ]
    return _Candidates({id_: tuple(column[id_] for column in columns) for id_ in everyone}, last)


def _complete(
    leaf: Leaf, scores: dict[int, float], everyone: list[int], *, generation: Generation
) -> dict[int, float]:
    """Score the parts that only other directions found."""
    missing = [id_ for id_ in everyone if id_ not in scores]
    vectors = _vectors(leaf, missing, generation)
    more = {i: float(vectors[i] @ leaf.ranking[0]) if i in vectors else -1.0 for i in missing}
    if leaf.pair is not None and leaf.pair.hubs is not None:
        taken = leaf.pair.hubs.of(np.array(missing, dtype=np.int64)).tolist()
        more = {i: score - own for (i, score), own in zip(more.items(), taken, strict=True)}
    return {**scores, **more}


def _rank(
    tree: Tree,
    candidates: _Candidates,
    moments: list[_Moments],
    reader: Reader,
    generation: Generation,
    excluded: frozenset[int],
) -> tuple[Best, float]:
    """Order items by their best part; also give what no unseen part can exceed."""
    parts = generation.rows.parts(candidates.scores, reader=reader)
    is_calibrated = leaves(tree)[0].pair is not None
    found = []
    for part_id, scores in candidates.scores.items():
        part = parts.get(part_id)
        if part is not None and part.item_id not in excluded:
            pairs = list(zip(moments, scores, strict=True))
            evidence = _combine(tree, [m.evidence(s) for m, s in pairs])
            z = _combine(tree, [m.z(s) for m, s in pairs]) if is_calibrated else None
            sureness = _combine(tree, [m.sureness(s) for m, s in pairs])
            found.append(Found(part, evidence, 0.0, z, sureness))
    found.sort(key=lambda f: (-f.evidence, f.part.id))
    best: Best = {}
    for one in found:
        best.setdefault(one.part.item_id, one)
    ordered = dict(sorted(best.items(), key=lambda entry: (-entry[1].evidence, entry[0])))
    beaten = _combine(tree, [m.evidence(s) for m, s in zip(moments, candidates.last, strict=True)])
    return ordered, beaten


def _combine(tree: Tree, values: list[float]) -> float:
    """Evaluate a tree over the values of its leaves: AND is the minimum, OR the maximum."""
    remaining = iter(values)

    def evaluate(node: Tree) -> float:
        if isinstance(node, Leaf):
            return next(remaining)
        parts = [evaluate(part) for part in node.parts]
        return min(parts) if node.kind == "every" else max(parts)

    return evaluate(tree)


def _with_cosines(best: Best, tree: Tree, *, generation: Generation) -> Best:
    """Fill in the cosines where hits were ordered by something else."""
    if isinstance(tree, Leaf) and tree.ranking is tree.vector and not _is_corrected(tree):
        return best
    ids = [found.part.id for found in best.values()]
    tables = [(leaf, _vectors(leaf, ids, generation)) for leaf in leaves(tree)]
    return {
        item_id: replace(found, cosine=_combine(tree, [_cosine(found, *t) for t in tables]))
        for item_id, found in best.items()
    }


def _cosine(found: Found, leaf: Leaf, vectors: Mapping[int, Vectors]) -> float:
    return float(vectors[found.part.id] @ leaf.vector[0]) if found.part.id in vectors else -1.0


def _vectors(leaf: Leaf, ids: list[int], generation: Generation) -> dict[int, Vectors]:
    found, vectors = generation.spaces[leaf.space.id].lookup(np.array(ids, dtype=np.int64))
    return dict(zip(found.tolist(), vectors, strict=True))
