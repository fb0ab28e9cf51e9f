"""The test sets of the starter model: where they are, what is right; none was trained on."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder, Vectors
from retrieval.encoders.registry import open_encoder
from retrieval.encoders.starter import StarterEncoder
from retrieval.media.image import fit_image, load_image, to_rgb
from retrieval.media.load import load_file
from retrieval.media.scan import scan
from retrieval.training.starter.sources import openclipart
from retrieval.types import Failure, MediaSpec, Modality

Pixels = npt.NDArray[np.uint8]
# OpenClonk's fire is cut from the same recording, freesound 4211.
_TRAINED_ON = "1-4211-A.ogg"
LANGUAGES = {"zh": "zh_CN", "es": "es", "fr": "fr", "de": "de"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """A captioned picture of tuxpaint-stamps-default.

    Attributes:
        path: PNG or SVG.
        caption: in English.
        others: language -> caption.
    """

    path: Path
    caption: str
    others: dict[str, str] = field(default_factory=dict)


def opened(model: str, *, weights: Path | None, threads: int) -> Encoder:
    """Open a model by name; `weights` opens a folder of starter weights in its place."""
    if weights is not None:
        return StarterEncoder(threads=threads, folder=weights)
    return open_encoder(model, threads=threads)


def stamps(folder: Path) -> list[Stamp]:
    """List the captioned pictures outside `symbols/`.

    Args:
        folder: normally /usr/share/tuxpaint/stamps.
    """
    out: list[Stamp] = []
    for text in sorted(folder.rglob("*.txt")):
        if "symbols" in text.relative_to(folder).parts:
            continue
        lines = text.read_text(encoding="utf-8", errors="replace").split("\n")
        named = {m[1]: m[2] for line in lines if (m := re.match(r"([\w@]+)\.utf8=(.*)", line))}
        others = {k: named[v].strip() for k, v in LANGUAGES.items() if named.get(v, "").strip()}
        for suffix in (".png", ".svg"):
            picture = text.with_suffix(suffix)
            if picture.is_file() and lines[0].strip():
                out.append(Stamp(picture, lines[0].strip(), others))
                break
    return out


def pixels_of(path: Path, *, spec: MediaSpec) -> Pixels:
    """Load a picture as the product does; an SVG is drawn to PNG first."""
    if path.suffix == ".svg":
        return draw(path.read_bytes(), spec=spec)
    (found,) = scan([path], on_skip=_refuse)
    return load_file(found, spec=spec).parts[0].payload  # type: ignore[return-value]


def draw(svg: bytes, *, spec: MediaSpec) -> Pixels:
    """Draw an SVG with rsvg-convert, 512 px high, transparency left to the loader."""
    done = subprocess.run(
        ["rsvg-convert", "-h", "512", "-a"], input=svg, capture_output=True, check=True
    )
    return load_image(done.stdout, format="png", spec=spec).parts[0].payload  # type: ignore[return-value]


def _refuse(failure: Failure) -> None:
    raise FileNotFoundError(f"{failure.path}: {failure.reason}")


def sounds_of(path: Path, *, spec: MediaSpec) -> npt.NDArray[np.float32]:
    """Load a clip of at most one window as the product does."""
    (found,) = scan([path], on_skip=_refuse)
    return load_file(found, spec=spec).parts[0].payload  # type: ignore[return-value]


def encode_files(encoder: Encoder, paths: Sequence[Path], *, modality: Modality) -> Vectors:
    """Encode files in blocks, so that little is in memory.

    Args:
        encoder: the model.
        paths: pictures or sounds.
        modality: which.

    Returns:
        float32 [N, D].
    """
    load = pixels_of if modality == "image" else sounds_of
    out = [np.zeros((0, encoder.spaces[0].dim), np.float32)]
    for start in range(0, len(paths), 32):
        block = [load(p, spec=encoder.media) for p in paths[start : start + 32]]
        out.append(encoder.encode(block, modality=modality))
    return np.concatenate(out)


def clips(data: Path) -> tuple[list[Path], list[str]]:
    """List the ESC-10 clips and their class names, but one whose source was trained on."""
    with (data / "esc10" / "clips.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if not r["path"].endswith(_TRAINED_ON)]
    return [data / "esc10" / r["path"] for r in rows], [r["name"] for r in rows]


def photos(data: Path, *, name: str) -> tuple[list[Path], list[str]]:
    """List the validation photos of `clothing` or `grocery` and their class names."""
    table, column = {
        "clothing": ("validation.csv", "name"),
        "grocery": ("val.csv", "coarse_name"),
    }[name]
    with (data / name / table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [data / name / r["path"] for r in rows], [r[column] for r in rows]


# Words of a caption that make a picture right for a sound of ESC-10; a sneeze has no picture.
RELATED = {
    "dog bark": "dog puppy hound dalmatian poodle terrier spaniel retriever beagle dachshund",
    "rain": "rain raincloud umbrella raindrop rainy",
    "sea waves": "wave waves sea ocean beach surf",
    "baby cry": "baby infant babies",
    "clock tick": "clock watch alarm",
    "helicopter": "helicopter chopper",
    "chainsaw": "chainsaw saw",
    "rooster": "rooster cock chicken hen",
    "fire crackling": "fire campfire fireplace flame bonfire flames",
}


def related(name: str, *, caption: str) -> bool:
    """Tell whether a caption names what a sound class is about."""
    key = next((k for k in RELATED if k.split()[0] in name or name.split(maxsplit=1)[0] in k), None)
    words = set(re.findall(r"[a-z]+", caption.lower()))
    return key is not None and bool(words & set(RELATED[key].split()))


def untrained_clipart(folder: Path, *, digits: str) -> list[tuple[str, str, bytes]]:
    """List openclipart drawings that the recipe never trains on.

    Args:
        folder: normally /usr/share/openclipart/svg.
        digits: first hex digits of the md5 of the file name (`1` validation, `2` test).

    Returns:
        (key, title, SVG) in path order.
    """
    return [
        (p.key, p.title, p.svg)
        # The titles of the files, so that figures of all weights have the same right answers.
        for p in openclipart(folder, repaired=False)
        if hashlib.md5(Path(p.key).name.encode(), usedforsecurity=False).hexdigest()[0] in digits
    ]


HUES = {"red": 0, "yellow": 52, "green": 120, "blue": 225}


def recolour(pixels: Pixels, *, hue: float) -> Pixels | None:
    """Turn the main hue of a picture into another.

    Args:
        pixels: uint8 [S, S, 3].
        hue: wanted, in degrees.

    Returns:
        The picture with its hues turned so that the main one lands on `hue`; None where less than
        a sixth of the picture, or less than 60 % of its coloured part, has one hue.
    """
    from PIL import Image

    hsv = np.asarray(Image.fromarray(pixels).convert("HSV")).astype(np.int64)
    coloured = (hsv[..., 1] > 90) & (hsv[..., 2] > 90)
    if coloured.mean() < 1 / 6:
        return None
    counts = np.bincount(hsv[..., 0][coloured], minlength=256)
    main = int(counts.argmax())
    away = np.abs((hsv[..., 0] - main + 128) % 256 - 128)
    if (away[coloured] < 18).mean() < 0.6:
        return None
    turned = hsv.copy()
    turned[..., 0] = (hsv[..., 0] + round(hue / 360 * 256) - main) % 256
    image = Image.fromarray(turned.astype(np.uint8), "HSV").convert("RGB")
    return fit_image(to_rgb(image), spec=MediaSpec(image_size_px=pixels.shape[0]))
