"""The page and its parts: files that were there when the server started, and no others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from retrieval.server.limits import RequestError
from retrieval.server.state import State

__all__ = ["WEB_FOLDER", "Page", "read_pages", "router"]

router = APIRouter(include_in_schema=False)

WEB_FOLDER = Path(__file__).with_name("web")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A file of the page: its bytes, type and version."""

    data: bytes
    kind: str
    etag: str


def read_pages(folder: Path) -> dict[str, Page]:
    """Read the files of the page, by name.

    Example:
        >>> sorted(read_pages(Path("/nonexistent")))
        []
    """
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: _page(path) for path in paths if path.suffix in _TYPES and path.is_file()}


def _page(path: Path) -> Page:
    data = path.read_bytes()
    return Page(data, _TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')


@router.get("/")
async def front(request: Request) -> Response:
    """Serve the page."""
    return _serve(request, "index.html")


@router.get("/web/{name}")
async def part(request: Request, name: str) -> Response:
    """Serve a part of the page."""
    return _serve(request, name)


def _serve(request: Request, name: str) -> Response:
    state: State = request.app.state.shared
    known: dict[str, Page] = request.app.state.pages
    if state.options.web is not None:  # whoever works on the page sees every change at once
        known = read_pages(state.options.web)
    page = known.get(name)
    if page is None:
        raise RequestError("there is no such page", code="not_found", status=404)
    headers = {**_HEADERS, "etag": page.etag}
    if request.headers.get("if-none-match") == page.etag:
        return Response(status_code=304, headers=headers)
    return Response(page.data, media_type=page.kind, headers=headers)
