"""Searching one leg: the best part of each of the best items, exact also for AND and OR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from index.allowed import Allowed
from index.types import Vectors
from retrieval.catalog.read import Reader
from retrieval.query.generation import Generation
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
    excluded: set[int],
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
    """
    directions = leaves(leg.tree)
    opened = [generation.spaces.get(leaf.space.id) for leaf in directions]
    n_parts_all = max((len(o) for o in opened if o is not None), default=0)
    if any(o is None for o in opened) or not n_parts_all:  # nothing was ever added there
        return {}
    moments = [_Moments(leaf) for leaf in directions]
    n_parts = min(_PARTS_PER_ITEM * (k + len(excluded)), n_parts_all)
    while True:
        candidates = _candidates(directions, n_parts, generation=generation, allowed=allowed)
        best, beaten = _rank(
            leg.tree, candidates, moments, reader=reader, generation=generation, excluded=excluded
        )
        complete = candidates.exhausted or n_parts >= n_parts_all
        if complete or len([f for f in best.values() if f.evidence >= beaten]) >= k:
            return _with_cosines(dict(list(best.items())[:k]), leg.tree, generation=generation)
        n_parts = min(n_parts * 4, n_parts_all)


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


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Scores of candidate parts in every direction, and the last score that each one gave.

    `exhausted` says that there are no other parts.
    """

    scores: dict[int, tuple[float, ...]]
    last: tuple[float, ...]
    exhausted: bool


def _candidates(
    directions: list[Leaf], n_parts: int, *, generation: Generation, allowed: Allowed | None
) -> _Candidates:
    found: list[dict[int, float]] = []
    last: list[float] = []
    exhausted = True
    for leaf in directions:
        near = generation.spaces[leaf.space.id].search(leaf.ranking, k=n_parts, allowed=allowed)
        n_found = int(near.counts[0])
        ids, scores = near.ids[0, :n_found].tolist(), near.scores[0, :n_found].tolist()
        found.append(dict(zip(ids, scores, strict=True)))
        exhausted = exhausted and n_found < n_parts
        last.append(scores[-1] if scores else -1.0)
    if len(directions) == 1:
        return _Candidates({id_: (s,) for id_, s in found[0].items()}, tuple(last), exhausted)
    everyone = sorted(set().union(*found))
    columns = [
        _complete(leaf, scores, everyone, generation=generation)
        for leaf, scores in zip(directions, found, strict=True)
    ]
    whole = {id_: tuple(column[id_] for column in columns) for id_ in everyone}
    return _Candidates(whole, tuple(last), exhausted)


def _complete(
    leaf: Leaf, scores: dict[int, float], everyone: list[int], *, generation: Generation
) -> dict[int, float]:
    """Score the parts that only other directions found."""
    missing = [id_ for id_ in everyone if id_ not in scores]
    vectors = _vectors(leaf, missing, generation)
    more = {i: float(vectors[i] @ leaf.ranking[0]) if i in vectors else -1.0 for i in missing}
    return {**scores, **more}


def _rank(
    tree: Tree,
    candidates: _Candidates,
    moments: list[_Moments],
    *,
    reader: Reader,
    generation: Generation,
    excluded: set[int],
) -> tuple[Best, float]:
    """Order items by their best part; also give what no unseen part can exceed."""
    parts = generation.rows.parts(candidates.scores, reader=reader)
    found = []
    for part_id, scores in candidates.scores.items():
        part = parts.get(part_id)
        if part is not None and part.item_id not in excluded:
            evidence = _combine(tree, [m.evidence(s) for m, s in zip(moments, scores, strict=True)])
            single = isinstance(tree, Leaf)
            z = _combine(tree, [m.z(s) for m, s in zip(moments, scores, strict=True)])
            known = z if leaves(tree)[0].pair else None
            sure = _combine(tree, [m.sureness(s) for m, s in zip(moments, scores, strict=True)])
            found.append(Found(part, evidence, scores[0] if single else 0.0, known, sure))
    found.sort(key=lambda f: (-f.evidence, f.part.id))
    best: Best = {}
    for one in found:
        best.setdefault(one.part.item_id, one)
    ordered = dict(sorted(best.items(), key=lambda entry: (-entry[1].evidence, entry[0])))
    beaten = _combine(tree, [m.evidence(s) for m, s in zip(moments, candidates.last, strict=True)])
    # A single list is complete down to its last score, ties included: its k items are the best.
    return ordered, -np.inf if isinstance(tree, Leaf) else beaten


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
    if isinstance(tree, Leaf) and tree.ranking is tree.vector:
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
