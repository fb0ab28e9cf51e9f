"""Unicode CLDR names and keywords of emoji in many languages."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

Names = dict[str, tuple[str, tuple[str, ...]]]


def cldr_names(folder: Path, *, language: str) -> Names:
    """Read the names and keywords of emoji.

    Args:
        folder: CLDR's `common` folder, normally /usr/share/unicode/cldr/common.
        language: e.g. `en`, `zh`, `es`.

    Returns:
        Hexcode without variation selectors (`1f436`) -> (name, keywords).
    """
    keywords: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for part in ("annotations", "annotationsDerived"):
        path = folder / part / f"{language}.xml"
        if not path.is_file():
            continue
        for entry in ElementTree.parse(path).getroot().iter("annotation"):
            code = "-".join(f"{ord(c):x}" for c in entry.get("cp", "") if ord(c) != 0xFE0F)
            text = (entry.text or "").strip()
            if entry.get("type") == "tts":
                names[code] = text
            else:
                keywords[code] = tuple(w.strip() for w in text.split("|") if w.strip())
    return {code: (name, keywords.get(code, ())) for code, name in names.items()}
