"""Write a contact sheet: one HTML file that shows searches beside what they found.

The page is self-contained: no script, no request to anywhere, and a content security policy that
says so. Media is not decoded here: small files are put in as they are, large ones are linked.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from retrieval.demo.style import STYLE
from retrieval.errors import StorageError
from retrieval.types import Hit, Modality

__all__ = ["SheetSearch", "write_sheet"]

EMBED_MAX_BYTES = 100_000
SNIPPET_CHARACTERS = 180
MIME = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
}
PLURALS = {"image": "pictures", "audio": "sounds", "text": "texts", "video": "videos"}
FINDERS = {
    "image": "a picture finds",
    "audio": "a sound finds",
    "text": "a text finds",
    "video": "a video finds",
}
FOOTER = "Scores are cosines: compare them within one search. This page works without a network."
POLICY = "default-src 'none'; img-src data: file:; media-src data: file:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class SheetSearch:
    """One search on the sheet.

    Attributes:
        query: the text, or the absolute path of the query file.
        kind: how to read `query`.
        query_modality: modality of the query.
        modality: which items were looked for; None for any.
        hits: best first.
        expected: absolute real paths of the items that ought to be found; they get a mark.
        passed: whether the search found what it should; None where nothing was expected.
    """

    query: str
    kind: Literal["text", "file"]
    query_modality: Modality
    modality: Modality | None
    hits: tuple[Hit, ...]
    expected: frozenset[str] = frozenset()
    passed: bool | None = None


def write_sheet(
    path: str | os.PathLike[str],
    *,
    searches: Sequence[SheetSearch],
    title: str = "crossfind",
    summary: str = "",
) -> Path:
    """Write searches and their hits as one HTML page.

    Args:
        path: where the page goes; an existing file is replaced.
        searches: in the order of the page.
        title: heading of the page.
        summary: a sentence below it.

    Returns:
        The absolute path of the page.

    Raises:
        StorageError: the page cannot be written there.

    Example:
        >>> import tempfile
        >>> search = SheetSearch("a <red> car", "text", "text", "image", hits=())
        >>> page = write_sheet(Path(tempfile.mkdtemp()) / "sheet.html", searches=[search])
        >>> "a &lt;red&gt; car" in page.read_text(encoding="utf-8")
        True
    """
    target = Path(path).absolute()
    page = _page(searches, title=title, summary=summary)
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        # Names that are not UTF-8 travel as lone surrogates; a page can only show that they do.
        beside.write_bytes(page.encode("utf-8", errors="replace"))
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {target}: {reason}; name another file") from error
    return target


def _page(searches: Sequence[SheetSearch], *, title: str, summary: str) -> str:
    body = "\n".join(_section(search) for search in searches)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p>{escape(summary)}</p></header>
<main>
{body}
</main>
<footer>{FOOTER}</footer>
</body>
</html>
"""


def _section(search: SheetSearch) -> str:
    hits = "".join(_hit(hit, search=search) for hit in search.hits)
    kind = search.modality or "any"
    found = (
        f'<ol class="hits {kind}s">{hits}</ol>' if hits else '<p class="none">Nothing found.</p>'
    )
    return (
        f'<section><div class="query"><p class="way">{_way(search)}</p>'
        f"{_query(search)}{_verdict(search)}</div>{found}</section>"
    )


def _way(search: SheetSearch) -> str:
    wanted = PLURALS[search.modality] if search.modality else "anything"
    finder = "words find" if search.kind == "text" else FINDERS[search.query_modality]
    return f"{finder} {wanted}"


def _verdict(search: SheetSearch) -> str:
    if search.passed is None:
        return ""
    if search.passed:
        return '<p class="verdict good">found</p>'
    return '<p class="verdict bad">not in the top three</p>'


def _query(search: SheetSearch) -> str:
    if search.kind == "text":
        return f'<p class="words">{escape(search.query)}</p>'
    media = _media(search.query, modality=search.query_modality, text=None)
    return f'<div class="tile">{media}</div><p class="name">{_name(search.query)}</p>'


def _hit(hit: Hit, *, search: SheetSearch) -> str:
    expected = any(os.path.realpath(path) in search.expected for path in (hit.path, *hit.copies))
    mark = ' <span class="mark" title="expected">&#10003;</span>' if expected else ""
    return (
        f'<li class="{hit.modality}{" expected" if expected else ""}">'
        f'<div class="tile">{_media(hit.path, modality=hit.modality, text=hit.text)}</div>'
        f'<p class="name" title="{escape(hit.path)}">{_name(hit.path)}</p>'
        f'<p class="score">{hit.score:.3f}{_times(hit)}{mark}</p></li>'
    )


def _times(hit: Hit) -> str:
    if hit.start_s is None or hit.end_s is None or hit.start_s == 0:
        return ""
    return f" at {hit.start_s:.0f}&ndash;{hit.end_s:.0f} s"


def _name(path: str) -> str:
    # A break may come behind each underscore and before the suffix: long names fit narrow tiles.
    stem, suffix = os.path.splitext(os.path.basename(path))
    return escape(stem).replace("_", "_<wbr>") + "<wbr>" * bool(suffix) + escape(suffix)


def _media(path: str, *, modality: Modality, text: str | None) -> str:
    if modality == "text":
        return f"<blockquote>{escape(_snippet(text or _read_text(path)))}</blockquote>"
    source = _source(path)
    if modality == "image" and source:
        return f'<img src="{source}" alt="{escape(os.path.basename(path))}">'
    if modality == "audio" and source:
        return f'{_SOUND_SIGN}<audio controls preload="metadata" src="{source}"></audio>'
    return f'<span class="plain">{escape(modality)}</span>'


def _source(path: str) -> str:
    """Return a data URI for a small file, a file URI for a large one, "" for no known medium."""
    mime = MIME.get(os.path.splitext(path)[1].lower())
    if mime is None:
        return ""
    try:
        if os.path.getsize(path) > EMBED_MAX_BYTES:
            return escape(Path(path).absolute().as_uri())
        data = Path(path).read_bytes()
    except OSError:  # gone or forbidden since it was added: the hit is shown by its name
        return ""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(4 * SNIPPET_CHARACTERS)
    except OSError:
        return os.path.basename(path)


def _snippet(text: str) -> str:
    words = " ".join(text.replace("#", " ").split())
    if len(words) <= SNIPPET_CHARACTERS:
        return words
    return words[:SNIPPET_CHARACTERS].rsplit(" ", 1)[0] + " …"


_SOUND_SIGN = (
    '<svg viewBox="0 0 64 40" aria-hidden="true"><g stroke="currentColor" stroke-width="4" '
    'stroke-linecap="round"><path d="M6 17v6M15 11v18M24 5v30M33 13v14M42 8v24M51 14v12M59 18v4"/>'
    "</g></svg>"
)
