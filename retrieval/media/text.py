"""Texts and tables to chunks: nothing is cut without a flag, and no chunk is huge."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator

from retrieval.errors import BadMediaError
from retrieval.media.decoded import Decoded
from retrieval.media.kinds import looks_like_text
from retrieval.types import LoadedPart, MediaSpec

MAX_TEXT_BYTES = 64 << 20
"""How much of a text file is read; the rest is dropped with the flag `truncated_text`."""
MAX_PARTS = 100_000
"""The most chunks one file may give; the rest is dropped with the flag `truncated_text`."""
MAX_CAPTION_CHARS = 20_000

TEXT_KEYS = ("text", "caption", "title", "description", "name", "content", "body")
"""Columns or keys that hold a record's text, best first."""

# Scripts that put no spaces between words: two of their characters count as one word. A run of
# anything else counts as one word per 40 characters, so that no chunk grows without end.
_NO_SPACES = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_NO_SPACES}]{{1,2}}|[^\\s{_NO_SPACES}]{{1,40}}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def load_text(data: bytes, *, format: str, spec: MediaSpec) -> Decoded:
    """Read a text or a table.

    A text is one record of chunks. A table (csv, tsv: the first row names the columns; jsonl: one
    object a line) has one record per row, counted from 1; its text is the first of `TEXT_KEYS`
    it has, else all its strings joined by ", ".

    Args:
        data: the file's bytes, or the first `MAX_TEXT_BYTES` + 1 of them.
        format: txt, md, csv, tsv or jsonl.
        spec: words per chunk and overlap.

    Returns:
        Text parts; flags `truncated_text`, `bad_records`.

    Raises:
        BadMediaError: `not_text`, `empty_text`.

    Example:
        >>> decoded = load_text(b"name\\ndog\\ncat", format="csv", spec=MediaSpec())
        >>> [part.payload for part in decoded.parts]
        ['dog', 'cat']
    """
    flags = {"truncated_text"} if len(data) > MAX_TEXT_BYTES else set()
    text = decode_text(data[:MAX_TEXT_BYTES])
    records = {"csv": _csv_records, "tsv": _tsv_records, "jsonl": _jsonl_records}.get(format)
    parts: list[LoadedPart] = []
    for number, record in records(text, flags) if records else ((0, text),):
        if not has_words(record):
            continue
        for chunk in chunks(record, spec=spec):
            parts.append(LoadedPart("text", chunk, record=number))
        if len(parts) > MAX_PARTS:
            flags.add("truncated_text")
            break
    if not parts:
        raise BadMediaError(
            "the file has no letter or digit in it; write something to be found by",
            code="empty_text",
        )
    return Decoded("text", format, tuple(parts[:MAX_PARTS]), flags=tuple(sorted(flags)))


def load_caption(data: bytes, *, spec: MediaSpec) -> tuple[str, tuple[LoadedPart, ...]] | None:
    """Read the caption file of a picture, sound or video.

    Args:
        data: its bytes.
        spec: words per chunk and overlap.

    Returns:
        The caption and its chunks, or None for one without words.

    Raises:
        BadMediaError: `not_text`.

    Example:
        >>> caption, parts = load_caption(b"A dog runs.\\n", spec=MediaSpec())
        >>> caption, parts[0].caption
        ('A dog runs.', True)
    """
    text = decode_text(data).strip()[:MAX_CAPTION_CHARS]
    if not has_words(text):
        return None
    return text, tuple(LoadedPart("text", c, caption=True) for c in chunks(text, spec=spec))


def decode_text(data: bytes) -> str:
    """Decode bytes whose encoding nobody told.

    A byte order mark decides; else UTF-8; else Windows-1252 if that leaves no control characters.
    NUL is dropped, lone surrogates become U+FFFD (they have crashed tokenizers).

    Args:
        data: may end in the middle of a character.

    Returns:
        The text, without its mark.

    Raises:
        BadMediaError: `not_text`.

    Example:
        >>> decode_text("\\ufeffgrün".encode("utf-16-le")), decode_text(b"gr\\xfcn")
        ('grün', 'grün')
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _clean(_decode(data[len(mark) :], encoding, errors="replace"))
    if not looks_like_text(data[:65536]):
        raise _not_text()
    try:
        # surrogatepass: a lone surrogate is a flaw in one character, not in the file.
        return _clean(_decode(data, "utf-8", errors="surrogatepass"))
    except UnicodeDecodeError:
        pass
    try:
        text = _decode(data, "cp1252", errors="strict")
    except UnicodeDecodeError as error:
        raise _not_text() from error
    if any(c < " " and c not in "\t\n\r\f" for c in text[:65536]):
        raise _not_text()
    return _clean(text)


def has_words(text: str) -> bool:
    """Say whether there is a letter or digit; spaces, signs and emoji alone find nothing.

    Example:
        >>> has_words("a dog"), has_words(" ^^ ")
        (True, False)
    """
    return any(character.isalnum() for character in text)


def chunks(text: str, *, spec: MediaSpec) -> Iterator[str]:
    """Cut a text into overlapping chunks that together hold every word.

    Args:
        text: any length.
        spec: `text_max_words` per chunk, of which `text_overlap_words` repeat the chunk before.

    Yields:
        Slices of the text as it stands, without the white space around them.

    Example:
        >>> list(chunks("a b c d", spec=MediaSpec(text_max_words=3, text_overlap_words=1)))
        ['a b c', 'c d']
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    step = max(1, spec.text_max_words - spec.text_overlap_words)
    for first in range(0, len(spans), step):
        last = min(first + spec.text_max_words, len(spans)) - 1
        yield text[spans[first][0] : spans[last][1]]
        if last == len(spans) - 1:
            return


def _decode(data: bytes, encoding: str, *, errors: str) -> str:
    # Not final: the cut at MAX_TEXT_BYTES may go through a character.
    return codecs.getincrementaldecoder(encoding)(errors).decode(data)


def _clean(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text.replace("\0", ""))


def _not_text() -> BadMediaError:
    return BadMediaError(
        "the bytes are neither UTF-8, UTF-16 with a byte order mark, nor Windows-1252; "
        "save the file as UTF-8",
        code="not_text",
    )


def _csv_records(text: str, flags: set[str]) -> Iterator[tuple[int, str]]:
    # Spreadsheets of many countries separate by semicolon.
    head = text[: text.find("\n")] if "\n" in text else text
    return _rows(text, delimiter=max(",;\t|", key=head.count), flags=flags)


def _tsv_records(text: str, flags: set[str]) -> Iterator[tuple[int, str]]:
    return _rows(text, delimiter="\t", flags=flags)


def _rows(text: str, *, delimiter: str, flags: set[str]) -> Iterator[tuple[int, str]]:
    # A field may be as long as the text; the text itself is bounded.
    csv.field_size_limit(max(len(text), 131_072))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        column = next((header.index(key) for key in TEXT_KEYS if key in header), None)
        for number, row in enumerate(rows, start=1):
            if column is None:
                yield number, ", ".join(v for v in row if v.strip() and not _is_number(v))
            elif column < len(row):
                yield number, row[column]
            elif row:
                flags.add("bad_records")
    except csv.Error:
        flags.add("bad_records")


def _jsonl_records(text: str, flags: set[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            flags.add("bad_records")
            continue
        # JSON can spell surrogates and NUL that the bytes did not hold.
        yield number, _clean(_json_text(value))


def _json_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    strings = {str(key).lower(): v for key, v in value.items() if isinstance(v, str)}
    best = next((strings[key] for key in TEXT_KEYS if key in strings), None)
    return best if best is not None else ", ".join(v for v in strings.values() if v.strip())


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
