"""Searching for what requests ask, a batch of them at a time, and writing what they get."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.engine import Engine
from retrieval.errors import CrossfindError
from retrieval.query.expression import terms
from retrieval.query.plan import expression_of
from retrieval.server.answers import hit_answer, to_json, without_paths
from retrieval.server.limits import MAX_DEPTH
from retrieval.server.metrics import Metrics
from retrieval.server.payloads import SearchBody
from retrieval.types import Hit, Item, Query

__all__ = ["Asked", "Sought", "answer_each", "query_digest"]

_SHALLOW = 100
"""Lists up to here are all equally quick."""

Items = Callable[[Iterable[int]], Mapping[int, Item]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One search, ready for the engine."""

    query: Query
    body: SearchBody


@dataclass(frozen=True, slots=True)
class Sought:
    """The searches of one request.

    Attributes:
        searches: at least one.
        is_batch: whether the request is answered by a list.
        came_s: when it came, by `time.perf_counter`.
    """

    searches: tuple[Asked, ...]
    is_batch: bool
    came_s: float = field(default_factory=time.perf_counter)

    @property
    def has_files(self) -> bool:
        """Tell whether files must be decoded first, which takes long."""
        queries = (asked.query for asked in self.searches)
        return any(t.kind == "file" for query in queries for t in terms(expression_of(query)))

    @property
    def key(self) -> Hashable:
        """Name what it may be searched together with: what takes about as long."""
        if self.is_batch:
            return id(self)
        query = self.searches[0].query
        depth = query.offset + query.k
        return query.where, depth if depth > _SHALLOW else 0


def answer_each(
    sought: Sequence[Sought], *, engine: Engine, metrics: Metrics, items: Items
) -> list[bytes | CrossfindError]:
    """Search for several requests at once; runs in a thread.

    Args:
        sought: what they want.
        engine: searches.
        metrics: told how long each step takes.
        items: looks items up.

    Returns:
        For each request the JSON it gets, or why it gets none.
    """
    started_s = time.perf_counter()
    for one in sought:
        metrics.took("wait", started_s - one.came_s)
    asked = [search for one in sought for search in one.searches]
    metrics.together(len(asked))
    with metrics.step("search"):
        outcomes = engine.search_each([one.query for one in asked])
    good = [outcome for outcome in outcomes if not isinstance(outcome, CrossfindError)]
    detailed = {
        hit.id
        for one, outcome in zip(asked, outcomes, strict=True)
        if one.body.details and not isinstance(outcome, CrossfindError)
        for hit in outcome
    }
    with metrics.step("details"):
        known = items(sorted(detailed)) if detailed else {}
    metrics.found(sum(len(hits) for hits in good))
    common = {
        "generation": engine.generation,
        "took_ms": round(1000 * (time.perf_counter() - started_s), 2),
        "warnings": [without_paths(warning) for warning in engine.warnings],
    }
    told = iter(
        outcome if isinstance(outcome, CrossfindError) else {**_hits(one, outcome, known), **common}
        for one, outcome in zip(asked, outcomes, strict=True)
    )
    return [_written(one, [next(told) for _ in one.searches]) for one in sought]


def _hits(asked: Asked, hits: Sequence[Hit], items: Mapping[int, Item]) -> dict[str, object]:
    known = items if asked.body.details else {}
    return {
        "hits": [hit_answer(hit, item=known.get(hit.id)) for hit in hits],
        "next_cursor": _next_cursor(asked, n_hits=len(hits)),
    }


def _written(
    sought: Sought, told: Sequence[dict[str, object] | CrossfindError]
) -> bytes | CrossfindError:
    for one in told:
        if isinstance(one, CrossfindError):
            return one
    return to_json({"results": told} if sought.is_batch else told[0])


def query_digest(body: SearchBody) -> str:
    """Name a search, whatever page of it is asked for."""
    same = body.model_dump(exclude={"cursor", "offset", "k", "details", "folder"})
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]


def _next_cursor(asked: Asked, *, n_hits: int) -> str | None:
    offset = asked.query.offset + asked.query.k
    if n_hits < asked.query.k or offset + asked.query.k > MAX_DEPTH:
        return None
    return base64.urlsafe_b64encode(f"1:{offset}:{query_digest(asked.body)}".encode()).decode(
        "ascii"
    )
