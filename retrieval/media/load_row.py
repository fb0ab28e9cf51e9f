"""One item of several files: what each file of a table's row has, put together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from retrieval.errors import BadMediaError
from retrieval.media.scan import Found
from retrieval.media.text import chunks, has_words
from retrieval.media.wire import Samples, address, sound_under
from retrieval.types import NOTHING, ROW_FLAG, Loaded, LoadedPart, MediaSpec

_MISSING_FLAG = "missing_part"


def load_row(found: Found, *, spec: MediaSpec, load: Callable[[str], Loaded]) -> Loaded:
    """Put the files of a row and its text together.

    The first file that can be used leads: the item has its modality and format. A file that is
    gone or bad costs the row that part (flag `missing_part`), and no other.

    Args:
        found: a row, as `rows.with_rows` makes it.
        spec: the form the encoder wants.
        load: decodes one file.

    Returns:
        One item with the parts of all files, and of the text as a caption.

    Raises:
        BadMediaError: nothing of it can be used; the code is that of its first file.
    """
    pieces: list[Loaded] = []
    troubles: list[BadMediaError] = []
    for path in found.row_paths:
        try:
            pieces.append(load(path))
        except BadMediaError as error:
            troubles.append(BadMediaError(f"{path}: {error}", code=error.code))
    text = found.row_text if has_words(found.row_text) else ""
    if not pieces and not text:
        raise troubles[0] if troubles else BadMediaError("the row is empty", code="empty_text")
    said = tuple(LoadedPart("text", c, caption=bool(pieces)) for c in chunks(text, spec=spec))
    return Loaded(
        modality=pieces[0].modality if pieces else "text",
        format=pieces[0].format if pieces else "row",
        content_hash=_digest(pieces, text),
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        inode=0,
        parts=(*_together(pieces), *said),
        width_px=next((p.width_px for p in pieces if p.width_px), None),
        height_px=next((p.height_px for p in pieces if p.height_px), None),
        duration_s=next((p.duration_s for p in pieces if p.duration_s), None),
        caption=text if pieces and text else None,
        flags=_flags(pieces, troubles),
        details=next((p.details for p in pieces if p.details != NOTHING), NOTHING),
    )


def _digest(pieces: Sequence[Loaded], text: str) -> str:
    """Name the content of a row: that of its files, and its text."""
    said = repr(([piece.content_hash for piece in pieces], text))
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()


def _flags(pieces: Sequence[Loaded], troubles: Sequence[BadMediaError]) -> tuple[str, ...]:
    flags = {flag for piece in pieces for flag in piece.flags}
    return tuple(sorted(flags | {ROW_FLAG} | ({_MISSING_FLAG} if troubles else set())))


def _together(pieces: Sequence[Loaded]) -> list[LoadedPart]:
    """List the parts of all files; their sounds become views of one array, which is sent once."""
    heard = [[p for p in piece.parts if p.modality == "audio"] for piece in pieces]
    if sum(map(bool, heard)) < 2:
        return [part for piece in pieces for part in piece.parts]
    sounds = [sound_under([part.payload for part in parts]) for parts in heard]
    joined = np.concatenate(sounds)
    ends = np.cumsum([len(sound) for sound in sounds])
    firsts = [end - len(sound) for sound, end in zip(sounds, ends.tolist(), strict=True)]
    return [
        _moved(part, sound, joined[first:]) if part.modality == "audio" else part
        for piece, sound, first in zip(pieces, sounds, firsts, strict=True)
        for part in piece.parts
    ]


def _moved(part: LoadedPart, sound: Samples, joined: Samples) -> LoadedPart:
    """Give a window of a sound as a view of the joined sounds, from that sound on."""
    first = (address(part.payload) - address(sound)) // 4
    return replace(part, payload=joined[first : first + len(part.payload)])
