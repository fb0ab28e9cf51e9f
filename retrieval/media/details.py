"""What a picture says of itself: EXIF time, place and camera; keywords of IPTC and XMP.

A file lies about itself more often than about its pixels, so whatever is malformed or impossible
is as if it were not there.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from retrieval.media.wire import MAX_TAGS
from retrieval.types import Details

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_TAG_CHARS = 100
_MAX_XMP_BYTES = 1 << 20
_EXIF, _GPS = 0x8769, 0x8825
_MAKE, _MODEL, _DATE_TIME = 0x010F, 0x0110, 0x0132
_ORIGINAL, _OFFSET = 0x9003, 0x9011
_LAT_REF, _LAT, _LON_REF, _LON = 1, 2, 3, 4
_SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"
_LISTED = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
# What Pillow raises on EXIF and IPTC that break their rules (see also `image.py`).
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    AttributeError, ZeroDivisionError, NotImplementedError, RuntimeError,
)  # fmt: skip


def read_details(image: Picture) -> Details:
    """Read what an opened picture says of itself.

    Args:
        image: opened, its pixels perhaps not yet read.

    Example:
        >>> from PIL import Image
        >>> image = Image.new("RGB", (1, 1))
        >>> image.getexif().update({0x010F: "Canon", 0x0110: "Canon EOS 5D"})
        >>> read_details(image).camera
        'Canon EOS 5D'
    """
    try:
        exif = image.getexif()
        own, place = exif.get_ifd(_EXIF), exif.get_ifd(_GPS)
        head: dict[int, Any] = dict(exif)
    except _BROKEN:
        head, own, place = {}, {}, {}
    lat, lon = _degrees(place, _LAT, _LAT_REF, 90), _degrees(place, _LON, _LON_REF, 180)
    known = lat is not None and lon is not None
    return Details(
        taken_ns=_taken_ns(own.get(_ORIGINAL) or head.get(_DATE_TIME), own.get(_OFFSET)),
        lat=lat if known else None,
        lon=lon if known else None,
        camera=_camera(head.get(_MAKE), head.get(_MODEL)),
        tags=clean_tags([*_iptc_keywords(image), *_xmp_subjects(image)]),
    )


def clean_tags(found: list[str]) -> tuple[str, ...]:
    """Sort tags, each once, without white space around them; the longest and the most are cut.

    Example:
        >>> clean_tags([" wild", "pets", "wild", ""])
        ('pets', 'wild')
    """
    cleaned = {printable_line(tag)[:MAX_TAG_CHARS].strip() for tag in found}
    return tuple(sorted(cleaned - {""})[:MAX_TAGS])


def _taken_ns(text: object, offset: object) -> int | None:
    """Read EXIF's "2020:05:31 12:00:00"; with an offset such as "+02:00" where there is one."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.strptime(text.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    zone = re.fullmatch(r"([+-])(\d\d):(\d\d)", str(offset).strip("\0 "))
    if zone:
        ahead = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
        time -= ahead if zone[1] == "+" else -ahead
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9


def _degrees(place: dict[int, Any], key: int, ref: int, most: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in place[key])
        value = degrees + minutes / 60 + seconds / 3600
        side = str(place[ref]).strip("\0 ").upper()
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if side not in ("N", "S", "E", "W") or not 0 <= value <= most:
        return None
    return round(-value if side in ("S", "W") else value, 7)


def _camera(make: object, model: object) -> str | None:
    maker, name = (printable_line(x).strip("\0 ") if _is_text(x) else "" for x in (make, model))
    if name.lower().startswith(maker.lower()):
        maker = ""
    return f"{maker} {name}".strip()[:200] or None


def _iptc_keywords(image: Picture) -> list[str]:
    from PIL import ImageFile, IptcImagePlugin

    if not isinstance(image, ImageFile.ImageFile) or image.format not in ("JPEG", "TIFF"):
        return []

    try:
        found = (IptcImagePlugin.getiptcinfo(image) or {}).get((2, 25), [])
    except _BROKEN:
        return []
    raw = found if isinstance(found, list) else [found]
    return [word.decode("utf-8", "replace") for word in raw if isinstance(word, bytes)]


def _xmp_subjects(image: Picture) -> list[str]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    data = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    # No document type: entities could grow without end.
    if not isinstance(data, bytes) or len(data) > _MAX_XMP_BYTES or b"<!" in data:
        return []
    try:
        root = ElementTree.fromstring(data.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError):
        return []
    listed = (li for subject in root.iter(_SUBJECT) for li in subject.iter(_LISTED))
    return [li.text for li in listed if li.text]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def printable_line(text: object) -> str:
    """Bring a text to one line without NUL and halves of characters."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return " ".join(whole.split())
