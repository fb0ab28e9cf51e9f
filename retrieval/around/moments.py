"""When in one long item a query is answered: its stored windows and frames, scored and merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.contents import read_contents
from retrieval.encoders.base import Encoder
from retrieval.engine import Engine
from retrieval.errors import NotFoundError, UsageError
from retrieval.media import Loader, find_file
from retrieval.query.moments import Moment, find_moments
from retrieval.types import Item, LoadedPart, Modality, Space

__all__ = ["item_moments"]

_SPEAKER: tuple[Modality, ...] = ("image", "audio", "text")


def item_moments(
    engine: Engine,
    *,
    query: str | Path,
    hit: str | int,
    loader: Loader,
    n: int = 5,
    catalog_url: str = "",
) -> tuple[Item, list[Moment]]:
    """Find the moments of a sound or video that answer a query.

    Frames and sound windows are scored apart (their cosines are not comparable); the kind of part
    with the higher best cosine speaks for the item.

    Args:
        engine: of the store.
        query: a text (str) or a file (Path).
        hit: path or id of a stored item.
        loader: decodes a query file as the engine's encoder wants.
        n: most moments.
        catalog_url: see `read_contents`.

    Returns:
        The item, and its moments, the best first.

    Raises:
        NotFoundError: the hit is not in the store (`not_in_store`).
        UsageError: it has no times (`no_moments`), or the query says nothing (`empty_query`).
    """
    item = engine.item(hit)
    if item is None:
        raise NotFoundError(
            f"{hit} is not in the store; add it with: crossfind index add", code="not_in_store"
        )
    encoder = engine.encoder
    modality, parts = _payloads(query, loader)
    best: list[Moment] = []
    for kind in ("image", "audio"):
        if kind == "image" and item.modality != "video":
            continue
        space = encoder.space_for(modality, "audio" if kind == "audio" else "image")
        mean = _mean(parts, modality=modality, encoder=encoder, space=space)
        own = read_contents(engine, catalog_url=catalog_url, space_id=space.id, item_id=item.id)
        rows = [r for r, p in enumerate(own.parts) if p.modality == kind and p.start_s is not None]
        if not rows:
            continue
        times = [(own.parts[r].start_s or 0.0, own.parts[r].end_s) for r in rows]
        spans = [(start_s, start_s if end_s is None else end_s) for start_s, end_s in times]
        scores = own.vectors[rows] @ mean
        found = find_moments(spans, scores=scores.tolist(), n=n)
        if not best or found[0].score > best[0].score:
            best = found
    if not best:
        raise UsageError(
            f"{item.path} is {item.modality}; only sounds and videos have moments",
            code="no_moments",
        )
    return item, best


def _mean(
    parts: list[LoadedPart], *, modality: Modality, encoder: Encoder, space: Space
) -> npt.NDArray[np.float32]:
    """Encode the query's parts and average them; float32 [D], unit length."""
    vectors = encoder.encode([p.payload for p in parts], modality=modality, space=space)
    mean = vectors.mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if norm < 1e-6:
        raise UsageError(
            f"the query says nothing the model {encoder.name} knows; use other words",
            code="empty_query",
        )
    return np.asarray(mean / norm, dtype=np.float32)


def _payloads(query: str | Path, loader: Loader) -> tuple[Modality, list[LoadedPart]]:
    if isinstance(query, str):
        return "text", [LoadedPart("text", query)]
    parts = [p for p in loader.load(find_file(query)).parts if not p.caption]
    modality = next(m for m in _SPEAKER if any(p.modality == m for p in parts))
    return modality, [p for p in parts if p.modality == modality]
