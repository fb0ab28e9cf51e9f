"""How parent and child talk: a length, a JSON header, then the raw bytes of the payloads.

Pixels that fit go through shared memory instead: a pipe costs a third of a millisecond a picture.
No pickle: the child reads hostile files, so what it says is checked here before it is believed.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt

from retrieval.errors import BadMediaError
from retrieval.media.scan import Found
from retrieval.types import MODALITIES, Details, Loaded, LoadedPart, MediaSpec

MAX_HEADER_BYTES = 64 << 20
MAX_PAYLOAD_BYTES = 1 << 30
MAX_TAGS = 200
SHARED_BYTES = 1 << 20
"""Size of the memory that parent and child share."""

_LENGTH = struct.Struct(">4sI")
_MAGIC = b"CFW1"

Samples = npt.NDArray[np.float32]
ReadInto = Callable[[memoryview], None]
"""Fills the whole view or raises."""


class WireError(Exception):
    """The other side said something that cannot be true."""


def pack_header(header: dict[str, object]) -> bytes:
    """Encode a header with its length in front; any file name survives it."""
    body = json.dumps(header, allow_nan=False).encode("ascii")
    return _LENGTH.pack(_MAGIC, len(body)) + body


def read_header(read_into: ReadInto) -> dict[str, object]:
    """Read one header.

    Raises:
        WireError: wrong magic, absurd length, or no JSON object.
    """
    front = bytearray(_LENGTH.size)
    read_into(memoryview(front))
    magic, length = _LENGTH.unpack(front)
    if magic != _MAGIC or length > MAX_HEADER_BYTES:
        raise WireError(f"header of {length} bytes")
    body = bytearray(length)
    read_into(memoryview(body))
    try:
        header = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError("header is no JSON") from error
    if not isinstance(header, dict):
        raise WireError("header is no object")
    return header


def pack_job(found: Found, *, listens: bool = True) -> bytes:
    """Encode a job for the child; without `listens` nothing that is said is written down."""
    return pack_header({"found": asdict(found), "listens": listens})


def unpack_job(header: dict[str, object]) -> tuple[Found, bool]:
    """Decode a job in the child; it comes from the parent and is trusted."""
    found = Found(**header["found"])  # type: ignore[arg-type]
    return replace(found, row_paths=tuple(found.row_paths)), header["listens"] is True


def pack_loaded(loaded: Loaded, *, shared: mmap.mmap | None = None) -> list[bytes | memoryview]:
    """Encode a decoded file as buffers to be written one after the other.

    Pictures are sent one by one; sounds once, however much their windows overlap; texts as one
    UTF-8 buffer. A part is [modality, first, length, start_s, end_s, record, caption], with first
    and length counted in pictures, samples or bytes.
    """
    images: list[memoryview] = []
    texts: list[bytes] = []
    n_text_bytes = 0
    sound = sound_under([p.payload for p in loaded.parts if p.modality == "audio"])
    parts: list[list[object]] = []
    for part in loaded.parts:
        if isinstance(part.payload, str):
            text = part.payload.encode("utf-8", "replace")
            place = (n_text_bytes, len(text))
            texts.append(text)
            n_text_bytes += len(text)
        elif part.modality == "image":
            place = (len(images), 1)
            images.append(np.ascontiguousarray(part.payload).data.cast("B"))
        else:
            place = ((address(part.payload) - address(sound)) // 4, len(part.payload))
        parts.append([part.modality, *place, part.start_s, part.end_s, part.record, part.caption])
    header = {name: getattr(loaded, name) for name in _FIELDS}
    header["details"] = asdict(loaded.details)
    header |= {"parts": parts, "sizes": [len(images), len(sound), n_text_bytes]}
    header["shared"] = shared is not None and sum(map(len, images)) <= len(shared)
    buffers: list[bytes | memoryview] = [pack_header({"loaded": header})]
    if shared is not None and header["shared"]:
        shared.seek(0)
        for image in images:
            shared.write(image)
    else:
        buffers += images
    if len(sound):
        buffers.append(sound.data.cast("B"))
    if texts:
        buffers.append(b"".join(texts))
    return buffers


def read_reply(read_into: ReadInto, *, spec: MediaSpec, shared: mmap.mmap | None = None) -> Loaded:
    """Read what became of a job.

    Args:
        read_into: fills a buffer from the child.
        spec: what the child was asked to produce.
        shared: the memory shared with it, if any.

    Returns:
        The decoded file; pixel and sample arrays own their memory and are writable.

    Raises:
        BadMediaError: the child refused the file.
        WireError: the reply is impossible.
    """
    header = read_header(read_into)
    try:
        if "bad" in header:
            code, reason = map(_text, header["bad"])  # type: ignore[call-overload]
            raise BadMediaError(reason, code=code)
        return _read_loaded(header["loaded"], read_into, spec=spec, shared=shared)  # type: ignore[arg-type]
    except (TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        raise WireError(f"malformed reply: {error}") from error


_FIELDS = (
    "modality", "format", "content_hash", "size_bytes", "mtime_ns", "inode", "width_px",
    "height_px", "duration_s", "caption", "flags",
)  # fmt: skip


def _read_loaded(
    header: dict[str, object],
    read_into: ReadInto,
    *,
    spec: MediaSpec,
    shared: mmap.mmap | None,
) -> Loaded:
    n_images, n_samples, n_text_bytes = (_count(n) for n in header["sizes"])  # type: ignore[attr-defined]
    side = spec.image_size_px
    if n_images * side * side * 3 + n_samples * 4 + n_text_bytes > MAX_PAYLOAD_BYTES:
        raise WireError("payload too large")
    images = np.empty((n_images, side, side, 3), dtype=np.uint8)
    samples = np.empty(n_samples, dtype=np.float32)
    text = bytearray(n_text_bytes)
    text_view = memoryview(text)
    if header["shared"]:
        # Copied before it is looked at: the child could still write there.
        images.reshape(-1)[:] = np.frombuffer(shared or b"", np.uint8, count=images.size)
    for view in (memoryview(b"") if header["shared"] else images.data, samples.data, text_view):
        if view.nbytes:
            read_into(view.cast("B"))
    parts = tuple(_part(row, images, samples, text, spec=spec) for row in header["parts"])  # type: ignore[attr-defined]
    fields = {name: header[name] for name in _FIELDS}
    _check_fields(fields, parts)
    details = _details(header["details"])
    return Loaded(**fields, parts=parts, details=details)  # type: ignore[arg-type]


def _part(
    row: list[object],
    images: npt.NDArray[np.uint8],
    samples: Samples,
    text: bytearray,
    *,
    spec: MediaSpec,
) -> LoadedPart:
    modality, first, length, start_s, end_s, record, caption = row
    first, length = _count(first), _count(length)
    payload: npt.NDArray[np.uint8] | Samples | str
    if modality == "image":
        payload = images[first]
    elif modality == "audio":
        longest = math.ceil(spec.window_s * spec.sample_rate_hz) + 1
        payload = samples[first : first + length]
        if not 0 < length <= longest or len(payload) != length or not np.isfinite(payload).all():
            raise ValueError("audio window")
    elif modality == "text":
        if first + length > len(text):
            raise ValueError("text range")
        payload = text[first : first + length].decode("utf-8")
    else:
        raise ValueError("modality of a part")
    return LoadedPart(
        modality,
        payload,
        _time(start_s),
        _time(end_s),
        record=_count(record),
        caption=caption is True,
    )


def _time(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise ValueError("not a time")
    return float(value)


def _check_fields(fields: dict[str, object], parts: tuple[LoadedPart, ...]) -> None:
    fields["flags"] = tuple(_text(flag) for flag in fields["flags"])  # type: ignore[attr-defined]
    good = (
        fields["modality"] in MODALITIES
        and len(_text(fields["content_hash"])) == 64
        and bool(parts)
        and isinstance(fields["mtime_ns"], int)  # before 1970 it is negative
        and all(_count(fields[name]) >= 0 for name in ("size_bytes", "inode"))
        and all(fields[n] is None or _count(fields[n]) for n in ("width_px", "height_px"))
        and isinstance(fields["caption"], str | None)
        and isinstance(fields["duration_s"], float | int | None)
    )
    if not good:
        raise ValueError("fields")
    _text(fields["format"])


def _details(value: object) -> Details:
    if not isinstance(value, dict):
        raise TypeError("details")
    taken_ns, camera = value["taken_ns"], value["camera"]
    if not isinstance(taken_ns, int | None) or abs(taken_ns or 0) >= 1 << 63:
        raise ValueError("not a time")
    tags = value["tags"]
    if not isinstance(tags, list) or len(tags) > MAX_TAGS:
        raise ValueError("tags")
    return Details(
        taken_ns=taken_ns,
        lat=_time(value["lat"]),
        lon=_time(value["lon"]),
        camera=_maybe_text(camera),
        tags=tuple(_text(tag) for tag in tags),
        sample_rate_hz=_small(value["sample_rate_hz"]),
        n_channels=_small(value["n_channels"]),
        fps=_time(value["fps"]),
        **{name: _maybe_text(value[name]) for name in ("codec", "title", "artist", "album")},
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise ValueError(f"not a count: {value!r:.40}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 20_000:
        raise ValueError("not a short text")
    return value


def _small(value: object) -> int | None:
    return None if value is None else min(_count(value), (1 << 31) - 1)


def _maybe_text(value: object) -> str | None:
    return None if value is None else _text(value)


def sound_under(windows: list[object]) -> Samples:
    """Find the one array whose views the windows are; of no windows, an empty one."""
    if not windows:
        return np.empty(0, dtype=np.float32)
    first = windows[0]
    if not isinstance(first, np.ndarray):
        raise TypeError("an audio payload is an array")
    return first.base if isinstance(first.base, np.ndarray) else first


def address(array: object) -> int:
    """Tell where the first sample of a window lies."""
    if not isinstance(array, np.ndarray):
        raise TypeError("an audio payload is an array")
    return int(array.__array_interface__["data"][0])
