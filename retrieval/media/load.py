"""Turn one file into `Loaded`, in this process. `Loader` runs the same code in guarded children."""

from __future__ import annotations

import os
from dataclasses import replace

from retrieval.errors import BadMediaError
from retrieval.media.decoded import Decoded
from retrieval.media.kinds import sniff
from retrieval.media.scan import Found
from retrieval.media.source import ChangedError, Source, open_source, read_small
from retrieval.types import Loaded, LoadedPart, MediaSpec

MAX_PICTURE_BYTES = 512 << 20
"""Larger pictures are refused: the whole file has to fit into the child."""

_MAX_CAPTION_BYTES = 1 << 20


def load_file(found: Found, *, spec: MediaSpec) -> Loaded:
    """Read, hash, check and decode one file, with its caption.

    No guard: a decoder that crashes takes the process with it. Use `Loader` for files of others.

    Args:
        found: what `scan` said.
        spec: the form the encoder wants.

    Returns:
        The decoded file.

    Raises:
        BadMediaError: the file cannot be used; `code` says why, the message names the file.

    Example:
        >>> import tempfile, pathlib
        >>> from retrieval.media.scan import scan
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (pathlib.Path(folder) / "a.txt").write_text("a dog")
        ...     found = next(scan([pathlib.Path(folder)], on_skip=print))
        ...     load_file(found, spec=MediaSpec()).parts[0].payload
        'a dog'
    """
    try:
        return _load(found, spec=spec)
    except ChangedError:
        pass  # once more: most writers are quick
    except BadMediaError as error:
        raise named(found.path, error) from error
    try:
        return _load(found, spec=spec)
    except ChangedError as error:
        raise BadMediaError(
            f"{found.path}: it changed while it was read, twice; add it again when it is complete",
            code="changed_during_read",
        ) from error
    except BadMediaError as error:
        raise named(found.path, error) from error


def named(path: str, error: BadMediaError) -> BadMediaError:
    """Put the file's path in front of a decoder's message."""
    return BadMediaError(f"{path}: {error}", code=error.code)


def _load(found: Found, *, spec: MediaSpec) -> Loaded:
    if found.row:
        from retrieval.media.load_row import load_row

        return load_row(found, spec=spec, load=lambda path: _load(_plain(path), spec=spec))
    with open_source(found.path) as source:
        decoded = _decode(source, suffix=os.path.splitext(found.path)[1].lower(), spec=spec)
        flags = set(decoded.flags) | ({"sampled_hash"} if source.is_sampled else set())
    loaded = Loaded(
        modality=decoded.modality,
        format=decoded.format,
        content_hash=source.content_hash,
        size_bytes=source.stamp.st_size,
        mtime_ns=source.stamp.st_mtime_ns,
        inode=source.stamp.st_ino,
        parts=decoded.parts,
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        duration_s=decoded.duration_s,
        flags=tuple(sorted(flags)),
        details=decoded.details,
    )
    if found.caption_path is None or decoded.modality == "text":
        return loaded
    return _with_caption(loaded, found.caption_path, spec=spec)


def _plain(path: str) -> Found:
    """Name a file of a row; what it is, its own bytes say."""
    return Found(path, size_bytes=0, mtime_ns=0, inode=0, device=0)


def _decode(source: Source, *, suffix: str, spec: MediaSpec) -> Decoded:
    """Pick the decoder by the bytes; each is imported when its first file comes."""
    modality, format = sniff(source.head, suffix=suffix)
    if modality == "image":
        from retrieval.media.image import load_image

        return load_image(_all_bytes(source), format=format, spec=spec)
    if modality == "text":
        from retrieval.media.text import MAX_TEXT_BYTES, load_text

        data = source.data
        if data is None:
            source.file.seek(0)
            data = source.file.read(MAX_TEXT_BYTES + 1)
        return load_text(data, format=format, spec=spec)
    source.file.seek(0)
    if modality == "audio":
        from retrieval.media.audio import load_audio

        return load_audio(source.file, format=format, spec=spec)
    from retrieval.media.video import load_video

    return load_video(source.file, format=format, spec=spec)


def _all_bytes(source: Source) -> bytes:
    if source.data is not None:
        return source.data
    source.file.seek(0)
    if source.stamp.st_size > MAX_PICTURE_BYTES:
        raise BadMediaError(
            f"the picture has {source.stamp.st_size:,} bytes; the limit is {MAX_PICTURE_BYTES:,}; "
            "scale it down",
            code="too_many_bytes",
        )
    return source.file.read(MAX_PICTURE_BYTES)


def _with_caption(loaded: Loaded, path: str, *, spec: MediaSpec) -> Loaded:
    from retrieval.media.text import load_caption

    parts: tuple[LoadedPart, ...]
    try:
        caption = load_caption(read_small(path, limit_bytes=_MAX_CAPTION_BYTES), spec=spec)
    except BadMediaError:
        # The picture is good; that its caption is not is worth a word, not its place.
        return replace(loaded, flags=tuple(sorted({*loaded.flags, "bad_caption"})))
    if caption is None:
        return loaded
    text, parts = caption
    return replace(loaded, caption=text, parts=loaded.parts + parts)
