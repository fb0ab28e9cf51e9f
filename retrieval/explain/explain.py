"""Why an item is a hit of a query: which piece of it, and which words of the query."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.engine import Engine
from retrieval.errors import NotFoundError, UsageError
from retrieval.explain.occlusion import PictureMap, Piece, picture_map, sound_profile, word_drops
from retrieval.media import Loader, find_file
from retrieval.types import Item, LoadedPart, Modality, Space

__all__ = ["Explanation", "explain"]

Vectors = npt.NDArray[np.float32]

_SPEAKER: tuple[Modality, ...] = ("image", "audio", "text")


@dataclass(frozen=True)
class Explanation:
    """Why an item is a hit.

    Attributes:
        query: as it was given.
        item: the hit.
        part: its best part for this query, decoded.
        score: cosine of the query and that part, in [-1, 1].
        words: of the query, where it is a text: what hangs on each.
        picture: of a picture or frame: where in it.
        sound: of a sound: when in it.
        text: of a text: which of its words.
    """

    query: str
    item: Item
    part: LoadedPart
    score: float
    words: tuple[Piece, ...] = ()
    picture: PictureMap | None = None
    sound: tuple[Piece, ...] = ()
    text: tuple[Piece, ...] = ()

    def to_plain(self) -> dict[str, object]:
        """Write it as plain values for JSON."""
        plain: dict[str, object] = {
            "query": self.query,
            "id": self.item.id,
            "path": self.item.path,
            "modality": self.part.modality,
            "start_s": self.part.start_s,
            "end_s": self.part.end_s,
            "score": round(self.score, 6),
            "query_words": [_plain(piece) for piece in self.words],
        }
        if self.picture is not None:
            x, y = self.picture.peak
            plain["peak"] = {"x": round(x, 4), "y": round(y, 4)}
            plain["heat"] = [[round(float(v), 5) for v in row] for row in self.picture.heat]
        if self.sound:
            best = max(self.sound, key=lambda piece: piece.drop)
            plain["peak"] = {"start_s": best.start_s, "end_s": best.end_s}
            plain["sound"] = [_plain(piece) for piece in self.sound]
        if self.text:
            plain["text_words"] = [_plain(piece) for piece in self.text]
        return plain


def explain(
    engine: Engine,
    *,
    query: str | Path | int,
    hit: str | os.PathLike[str] | int,
    loader: Loader,
) -> Explanation:
    """Say why an item is a hit of a query.

    The item's file is decoded again; its best part is found, and pieces of it and words of the
    query are left out one by one.

    Args:
        engine: of the store.
        query: a text (str), a file (Path) or a stored item's id (int).
        hit: path or id of a stored item.
        loader: decodes as the engine's encoder wants.

    Returns:
        The explanation.

    Raises:
        NotFoundError: the hit is not in the store (`not_in_store`).
        UsageError: its file is gone (`path_missing`), or the query says nothing (`empty_query`).
        ModelError: the model has no space for this query and this item.
    """
    item = engine.item(hit)
    if item is None:
        raise NotFoundError(
            f"{hit} is not in the store; add it with: crossfind index add", code="not_in_store"
        )
    encoder = engine.encoder
    modality, payloads = _query_payloads(query, engine=engine, loader=loader)
    loaded = loader.load(find_file(_file_of(item)))
    parts = [part for part in loaded.parts if part.record == item.record]
    part, vector, space, score = _best_part(
        parts, modality=modality, payloads=payloads, encoder=encoder
    )
    text = str(payloads[0].payload) if modality == "text" and isinstance(query, str) else None
    own = encoder.encode([part.payload], modality=part.modality, space=space)[0]
    words = word_drops(text, other=own, encoder=encoder, space=space) if text is not None else []
    found = Explanation(
        query=f"#{query}" if isinstance(query, int) else str(query),
        item=item,
        part=part,
        score=score,
        words=tuple(words),
    )
    return _with_pieces(found, vector=vector, encoder=encoder, space=space)


def _with_pieces(
    found: Explanation, *, vector: Vectors, encoder: Encoder, space: Space
) -> Explanation:
    part = found.part
    if isinstance(part.payload, str):
        pieces = word_drops(part.payload, other=vector, encoder=encoder, space=space)
        return replace(found, text=tuple(pieces))
    if part.modality == "image":
        pixels = part.payload.astype(np.uint8)
        heat = picture_map(pixels, query=vector, encoder=encoder, space=space)
        return replace(found, picture=heat)
    profile = sound_profile(
        part.payload.astype(np.float32),
        sample_rate_hz=encoder.media.sample_rate_hz,
        start_s=part.start_s or 0.0,
        query=vector,
        encoder=encoder,
        space=space,
    )
    return replace(found, sound=tuple(profile))


def _query_payloads(
    query: str | Path | int, *, engine: Engine, loader: Loader
) -> tuple[Modality, list[LoadedPart]]:
    if isinstance(query, str):
        if not query.strip():
            raise UsageError("the query is empty; say what was looked for", code="empty_query")
        return "text", [LoadedPart("text", query)]
    record = 0
    if isinstance(query, int):
        item = engine.item(query)
        assert item is not None  # an unknown id raises
        path, record = _file_of(item), item.record
    else:
        path = query
    loaded = loader.load(find_file(path))
    parts = [p for p in loaded.parts if (not p.caption and p.record == record) or not record]
    modality = next(m for m in _SPEAKER if any(p.modality == m for p in parts))
    return modality, [p for p in parts if p.modality == modality]


def _best_part(
    parts: list[LoadedPart],
    *,
    modality: Modality,
    payloads: list[LoadedPart],
    encoder: Encoder,
) -> tuple[LoadedPart, Vectors, Space, float]:
    """Find the part nearest to the query, each modality in the space that serves the pair."""
    best: tuple[LoadedPart, Vectors, Space, float] | None = None
    for kind in dict.fromkeys(part.modality for part in parts):
        space = encoder.space_for(modality, kind)
        queries = encoder.encode([p.payload for p in payloads], modality=modality, space=space)
        mean = queries.mean(axis=0)
        norm = float(np.linalg.norm(mean))
        if norm < 1e-6:
            raise UsageError(
                f"the query says nothing the model {encoder.name} knows; use other words",
                code="empty_query",
            )
        vector = (mean / norm).astype(np.float32)
        own = [part for part in parts if part.modality == kind]
        scores = encoder.encode([p.payload for p in own], modality=kind, space=space) @ vector
        top = int(np.argmax(scores))
        if best is None or scores[top] > best[3]:
            best = (own[top], vector, space, float(scores[top]))
    assert best is not None  # a loaded file has a part
    return best


def _file_of(item: Item) -> Path:
    path = item.path
    return Path(path[: -len(f"#{item.record}")] if item.record else path)


def _plain(piece: Piece) -> dict[str, object]:
    plain: dict[str, object] = {"word": piece.label} if piece.label else {
        "start_s": piece.start_s, "end_s": piece.end_s,
    }  # fmt: skip
    return {**plain, "drop": round(piece.drop, 6), "share": piece.share}
