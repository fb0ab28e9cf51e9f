"""What a decoder hands back: the parts of a file, before its stamp is added."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.types import NOTHING, Details, LoadedPart, Modality


@dataclass(frozen=True, slots=True)
class Decoded:
    """The inside of a file.

    Attributes:
        modality, format: what it turned out to be.
        parts: in order of record and time. The payloads of audio parts are windows (views) of
            one array, so that overlapping windows cost nothing.
        width_px, height_px, duration_s: None where they have no meaning.
        flags: what the user should know, e.g. `silent`.
        details: what the file says of itself.
    """

    modality: Modality
    format: str
    parts: tuple[LoadedPart, ...]
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None
    flags: tuple[str, ...] = ()
    details: Details = NOTHING
