"""GET /v1/items/{id}/media, /thumbnail and /moment: bytes of stored items, and of nothing else."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from index.storage import publish
from retrieval.around.clip import cut_clip
from retrieval.catalog.records import FileRecord
from retrieval.errors import BadMediaError, StorageError, UsageError
from retrieval.media import find_file
from retrieval.server.items import ItemId
from retrieval.server.limits import RequestError
from retrieval.server.state import THUMBNAIL_PX, State, StoredItem
from retrieval.types import Item, row_of

router = APIRouter(tags=["media"])

_TYPES = {
    "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif",
    "bmp": "image/bmp", "avif": "image/avif", "wav": "audio/wav", "flac": "audio/flac",
    "ogg": "audio/ogg", "opus": "audio/ogg", "mp3": "audio/mpeg", "m4a": "audio/mp4",
    "aac": "audio/aac", "mp4": "video/mp4", "mov": "video/mp4", "webm": "video/webm",
    "ogv": "video/ogg", "txt": "text/plain; charset=utf-8", "md": "text/plain; charset=utf-8",
    "csv": "text/plain; charset=utf-8", "jsonl": "text/plain; charset=utf-8",
}  # fmt: skip
"""What a browser may show; all else is offered for saving."""

_CHUNK_BYTES = 256 << 10
_HASH_LIMIT_BYTES = 64 << 20
_MAX_MOMENT_S = 60.0
_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

Seconds = Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]


@router.get(
    "/v1/items/{item_id}/media",
    summary="The item's own bytes, whole or one range.",
    response_class=Response,
)
async def get_media(request: Request, item_id: ItemId) -> Response:
    """Serve a file that is still what was added."""
    state: State = request.app.state.shared
    found = await state.looks.run(lambda: state.stored(item_id))
    file, size = await state.looks.run(lambda: open_media(found))
    try:
        first, last = _range(request.headers.get("range"), size)
    except RequestError:
        file.close()
        raise
    partial = (first, last) != (0, size - 1)
    headers = {
        "accept-ranges": "bytes",
        "content-length": str(last - first + 1),
        "content-security-policy": _POLICY,
        "cache-control": "private, no-cache",
        "etag": f'"{found.files[0].content_hash or ""}"',
        "content-disposition": _disposition(found.item),
    }
    if partial:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    return StreamingResponse(
        _chunks(file, first, last),
        status_code=206 if partial else 200,
        headers=headers,
        media_type=_TYPES.get(found.item.format, "application/octet-stream"),
    )


@router.get(
    "/v1/items/{item_id}/thumbnail",
    summary="A small JPEG of a picture or a video's first frame.",
    response_class=Response,
)
async def get_thumbnail(request: Request, item_id: ItemId) -> Response:
    """Serve a thumbnail; made once for each content, by a guarded decoder."""
    state: State = request.app.state.shared
    found = await state.looks.run(lambda: state.stored(item_id))
    if found.item.modality not in ("image", "video"):
        raise RequestError(
            f"item {item_id} is {found.item.modality}; it has no picture",
            code="no_thumbnail", status=404,
        )  # fmt: skip
    jpeg = await state.looks.run(lambda: _thumbnail(found, state), receive=request.receive)
    headers = {"cache-control": "private, max-age=86400", "content-security-policy": _POLICY}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.get(
    "/v1/items/{item_id}/moment",
    summary="A stretch of a sound (MP3) or video (MP4), cut out.",
    response_class=Response,
)
async def get_moment(
    request: Request, item_id: ItemId, start_s: Seconds, end_s: Seconds
) -> Response:
    """Cut a moment out."""
    state: State = request.app.state.shared
    if not start_s < end_s <= start_s + _MAX_MOMENT_S:
        raise RequestError(
            f"a moment from {start_s:g} to {end_s:g} s is not possible; its end must come after "
            f"its start, at most {_MAX_MOMENT_S:.0f} s",
            code="bad_times", status=422,
        )  # fmt: skip
    found = await state.looks.run(lambda: state.stored(item_id))
    if found.item.modality not in ("audio", "video"):
        raise RequestError(
            f"item {item_id} is {found.item.modality}; it has no times",
            code="no_moments", status=422,
        )  # fmt: skip
    suffix, kind = (
        (".mp4", "video/mp4") if found.item.modality == "video" else (".mp3", "audio/mpeg")
    )
    data = await state.slow.run(
        lambda: _cut(found, start_s, end_s, suffix=suffix), receive=request.receive
    )
    return Response(data, media_type=kind, headers={"content-security-policy": _POLICY})


def open_media(found: StoredItem) -> tuple[io.BufferedReader, int]:
    """Open the file of an item, if it is the one that was added.

    A link is never followed, and contents that differ from those on record are never served, so
    whatever became of the path, no byte comes from anywhere else.

    Returns:
        The open file and its size in bytes.

    Raises:
        RequestError: `gone` (410), or `changed` (409).
    """
    trouble: RequestError | None = None
    for record in found.files:
        try:
            return _open(record)
        except RequestError as error:
            trouble = trouble or error
    raise trouble or RequestError("no file of the item is left", code="gone", status=410)


def _open(record: FileRecord) -> tuple[io.BufferedReader, int]:
    lead = _lead_of_row(record)
    file, stamp = _open_regular(lead or record.path)
    if lead is not None:
        return file, stamp.st_size
    try:
        if (stamp.st_size, stamp.st_mtime_ns) != (record.size_bytes, record.mtime_ns):
            raise _changed("its file was written to")
        if not _KNOWN.is_same(file, stamp, record):
            raise _changed("its file holds something else")
    except RequestError:
        file.close()
        raise
    return file, stamp.st_size


def _open_regular(path: str) -> tuple[io.BufferedReader, os.stat_result]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if os.path.islink(path):
            raise _changed("it has become a link") from error
        raise RequestError("its file is gone", code="gone", status=410) from error
    file = os.fdopen(descriptor, "rb")
    stamp = os.fstat(descriptor)
    if not stat.S_ISREG(stamp.st_mode):
        file.close()
        raise _changed("it is no regular file")
    return file, stamp


def _lead_of_row(record: FileRecord) -> str | None:
    """Name the first file of a row of a table that names media; None for every other file.

    The row's stamp is made of its text and of its files' names, sizes and times.
    """
    if not row_of(record.path)[1] or os.path.lexists(record.path):
        return None
    try:
        row = find_file(Path(record.path))
    except (UsageError, BadMediaError) as error:
        raise RequestError("its row is gone", code="gone", status=410) from error
    if row.row != record.caption_stamp.partition("+")[0]:
        raise _changed("its row, or a file of it, was written to")
    return next((path for path in row.row_paths if os.path.isfile(path)), None)


class _Known:
    """Remembers which files have been read and found to be what the catalog says."""

    def __init__(self) -> None:
        self._stamps: OrderedDict[tuple[int, int, int, int, int], str] = OrderedDict()
        self._guard = threading.Lock()

    def is_same(self, file: io.BufferedReader, stamp: os.stat_result, record: FileRecord) -> bool:
        if stamp.st_size > _HASH_LIMIT_BYTES:  # seconds of reading; its stamp has to do
            return True
        key = (stamp.st_dev, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns)
        with self._guard:
            digest = self._stamps.get(key)
        if digest is None:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            with self._guard:
                self._stamps[key] = digest
                while len(self._stamps) > 10_000:
                    self._stamps.popitem(last=False)
        return digest == record.content_hash


_KNOWN = _Known()


def _changed(why: str) -> RequestError:
    return RequestError(
        f"{why} since it was added; run 'crossfind index add' on it again",
        code="changed",
        status=409,
    )


def _chunks(file: io.BufferedReader, first: int, last: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        left = last - first + 1
        while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Read a Range header: first and last byte. One range or none."""
    if header is None or not size:
        return 0, size - 1
    unit, _, wanted = header[:200].partition("=")
    first, dash, last = wanted.partition("-")
    digits = all(part == "" or (part.isdecimal() and len(part) < 19) for part in (first, last))
    if unit.strip() != "bytes" or not dash or not digits or len(header) > 64 or not (first or last):
        raise _bad_range(size)
    if not first:
        low, high = max(0, size - int(last)), size - 1
    else:
        low, high = int(first), min(int(last), size - 1) if last else size - 1
    if low > high:
        raise _bad_range(size)
    return low, high


