"""Hits in the form programs read; the same for the command line and HTTP."""

from __future__ import annotations

from collections.abc import Iterable

from retrieval.types import Hit

Scalar = str | int | float | bool
Row = dict[str, Scalar | list[str] | dict[str, Scalar] | None]


SAME = 0.999
"""The least cosine of two files of the same thing: turned by EXIF, saved again with little loss."""

MAX_TEXT = 4000
"""Characters of a text that are told of a hit."""


def hit_to_json(hit: Hit) -> Row:
    """Write a hit as plain values; `text`, `columns` and `copies` are there only where a hit has
    them, and `cosine`, `z`, `confidence` only where the store is large enough to know them.

    Example:
        >>> hit_to_json(Hit(rank=1, id=7, path="/a.jpg", modality="image", score=0.5))["id"]
        7
    """
    row: Row = {
        "rank": hit.rank,
        "id": hit.id,
        "path": hit.path,
        "modality": hit.modality,
        "score": hit.score,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "by": hit.by,
    }
    if hit.text:
        row["text"] = hit.text[:MAX_TEXT]
    if hit.confidence is not None:
        row |= {"cosine": hit.cosine, "z": hit.z, "confidence": hit.confidence}
    if hit.columns:
        row["columns"] = dict(hit.columns)
    if hit.copies:
        row["copies"] = list(hit.copies)
    return row


def hits_to_json(hits: Iterable[Hit]) -> list[Row]:
    """Write hits as plain values, in their order."""
    return [hit_to_json(hit) for hit in hits]
