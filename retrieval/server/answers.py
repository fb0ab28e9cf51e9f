"""What answers look like: plain JSON that survives every file name, and errors without paths."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from retrieval.errors import CrossfindError
from retrieval.query.results import MAX_TEXT, hit_to_json
from retrieval.types import Hit, Item

__all__ = [
    "Json",
    "error_answer",
    "hit_answer",
    "item_answer",
    "scrubbed",
    "to_json",
    "without_paths",
]

_PATH = re.compile(r"(?:(?<=^)|(?<=[\s'\"(=]))~?/[^\s:;,'\"]+(?:/[^\s:;,'\"]*)*")
_RETRY_SECONDS = "1"


class Json(Response):
    """JSON in pure ASCII: a file name that is no Unicode passes as lone surrogates.

    Content that is bytes was written by `to_json` before.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # Any: as Starlette has it
        """Write the content."""
        return content if isinstance(content, bytes) else to_json(content)


def to_json(content: object) -> bytes:
    """Write what answers are made of.

    Example:
        >>> to_json({"name": "caf\u00e9"})
        b'{"name":"caf\\\\u00e9"}'
    """
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def item_answer(item: Item) -> dict[str, object]:
    """Write an item with the places where its bytes are served."""
    return {
        "id": item.id,
        "path": item.path,
        "name": _name(item.path),
        "modality": item.modality,
        "record": item.record,
        **_details(item),
        "flags": list(item.flags),
        "copies": list(item.copies),
        **_places(item.id, item.modality),
    }


def hit_answer(hit: Hit, *, item: Item | None) -> dict[str, object]:
    """Write a hit; with more of its item where that is given."""
    return {
        "text": None,
        **hit_to_json(hit),
        "name": _name(hit.path),
        **(_details(item) if item is not None else {}),
        **_places(hit.id, hit.modality),
    }


def without_paths(message: str) -> str:
    """Take what looks like a path out of a message.

    Example:
        >>> without_paths("/srv/store/a.jpg: the decoder gave up")
        '(path): the decoder gave up'
    """
    return _PATH.sub("(path)", message)


def scrubbed(message: str, names: Mapping[str, str]) -> str:
    """Replace paths on the server by what the client calls them, and hide all others."""
    for path, name in names.items():
        message = message.replace(path, name)
    return without_paths(message)


def error_answer(request: Request, error: CrossfindError, *, status: int | None = None) -> Json:
    """Write an error: what it is, never where on the server or how."""
    status = status or getattr(error, "status", None) or error.http_status
    message = without_paths(str(error))
    if status >= 500 and status not in (503, 507):
        message = "the server cannot answer this; its log says why"
    told = {
        "code": error.code,
        "message": message,
        "request_id": str(request.scope.get("request_id", "")),
    }
    headers = {"Retry-After": _RETRY_SECONDS} if status in (429, 503) else {}
    return Json(told, status_code=status, headers=headers)


def _details(item: Item) -> dict[str, object]:
    return {
        "format": item.format,
        "size_bytes": item.size_bytes,
        "width_px": item.width_px,
        "height_px": item.height_px,
        "duration_s": item.duration_s,
        "caption": item.caption[:MAX_TEXT] if item.caption else item.caption,
    }


def _places(item_id: int, modality: str) -> dict[str, object]:
    base = f"/v1/items/{item_id}"
    has_picture = modality in ("image", "video")
    return {"media": f"{base}/media", "thumbnail": f"{base}/thumbnail" if has_picture else None}


def _name(path: str) -> str:
    return os.path.basename(path)