def _bad_range(size: int) -> RequestError:
    return RequestError(
        f"give one range of bytes below {size}, such as bytes=0-1023", code="bad_range", status=416
    )


def _disposition(item: Item) -> str:
    """Name the file for saving; shown in place where a browser may show it."""
    kind = "inline" if item.format in _TYPES else "attachment"
    name = os.path.basename(item.path).encode("utf-8", "replace")
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}"


def _thumbnail(found: StoredItem, state: State) -> bytes:
    digest = found.files[0].content_hash if found.files else None
    folder = state.engine.store.derived / "thumbs"
    cached = folder / f"{digest}-{THUMBNAIL_PX}.jpg"
    try:
        return cached.read_bytes()
    except OSError:  # none yet, or none to be had
        pass
    file, _ = open_media(found)
    file.close()
    with state.metrics.step("thumbnail"):
        loaded = state.thumbnails.load(find_file(Path(found.files[0].path)))
        frame = next((part.payload for part in loaded.parts if part.modality == "image"), None)
        if not isinstance(frame, np.ndarray):
            raise RequestError("it has no picture", code="no_thumbnail", status=404)
        jpeg = _jpeg(frame.astype(np.uint8), loaded.width_px, loaded.height_px)
    try:
        folder.mkdir(exist_ok=True)
        publish(cached, tmp=folder, write=lambda sink: _write(sink, jpeg))
    except (OSError, StorageError):  # a full or read-only disk costs the cache, not the picture
        pass
    return jpeg


def _write(sink: BinaryIO, data: bytes) -> None:
    sink.write(data)


def _jpeg(square: npt.NDArray[np.uint8], width_px: int | None, height_px: int | None) -> bytes:
    """Give a squashed picture its own shape again."""
    from PIL import Image

    width, height = width_px or THUMBNAIL_PX, height_px or THUMBNAIL_PX
    scale = min(1.0, THUMBNAIL_PX / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    file = io.BytesIO()
    Image.fromarray(square).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=82)
    return file.getvalue()


def _cut(found: StoredItem, start_s: float, end_s: float, *, suffix: str) -> bytes:
    file, _ = open_media(found)
    file.close()
    with tempfile.TemporaryDirectory(prefix="crossfind-") as folder:
        out = Path(folder, f"moment{suffix}")
        try:
            cut_clip(
                Path(found.files[0].path), start_s=start_s, end_s=end_s, out=out, timeout_s=60.0
            )
        except UsageError as error:
            raise RequestError("its file is gone", code="gone", status=410) from error
        return out.read_bytes()
