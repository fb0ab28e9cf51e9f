"""What a file is, told from its first bytes; the suffix only settles what bytes leave open."""

from __future__ import annotations

import re

from retrieval.errors import BadMediaError
from retrieval.types import Modality

HEAD_BYTES = 4096
"""How much of a file `sniff` wants to see."""


def _suffixes(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


IMAGE_SUFFIXES = _suffixes("jpg jpeg jpe jfif png apng webp gif bmp dib tif tiff avif heic heif")
AUDIO_SUFFIXES = _suffixes(
    "wav flac ogg oga opus mp3 mp2 m4a m4b aac wma aif aiff aifc au snd caf amr ape wv ac3 mka"
)
VIDEO_SUFFIXES = _suffixes("mp4 m4v mov mkv webm avi ogv flv wmv asf mpg mpeg ts mts m2ts 3gp 3g2")
TEXT_SUFFIXES = _suffixes("txt text md markdown csv tsv jsonl ndjson")
MEDIA_SUFFIXES = IMAGE_SUFFIXES | AUDIO_SUFFIXES | VIDEO_SUFFIXES | TEXT_SUFFIXES

CAPTIONED_SUFFIXES = IMAGE_SUFFIXES | AUDIO_SUFFIXES | VIDEO_SUFFIXES
"""Files that may have a caption file beside them."""
CAPTION_SUFFIXES = (".caption", ".txt")
"""In the order in which they are looked for."""

ARCHIVE_SUFFIXES = _suffixes("zip tar gz tgz bz2 tbz2 xz txz zst 7z rar lz4 cab iso")
OFF_SUFFIXES = _suffixes("svg svgz eps ps psd pdf ai fits m3u m3u8 mpd pls ffconcat mid midi")
"""Formats that are left closed: they can fetch, run code, or hold no pixels and samples."""

_TEXT_FORMATS = {
    ".md": "md",
    ".markdown": "md",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}

_Kind = tuple[Modality, str]

# Bytes at the very start that settle the matter by themselves.
_STARTS: tuple[tuple[bytes, _Kind], ...] = (
    (b"\xff\xd8\xff", ("image", "jpeg")),
    (b"\x89PNG\r\n\x1a\n", ("image", "png")),
    (b"GIF87a", ("image", "gif")),
    (b"GIF89a", ("image", "gif")),
    (b"II*\0", ("image", "tiff")),
    (b"MM\0*", ("image", "tiff")),
    (b"fLaC\0", ("audio", "flac")),
    (b"fLaC\x80", ("audio", "flac")),
    (b".snd\0\0", ("audio", "au")),
    (b"caff\0\1", ("audio", "caf")),
    (b"#!AMR", ("audio", "amr")),
    (b"MAC \x96\x0f", ("audio", "ape")),
    (b"MAC \x8c\x0f", ("audio", "ape")),
    (b"wvpk", ("audio", "wv")),
    (b"\x0b\x77", ("audio", "ac3")),
    (b"FLV\x01", ("video", "flv")),
    (b"\x00\x00\x01\xba", ("video", "mpeg")),
    (b"\x00\x00\x01\xb3", ("video", "mpegvideo")),
)
_ARCHIVES = (
    b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"Rar!\x1a",
    b"\x28\xb5\x2f\xfd",
)  # fmt: skip
_OFF_STARTS = (
    (b"%PDF-", "pdf"),
    (b"8BPS\0", "psd"),
    (b"\xff\x0a", "jpeg xl"),
    (b"\0\0\0\x0cJXL ", "jpeg xl"),
    (b"\0\0\0\x0cjP  ", "jpeg 2000"),
    (b"\0\0\1\0", "ico"),
    (b"MThd\0\0", "midi"),
)
# Text that would make a decoder fetch or run something. In a .txt it is just text.
_OFF_TEXT = re.compile(
    rb"\s*(?:#EXTM3U|<\?xml|<svg|<!DOCTYPE svg|<MPD|<smil|%!PS|ffconcat version|\[playlist\]"
    rb"|SIMPLE  =|Core Playlist)",
    re.IGNORECASE,
)


def sniff(head: bytes, *, suffix: str) -> _Kind:
    """Tell what a file is from its bytes.

    Args:
        head: the first `HEAD_BYTES` bytes.
        suffix: of its name, lower case, with the dot; may be empty.

    Returns:
        Modality and format. A container may turn out to hold only sound: see `video`.

    Raises:
        BadMediaError: nothing in it (`empty_file`); the bytes do not keep what the suffix promises
            (`not_an_image`, `not_audio`, `not_video`, `not_text`); a format that is left closed
            (`format_not_enabled`, `archive_not_enabled`). The message has no path in front.

    Example:
        >>> sniff(b"\\x89PNG\\r\\n\\x1a\\n...", suffix=".jpg")
        ('image', 'png')
    """
    if not head:
        raise BadMediaError("the file is empty (0 bytes); replace it", code="empty_file")
    kind = (
        _by_start(head)
        or _by_box(head)
        or _by_frames(head, suffix=suffix)
        or _by_bytes_inside(head, suffix=suffix)
    )
    if kind:
        return kind
    _refuse_closed(head, suffix=suffix)
    if suffix in TEXT_SUFFIXES or (suffix not in MEDIA_SUFFIXES and looks_like_text(head)):
        if not looks_like_text(head):
            raise BadMediaError(
                f"the name ends in {suffix} but the bytes are not text; give it its right suffix",
                code="not_text",
            )
        return "text", _TEXT_FORMATS.get(suffix, "txt")
    raise _mismatch(suffix)


def looks_like_text(head: bytes) -> bool:
    """Say whether bytes may be text: a byte order mark, or hardly any control characters.

    Example:
        >>> looks_like_text(b"A dog runs."), looks_like_text(bytes(range(256)))
        (True, False)
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return True
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b\0" for byte in head)
    # NUL is allowed for now: UTF-16 without a mark is full of it, and it is stripped later.
    return controls * 100 <= len(head) and head.count(0) * 100 <= 55 * len(head)


def archive_reason(path: str) -> str:
    """Word the refusal of an archive."""
    or_so = ", or add it by its own name" if path.lower().endswith(".tar") else ""
    return f"{path} is an archive, which is not looked into; unpack it and add the folder{or_so}"


def off_reason(path: str, format: str) -> str:
    """Word the refusal of a closed format."""
    return f"{path} is {format.upper()}, which is not enabled; convert it to PNG, WAV, MP4 or text"


def _by_start(head: bytes) -> _Kind | None:
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        inner: dict[bytes, _Kind] = {
            b"WAVE": ("audio", "wav"),
            b"WEBP": ("image", "webp"),
            b"AVI ": ("video", "avi"),
        }
        return inner.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio", "aiff"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and head[14:18] in _BMP_HEADERS:
        return "image", "bmp"
    return None


# The sizes a BMP's second header can have; "BM" alone also begins many a text.
_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}


def _by_box(head: bytes) -> _Kind | None:
    """Tell the members of the ISO base media family by their brands."""
    if head[4:8] in (b"moov", b"mdat", b"wide") and head[:2] == b"\0\0":
        return "video", "mov"
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "image", "avif"
    if head[8:12] in _HEIF_BRANDS:
        return "image", "heic"
    if head[8:12] in (b"M4A ", b"M4B ", b"M4P "):
        return "audio", "m4a"
    return "video", "mov" if head[8:12] == b"qt  " else "3gp" if head[8:10] == b"3g" else "mp4"


_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)


def _by_frames(head: bytes, *, suffix: str) -> _Kind | None:
    """Tell streams without a file header by the shape of their frames."""
    if head[:3] == b"ID3" and len(head) > 10 and head[3] in (2, 3, 4):
        behind = 10 + sum(
            (b & 127) << shift for b, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
        flac = head[behind : behind + 4] == b"fLaC" or suffix == ".flac"
        return "audio", "flac" if flac else "aac" if suffix == ".aac" else "mp3"
    start = head.lstrip(b"\0") if suffix in (".mp3", ".mp2") else head
    if len(start) > 2 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        layer = start[1] >> 1 & 3
        # Layer I is left out: it is not in use, and its sync word is UTF-16's byte order mark.
        if layer in (1, 2) and start[2] >> 4 not in (0, 15):
            return "audio", "mp3"
        if layer == 0 and start[1] & 0xF0 == 0xF0:
            return "audio", "aac"
    for offset, step in ((0, 188), (4, 192)):
        if len(head) > offset + 2 * step and head[offset::step][:3] == b"GGG":
            return "video", "mpegts"
    return None


def _by_bytes_inside(head: bytes, *, suffix: str) -> _Kind | None:
    if head[:4] == b"\x1a\x45\xdf\xa3":
        sound_only = suffix in (".mka", ".weba")
        return "audio" if sound_only else "video", "webm" if b"webm" in head[:64] else "mkv"
    if head[:5] == b"OggS\0":
        if b"\x80theora" in head[:256]:
            return "video", "ogv"
        return "audio", "opus" if b"OpusHead" in head[:256] else "ogg"
    if head[:4] == b"\x30\x26\xb2\x75":
        return ("audio", "wma") if suffix == ".wma" else ("video", "wmv")
    return None


def _refuse_closed(head: bytes, *, suffix: str) -> None:
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        raise BadMediaError(archive_reason("the file"), code="archive_not_enabled")
    for start, name in _OFF_STARTS:
        if head.startswith(start):
            raise BadMediaError(off_reason("the file", name), code="format_not_enabled")
    if suffix not in TEXT_SUFFIXES and _OFF_TEXT.match(head.removeprefix(b"\xef\xbb\xbf")):
        name = "a playlist, drawing or script"
        raise BadMediaError(off_reason("the file", name), code="format_not_enabled")


def _mismatch(suffix: str) -> BadMediaError:
    for suffixes, what, code in (
        (IMAGE_SUFFIXES, "picture", "not_an_image"),
        (AUDIO_SUFFIXES, "sound", "not_audio"),
        (VIDEO_SUFFIXES, "video", "not_video"),
    ):
        if suffix in suffixes:
            return BadMediaError(
                f"the name ends in {suffix} but the bytes are no {what}; replace the file",
                code=code,
            )
    return BadMediaError(
        "the bytes are no picture, sound, video or text that crossfind reads; convert the file",
        code="format_not_enabled",
    )
