"""The places the demo set comes from: what each is called, under which licence, and how to credit it."""

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
ESC10_LICENCES = {"CC0": "CC0-1.0", "CC-BY": "CC-BY-3.0"}


def credit(kind: str, locator: str, file: Path) -> Credit:
    """Say whom a source file is owed to; unknown kinds are a KeyError."""
    return _CREDITS[kind](locator, file)


def _grocery(locator: str, file: Path) -> Credit:
    return Credit(f"Grocery Store Dataset, {locator}", "Marcus Klasson and others", "MIT")


def _clothing(locator: str, file: Path) -> Credit:
    name = f"Clothing dataset (Alexey Grigorev), {'/'.join(file.parts[-3:])}"
    return Credit(name, "contributors of the clothing dataset", "CC0-1.0")


def _skimage(locator: str, file: Path) -> Credit:
    author, licence = SKIMAGE[locator]
    return Credit(f"scikit-image 0.17.2, skimage/data/{locator}", author, licence)


def _scipy(locator: str, file: Path) -> Credit:
    source = "scipy 1.9.3, scipy/misc/face.dat, from www.public-domain-image.com"
    return Credit(source, "unknown (raccoon-procyon-lotor.jpg)", "public-domain")


def _sklearn(locator: str, file: Path) -> Credit:
    author, link = FLICKR[locator]
    return Credit(f"scikit-learn, sklearn/datasets/images/{locator}, {link}", author, "CC-BY-2.0")


def _openclipart(locator: str, file: Path) -> Credit:
    text = file.read_text(encoding="utf-8", errors="replace")
    creator = re.search(r"<dc:creator>.*?<dc:title>(.*?)</dc:title>", text, re.DOTALL)
    author = creator.group(1).strip() if creator and creator.group(1).strip() else "unknown"
    return Credit(f"Open Clip Art Library 0.18, {locator}", author, "public-domain")


def _fluent(locator: str, file: Path) -> Credit:
    return Credit(f"Fluent Emoji (3D), {locator}", "Microsoft Corporation", "MIT")


def _esc10(locator: str, file: Path) -> Credit:
    with (file.parents[1] / "clips.csv").open(encoding="utf-8", newline="") as handle:
        row = next(row for row in csv.DictReader(handle) if row["path"] == locator)
    found = re.search(r"from \[(.*?)\]\((\S+?)\) by \*(.*?)\* \(\[(.*?)\]", row["source"])
    if found is None:
        raise ValueError(f"clips.csv does not say whose {locator} is")
    title, link, author, licence = found.groups()
    name = f'ESC-10, {locator}, clip of "{title.strip()}", {link}'
    return Credit(name, author, ESC10_LICENCES[licence])


def _fluidsynth(locator: str, file: Path) -> Credit:
    name = f"FluidR3 GM soundfont, {locator}; played for crossfind"
    return Credit(name, "Frank Wen, Toby Smithe and others", "MIT")


def _sonicpi(locator: str, file: Path) -> Credit:
    link = "http://www.freesound.org/people/menegass/sounds/100055/"
    return Credit(f"Sonic Pi samples, {locator}, {link}", "menegass", "CC0-1.0")


_CREDITS = {
    "grocery": _grocery,
    "clothing": _clothing,
    "skimage": _skimage,
    "scipy": _scipy,
    "sklearn": _sklearn,
    "openclipart": _openclipart,
    "fluent": _fluent,
    "esc10": _esc10,
    "fluidsynth": _fluidsynth,
    "sonicpi": _sonicpi,
}
