"""What each source of a store says to each query of a relevance table: the input of fusion.

Sources of an item are its parts by modality (a picture, its caption, its sound) and its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from index.types import Ids, Vectors
from retrieval.catalog.read import Reader
from retrieval.catalog.store import Catalog
from retrieval.contents import Contents, read_contents
from retrieval.engine import Engine
from retrieval.errors import ModelError
from retrieval.evaluation.relevance import Direction, Judgement
from retrieval.media import Loader, find_file
from retrieval.query.fusion import Scores, fuse_vectors, project_vectors
from retrieval.query.hybrid import read_wording
from retrieval.query.stacking import Lists
from retrieval.types import Modality, Term

__all__ = ["Gathered", "gather", "simplex"]

WORDS = "words"
_PARTS: tuple[Modality, ...] = ("image", "audio", "text")


@dataclass(frozen=True)
class Gathered:
    """What one direction's queries get from every source, and from vectors fused per item.

    Attributes:
        direction: modalities of query and items.
        judgements: the queries.
        right: of each query, item id -> grade; an item that is not in the store has an id < 0.
        sources: names of those that gave anything to any query.
        lists: of each query, source -> item id -> score, the `depth` best.
        fused: feature-level rule -> of each query, item id -> cosine, the `depth` best.
        weighed: weights of the parts -> the same for their weighted sum.
    """

    direction: Direction
    judgements: tuple[Judgement, ...]
    right: tuple[dict[int, float], ...]
    sources: tuple[str, ...]
    lists: tuple[Lists, ...]
    fused: dict[str, tuple[Scores, ...]]
    weighed: dict[tuple[float, ...], tuple[Scores, ...]]


def gather(
    engine: Engine, *, judgements: Sequence[Judgement], catalog_url: str = "", depth: int = 100
) -> list[Gathered]:
    """Ask every source of a store every query of a table, exactly.

    Args:
        engine: of the store.
        judgements: from `read_relevance`.
        catalog_url: see `retrieval.contents.read_contents`.
        depth: candidates a source gives to a query.

    Returns:
        One entry a direction that the model serves, in order of first appearance.

    Raises:
        ModelError: the model serves none of them (`modality_not_served`).
    """
    by_direction: dict[Direction, list[Judgement]] = {}
    for judgement in judgements:
        by_direction.setdefault(judgement.direction, []).append(judgement)
    found = []
    with _reading(engine, catalog_url) as reader, Loader(spec=engine.encoder.media) as loader:
        for direction, chosen in by_direction.items():
            asked = _Asked(engine, reader, loader, direction, catalog_url=catalog_url, depth=depth)
            if asked.parts:
                found.append(asked.gather(chosen))
    if not found:
        raise ModelError(
            f"model {engine.encoder.name} serves no direction of the table",
            code="modality_not_served",
        )
    return found


def simplex(n: int, *, steps: int = 4) -> list[tuple[float, ...]]:
    """List the weights of n sources that sum to 1, in steps of 1 / `steps`.

    Example:
        >>> simplex(2, steps=2)
        [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    whole = (p for p in product(range(steps + 1), repeat=n) if sum(p) == steps)
    return [tuple(part / steps for part in parts) for parts in whole]


@contextmanager
def _reading(engine: Engine, catalog_url: str) -> Iterator[Reader]:
    store = engine.store
    catalog = Catalog.open(store.catalog_path, uuid=store.uuid, url=catalog_url)
    try:
        with catalog.reading() as reader:
            yield reader
    finally:
        catalog.close()


class _Part:
    """The parts of one modality of the items of another: vectors, and rows per item."""

    def __init__(self, contents: Contents, part: Modality, items: Modality) -> None:
        rows = [
            (p.item_id, row)
            for row, p in enumerate(contents.parts)
            if p.modality == part and contents.items[p.item_id].modality == items
        ]
        rows.sort()
        owners = np.array([item for item, _ in rows], dtype=np.int64)
        self.space = contents.space
        self.vectors: Vectors = contents.vectors[[row for _, row in rows]]
        self.ids, self._starts = np.unique(owners, return_index=True)
        self.paths = {
            path: id_
            for id_ in self.ids.tolist()
            for path in (contents.items[id_].path, *contents.items[id_].copies)
        }

    def best(self, queries: Vectors) -> np.ndarray:
        """Score each item by its best part. float32 [Q, N]"""
        return np.asarray(np.maximum.reduceat(queries @ self.vectors.T, self._starts, axis=1))

    def means(self, ids: Ids) -> Vectors:
        """Average each item's parts; unit length, zero for an item without. float32 [N, D]"""
        sums = np.add.reduceat(self.vectors, self._starts, axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        out = np.zeros((len(ids), self.vectors.shape[1]), np.float32)
        out[np.searchsorted(ids, self.ids)] = sums / np.maximum(norms, 1e-6)
        return out


class _Asked:
    """One direction of a store."""

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        loader: Loader,
        direction: Direction,
        *,
        catalog_url: str,
        depth: int,
    ) -> None:
        self._encoder, self._reader, self._loader = engine.encoder, reader, loader
        self._direction, self._depth = direction, depth
        self.parts: dict[Modality, _Part] = {}
        known = {space.id for space in reader.spaces()}
        for part in _PARTS:
            try:
                space = self._encoder.space_for(direction[0], part)
            except ModelError:
                continue
            if space.id in known:
                contents = read_contents(engine, catalog_url=catalog_url, space_id=space.id)
                own = _Part(contents, part, direction[1])
                if len(own.ids):
                    self.parts[part] = own
        self._paths = {p: id_ for own in self.parts.values() for p, id_ in own.paths.items()}
        self._ids: Ids = np.array(sorted(set(self._paths.values())), dtype=np.int64)

    def gather(self, judgements: Sequence[Judgement]) -> Gathered:
        right = []
        for judgement in judgements:
            named = enumerate(judgement.right.items(), start=1)
            right.append({self._paths.get(path, -n): grade for n, (path, grade) in named})
        own = [self._paths.get(str(judgement.query)) for judgement in judgements]
        vectors = {space: self._encode(judgements, space) for space in self._space_ids()}
        tables: dict[str, list[Scores]] = {}
        for name, part in self.parts.items():
            scores = part.best(vectors[part.space.id])
            tables[name] = [self._top(row, part.ids, own[n]) for n, row in enumerate(scores)]
        tables[WORDS] = [self._words(judgement) for judgement in judgements]
        sources = tuple(name for name, lists in tables.items() if any(lists))
        fused, weighed = self._feature_level(vectors, own)
        return Gathered(
            direction=self._direction,
            judgements=tuple(judgements),
            right=tuple(right),
            sources=sources,
            lists=tuple(
                {name: tables[name][n] for name in sources} for n in range(len(judgements))
            ),
            fused=fused,
            weighed=weighed,
        )

    def _space_ids(self) -> list[str]:
        return list(dict.fromkeys(part.space.id for part in self.parts.values()))

    def _encode(self, judgements: Sequence[Judgement], space_id: str) -> Vectors:
        """Encode every query. float32 [Q, D]; zero for one that says nothing to the model."""
        space = next(p.space for p in self.parts.values() if p.space.id == space_id)
        if self._direction[0] == "text":
            texts = [str(judgement.query) for judgement in judgements]
            return self._encoder.encode(texts, modality="text", space=space)
        rows = []
        for judgement in judgements:
            loaded = self._loader.load(find_file(Path(judgement.query)))
            kind = next(m for m in _PARTS if any(p.modality == m for p in loaded.parts))
            payloads = [p.payload for p in loaded.parts if p.modality == kind and not p.caption]
            mean = self._encoder.encode(payloads, modality=kind, space=space).mean(axis=0)
            rows.append(mean / max(float(np.linalg.norm(mean)), 1e-6))
        return np.asarray(rows, dtype=np.float32)

    def _words(self, judgement: Judgement) -> Scores:
        if isinstance(judgement.query, Path):
            return {}
        covered = read_wording(Term(judgement.query), reader=self._reader).coverage
        allowed = set(self._ids.tolist())
        best = sorted((-score, id_) for id_, score in covered.items() if id_ in allowed)
        return {id_: -score for score, id_ in best[: self._depth]}

    def _top(self, scores: np.ndarray, ids: Ids, own: int | None) -> Scores:
        order = np.lexsort((ids, -scores))[: self._depth + 1]
        kept = [(int(ids[i]), float(scores[i])) for i in order if int(ids[i]) != own]
        return dict(kept[: self._depth])

    def _feature_level(
        self, vectors: dict[str, Vectors], own: Sequence[int | None]
    ) -> tuple[dict[str, tuple[Scores, ...]], dict[tuple[float, ...], tuple[Scores, ...]]]:
        """Fuse each item's vectors; nothing where they lie in different spaces or are of one kind.

        The query of `concat` is its vector once for each modality.
        """
        if len(vectors) != 1 or len(self.parts) < 2:
            return {}, {}
        queries = next(iter(vectors.values()))
        means: dict[str, Vectors] = {n: part.means(self._ids) for n, part in self.parts.items()}
        beside = fuse_vectors(dict.fromkeys(means, queries), rule="concat")

        def scored(items: Vectors, asked: Vectors) -> tuple[Scores, ...]:
            return tuple(self._top(row, self._ids, own[n]) for n, row in enumerate(asked @ items.T))

        concat, dim = fuse_vectors(means, rule="concat"), queries.shape[1]
        fused = {
            "average": scored(fuse_vectors(means, rule="average"), queries),
            "max": scored(fuse_vectors(means, rule="max"), queries),
            "min": scored(fuse_vectors(means, rule="min"), queries),
            "concat": scored(concat, beside),
            "concat projected": scored(
                project_vectors(concat, dim=dim), project_vectors(beside, dim=dim)
            ),
        }
        weighed = {}
        for weights in simplex(len(means)):
            # A weight of nothing would leave items with only that part without a vector.
            sizes = {n: max(w, 0.02) for n, w in zip(sorted(means), weights, strict=True)}
            weighed[weights] = scored(fuse_vectors(means, rule="sum", weights=sizes), queries)
        return fused, weighed
