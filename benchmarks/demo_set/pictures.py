"""Bring a source picture to the size and format in which the demo ships it."""

from __future__ import annotations

import bz2
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

LONGEST_SIDE_PX = 320
MAX_BYTES = 40_000
FACE_SHAPE = (768, 1024, 3)  # scipy's raccoon is raw RGB, compressed with bzip2


def open_picture(source: Path) -> Image.Image:
    """Decode a photo, a drawing (SVG) or scipy's raw raccoon to RGB on white."""
    if source.suffix == ".dat":
        pixels = np.frombuffer(bz2.decompress(source.read_bytes()), np.uint8)
        return Image.fromarray(pixels.reshape(FACE_SHAPE))
    if source.suffix == ".svg":
        return _trim(_render_svg(source))
    with Image.open(source) as picture:
        return _on_white(ImageOps.exif_transpose(picture))


def save_picture(picture: Image.Image, target: Path) -> None:
    """Scale down to 320 px and write in the format of the target's suffix, at most 40 KB."""
    picture.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
    if target.suffix == ".png":
        colours = picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        colours.save(target, optimize=True)
        return
    for quality in range(88, 40, -4):
        picture.save(target, quality=quality, **({"method": 6} if target.suffix == ".webp" else {}))
        if target.stat().st_size <= MAX_BYTES:
            return


def _render_svg(source: Path) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        rendered = Path(folder, "drawing.png")
        size = str(2 * LONGEST_SIDE_PX)
        command = ["rsvg-convert", "-w", size, "-h", size, "--keep-aspect-ratio", "-b", "white"]
        subprocess.run([*command, str(source), "-o", str(rendered)], check=True)
        with Image.open(rendered) as picture:
            return _on_white(picture)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture.copy()
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return white.convert("RGB")


def _trim(picture: Image.Image) -> Image.Image:
    """Cut the empty border of a drawing, if it has one, down to 4 % of its longer side."""
    box = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    if box == (0, 0, *picture.size):
        return picture
    drawing = picture.crop(box)
    return ImageOps.expand(drawing, border=round(0.04 * max(drawing.size)), fill="white")
