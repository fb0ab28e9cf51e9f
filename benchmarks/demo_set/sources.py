"""The places the demo set comes from, under which licence, and how to credit each."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credit:
    """Whom a file is owed to.

    Attributes:
        source: collection and the file's name in it, with a link where one is known.
        author: as the collection names them, or `unknown`.
        licence: SPDX id, or `public-domain`.
    """

    source: str
    author: str
    licence: str


SKIMAGE = {
    "chelsea.png": ("Stefan van der Walt", "CC0-1.0"),
    "coffee.png": ("Rachel Michetti", "CC0-1.0"),
    "rocket.jpg": ("SpaceX", "public-domain"),
    "astronaut.png": ("NASA", "public-domain"),
}
FLICKR = {
    "china.jpg": ("danielbuechele", "https://www.flickr.com/photos/danielbuechele/6061409035"),
    "flower.jpg": ("vultilion", "https://www.flickr.com/photos/vultilion/6056698931"),
}
SONIC_PI = {
    "drum_cymbal_open.flac": (
        "http://www.freesound.org/people/menegass/sounds/100055/",
        "menegass",
    ),
}
ESC10_LICENCES = {"CC0": "CC0-1.0", "CC-BY": "CC-BY-3.0"}


def credit(kind: str, locator: str, file: Path) -> Credit:  # noqa: PLR0911 - a case a source
    """Say whom a source file is owed to."""
    match kind:
        case "grocery":
            name = f"Grocery Store Dataset, {locator}"
            return Credit(name, "Marcus Klasson and others", "MIT")
        case "clothing":
            name = f"Clothing dataset (Alexey Grigorev), {'/'.join(file.parts[-3:])}"
            return Credit(name, "contributors of the clothing dataset", "CC0-1.0")
        case "skimage":
            return Credit(f"scikit-image 0.17.2, skimage/data/{locator}", *SKIMAGE[locator])
        case "scipy":
            name = "scipy 1.9.3, scipy/misc/face.dat, from www.public-domain-image.com"
            return Credit(name, "unknown (raccoon-procyon-lotor.jpg)", "public-domain")
        case "sklearn":
            author, link = FLICKR[locator]
            name = f"scikit-learn 1.5.2, sklearn/datasets/images/{locator}, {link}"
            return Credit(name, author, "CC-BY-2.0")
        case "openclipart":
            name = f"Open Clip Art Library 0.18, {locator}"
            return Credit(name, _clipart_author(file), "public-domain")
        case "twemoji":
            name = f"Twemoji 15, {locator}.svg, https://github.com/jdecked/twemoji"
            return Credit(name, "Twitter, Inc and other contributors", "CC-BY-4.0")
        case "drawn":
            return Credit("drawn for crossfind", "the crossfind authors", "CC0-1.0")
        case "esc10":
            return _esc10(locator, file)
        case "fluidsynth":
            name = f"FluidR3 GM soundfont, {locator}; played for crossfind"
            return Credit(name, "Frank Wen, Toby Smithe and others", "MIT")
        case "sonicpi":
            name = f"Sonic Pi samples, {locator}, {SONIC_PI[locator][0]}"
            return Credit(name, SONIC_PI[locator][1], "CC0-1.0")
    raise ValueError(f"recipe.csv names the unknown source {kind!r}")


def _clipart_author(file: Path) -> str:
    text = file.read_text(encoding="utf-8", errors="replace")
    creator = re.search(r"<dc:creator>.*?<dc:title>(.*?)</dc:title>", text, re.DOTALL)
    return (creator.group(1).strip() if creator else "") or "unknown"


def _esc10(locator: str, file: Path) -> Credit:
    with (file.parents[1] / "clips.csv").open(encoding="utf-8", newline="") as handle:
        row = next(row for row in csv.DictReader(handle) if row["path"] == locator)
    found = re.search(r"from \[(.*?)\]\((\S+?)\) by \*(.*?)\* \(\[(.*?)\]", row["source"])
    if found is None:
        raise ValueError(f"clips.csv does not say whose {locator} is")
    title, link, author, licence = found.groups()
    name = f'ESC-10, {locator}, clip of "{title.strip()}", {link}'
    return Credit(name, author, ESC10_LICENCES[licence])
