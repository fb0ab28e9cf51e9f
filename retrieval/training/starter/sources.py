"""Where the starter's training pictures and their words are found, and which are held back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from xml.etree import ElementTree

from retrieval.training.starter.titles import keyword, retitle, spaced
from retrieval.training.starter.words import Names

_DUBLIN = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
# Sets of emoji whose chars.json is empty or names only a part of them.
_EMOJI_WITHOUT_CODES = {
    "emojione",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fxemoji",
    "streamline-emojis",
}
_TONE = re.compile(r"1f3f[b-f]")
_SKIN = re.compile(r"(light|medium|dark)(-skin-tone|$)|-tone\d|skin-\d")
# Perl that was printed in place of a keyword.
_BROKEN = re.compile(r"^hash\b")
# Titles that name no thing to be seen.
_NO_TITLE = re.compile(r"^(untitled|unnamed|template|drawing|image|test|svg|no ?name)\b|^[\d\W]*$")


@dataclass(frozen=True, slots=True)
class Picture:
    """A licensed drawing and the words that go with it.

    Attributes:
        key: unique name, `source/basename`.
        svg: the drawing; of a rendered set the bytes of a WebP.
        title: what it shows.
        words: further keywords.
        hexcode: code point(s) for an emoji, else empty.
    """

    key: str
    svg: bytes
    title: str
    words: tuple[str, ...] = ()
    hexcode: str = ""


def held_back(basename: str) -> bool:
    """Tell whether a file is reserved for the demo set.

    Args:
        basename: its file name.

    Returns:
        True when the md5 of the name starts with 0.

    Example:
        >>> held_back("dog.svg")
        False
    """
    return hashlib.md5(basename.encode(), usedforsecurity=False).hexdigest().startswith("0")


def openclipart(folder: Path, *, repaired: bool = True) -> Iterator[Picture]:
    """Yield the titled drawings of Debian's openclipart-svg (public domain).

    Args:
        folder: normally /usr/share/openclipart/svg.
        repaired: put the file's name where the title is that of a collection (`retitle`).

    Yields:
        Pictures in the order of their paths; reserved and untitled ones are left out.
    """
    found = list(_drawings(folder))
    if not repaired:
        yield from found
        return
    paths = [PurePath(p.key).relative_to("openclipart") for p in found]
    for picture, title, path in zip(
        found, retitle([p.title for p in found], paths=paths), paths, strict=True
    ):
        more = keyword(title, path=path)
        yield replace(picture, title=title, words=(*picture.words, *([more] if more else [])))


def _drawings(folder: Path) -> Iterator[Picture]:
    """Yield openclipart's drawings with the titles that their files give."""
    for path in sorted(folder.rglob("*.svg")):
        if held_back(path.name) or path.is_symlink():
            continue
        svg = path.read_bytes()
        try:
            root = ElementTree.fromstring(svg)
        except ElementTree.ParseError:
            continue
        title = _clean(next((e.text or "" for e in root.iter(f"{_DUBLIN}title")), ""))
        if not title or _NO_TITLE.match(title.lower()):
            title = _clean(re.sub(r"(_[a-z.]+)?_\d+$", "", path.stem))
        words = [_clean(e.text or "") for e in root.iter(f"{_RDF}li")]
        words += [_clean(part) for part in path.relative_to(folder).parts[:-1]]
        skip = {"", "clip art", "clipart", "unsorted", "special", "image", "media", "public domain"}
        kept = tuple(
            dict.fromkeys(
                w.lower() for w in words if w.lower() not in skip and not _BROKEN.match(w.lower())
            )
        )
        yield Picture(
            key=f"openclipart/{path.relative_to(folder)}", svg=svg, title=title, words=kept
        )


def icon_set(folder: Path, *, name: str, names: Names) -> Iterator[Picture]:
    """Yield the drawings of an Iconify JSON package.

    Args:
        folder: the unpacked npm package (icons.json, chars.json).
        name: short name of the set.
        names: hexcode -> (name, keywords) of emoji, in English.

    Yields:
        Pictures; skin tones and reserved files are left out.
    """
    data = json.loads((folder / "icons.json").read_text())
    codes: dict[str, str] = {}
    if (folder / "chars.json").is_file():
        for code, icon in json.loads((folder / "chars.json").read_text()).items():
            codes.setdefault(icon, code)
    reserved = _reserved_joined(names) if name in _EMOJI_WITHOUT_CODES else frozenset[str]()
    by_name = {_joined(title): (title, words) for title, words in names.values()}
    known = {w for title, words in names.values() for t in (title, *words) for w in _split(t)}
    for icon in sorted(data["icons"]):
        if (_SKIN.search(icon) and name != "game-icons") or _joined(icon) in reserved:
            continue
        body = data["icons"][icon]
        width = body.get("width", data.get("width", 16))
        height = body.get("height", data.get("height", 16))
        code = codes.get(icon, "").lower()
        if any(held_back(n) for n in reserved_names(code)):
            continue
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{body["body"]}</svg>'
        )
        own = spaced(_clean(icon.replace("-", " ")), known=known)
        title, words = names.get(_plain(code)) or by_name.get(_joined(icon), (own, ()))
        yield Picture(
            key=f"{name}/{icon}", svg=svg.encode(), title=title, words=words, hexcode=_plain(code)
        )


def rendered_emoji(folder: Path, *, name: str, names: Names) -> Iterator[Picture]:
    """Yield the pictures of a folder of emoji drawn in three dimensions, `1f436.webp`.

    Args:
        folder: the unpacked npm package (assets/*.webp).
        name: short name of the set.
        names: hexcode -> (name, keywords) of emoji, in English.

    Yields:
        Pictures of emoji that have a name; skin tones and reserved files are left out.
    """
    for path in sorted((folder / "assets").glob("*.webp")):
        code = _plain(path.stem)
        if code not in names or _TONE.search(code):
            continue
        if not any(held_back(n) for n in reserved_names(path.stem)):
            title, words = names[code]
            yield Picture(f"{name}/{path.stem}", path.read_bytes(), title, words, code)


def _reserved_joined(names: Names) -> frozenset[str]:
    """Joined names of the reserved emoji, for sets that give no code points."""
    return frozenset(
        _joined(title)
        for code, (title, _) in names.items()
        if any(held_back(n) for n in reserved_names(code))
    )


def _joined(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def reserved_names(code: str) -> tuple[str, ...]:
    """List the file names under which an emoji may be in the demo set."""
    if not code:
        return ()
    plain = _plain(code)
    return tuple(
        f"{prefix}{plain.replace('-', joint)}.{suffix}"
        for prefix, joint in (("emoji_u", "_"), ("", "-"))
        for suffix in ("svg", "png")
    )


def _plain(code: str) -> str:
    return "-".join(c for c in code.lower().split("-") if c != "fe0f")


def _clean(text: str) -> str:
    return re.sub(r"[\s_]+", " ", re.sub(r"\b\d+\b", " ", text)).strip(" -.,")
