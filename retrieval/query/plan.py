"""Which Space answers a query, with which vector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.types import Ids, Vectors
from retrieval.catalog.read import Reader
from retrieval.encoders.base import Encoder
from retrieval.errors import ModelError, NotFoundError, UsageError
from retrieval.media import Loader, find_file
from retrieval.query.generation import Generation
from retrieval.types import Modality, Payload, Query, Space

# Which parts of an item with several modalities speak for it when it is the query.
_SPEAKER: tuple[Modality, ...] = ("image", "audio", "text")


@dataclass(frozen=True, slots=True)
class SpaceQuery:
    """A query, ready for one Space.

    Attributes:
        space: where to search.
        vector: float32 [1, D], unit length.
        part_modalities: of the parts this Space answers for.
    """

    space: Space
    vector: Vectors
    part_modalities: tuple[Modality, ...]


def plan_query(
    query: Query, *, reader: Reader, generation: Generation, encoder: Encoder, loader: Loader
) -> list[SpaceQuery]:
    """Encode a query into each Space that serves some modality of parts for it.

    Raises:
        UsageError: nothing in the query can be encoded (`empty_query`).
        NotFoundError: the stored item does not exist.
        ModelError: no Space serves the query.
    """
    if query.kind == "item":
        return _from_stored(query, reader=reader, generation=generation, encoder=encoder)
    if query.kind == "file":
        modality, payloads = _from_file(query, loader)
    else:
        modality, payloads = "text", [_clean(query.value)]
    plans = []
    for space, part_modalities in _spaces(encoder, modality):
        vector = _mean(encoder.encode(payloads, modality=modality, space=space))
        if not vector.any():
            raise UsageError(
                f"the query {query.value!r} says nothing the model {encoder.name} knows; "
                "use other words",
                code="empty_query",
            )
        plans.append(SpaceQuery(space, vector, part_modalities))
    return plans


def _spaces(encoder: Encoder, modality: Modality) -> list[tuple[Space, tuple[Modality, ...]]]:
    """Group the part modalities by the Space that serves them for this query modality."""
    served: dict[Space, list[Modality]] = {}
    for part in ("image", "audio", "text"):
        try:
            space = encoder.space_for(modality, part)
        except ModelError:
            continue
        served.setdefault(space, []).append(part)
    if not served:
        raise ModelError(
            f"model {encoder.name} cannot encode a query of modality {modality}",
            code="modality_not_served",
        )
    return [(space, tuple(parts)) for space, parts in served.items()]


def _from_file(query: Query, loader: Loader) -> tuple[Modality, list[Payload]]:
    loaded = loader.load(find_file(Path(query.value)))
    by_modality: dict[Modality, list[Payload]] = {}
    for part in loaded.parts:
        if not part.caption:
            by_modality.setdefault(part.modality, []).append(part.payload)
    modality = next(m for m in _SPEAKER if m in by_modality)
    return modality, by_modality[modality]


def _from_stored(
    query: Query, *, reader: Reader, generation: Generation, encoder: Encoder
) -> list[SpaceQuery]:
    item_id = int(query.value)
    parts = reader.parts(reader.part_ids(item_id=item_id).tolist())
    if not parts:
        raise NotFoundError(f"no item #{item_id} in the store", code="no_such_item")
    modality = next(m for m in _SPEAKER if any(p.modality == m for p in parts.values()))
    ids: Ids = np.array([p.id for p in parts.values() if p.modality == modality], dtype=np.int64)
    plans = []
    for space, part_modalities in _spaces(encoder, modality):
        vectors = generation.spaces[space.id].vectors(ids)
        if len(vectors):
            plans.append(SpaceQuery(space, _mean(vectors), part_modalities))
    return plans


def _clean(text: str) -> str:
    """Replace lone surrogates, which crash native tokenizers, and drop NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


def _mean(vectors: Vectors) -> Vectors:
    """Average unit vectors to one of unit length; zero if they cancel out. float32 [1, D]."""
    mean = vectors.mean(axis=0, keepdims=True, dtype=np.float64)
    norm = float(np.linalg.norm(mean))
    unit: Vectors = (mean / norm if norm > 1e-6 else np.zeros_like(mean)).astype(np.float32)
    return unit
