"""Draw SVG pictures as RGB arrays on white with Debian's rsvg-convert."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt

from retrieval.training.starter.sources import Picture

_TIMEOUT_S = 20.0


def draw(svg: bytes, *, side_px: int) -> npt.NDArray[np.uint8] | None:
    """Draw one picture, squashed to a square.

    Args:
        svg: the drawing, or a raster picture, whose transparent parts become white.
        side_px: side of the square.

    Returns:
        uint8 [side_px, side_px, 3], or None where the drawing is broken or blank.
    """
    from PIL import Image, UnidentifiedImageError

    side = str(2 * side_px)
    command = ["rsvg-convert", "-w", side, "-h", side, "-a", "-b", "white"]
    try:
        if svg.startswith(b"RIFF"):
            drawn = svg
        else:
            drawn = subprocess.run(
                command, input=svg, capture_output=True, timeout=_TIMEOUT_S, check=False
            ).stdout
        with Image.open(io.BytesIO(drawn)) as picture:
            full = picture.convert("RGBA")
            white = Image.new("RGBA", full.size, "white")
            flat = Image.alpha_composite(white, full).convert("RGB")
            small = flat.resize((side_px, side_px), Image.Resampling.BICUBIC)
    except (subprocess.TimeoutExpired, UnidentifiedImageError, OSError):
        return None
    pixels = np.asarray(small, dtype=np.uint8)
    return pixels if pixels.std() > 2.0 else None


def draw_all(
    pictures: Iterable[Picture], *, side_px: int, n_workers: int = 2
) -> Iterator[tuple[Picture, npt.NDArray[np.uint8]]]:
    """Draw pictures in order, skipping the broken ones.

    Args:
        pictures: what to draw.
        side_px: side of the square.
        n_workers: drawings at once.

    Yields:
        Each picture with its pixels, uint8 [side_px, side_px, 3].
    """
    stream = iter(pictures)
    with ThreadPoolExecutor(n_workers) as pool:
        while block := list(islice(stream, 256)):
            drawn = pool.map(lambda p: draw(p.svg, side_px=side_px), block)
            for picture, pixels in zip(block, drawn, strict=True):
                if pixels is not None:
                    yield picture, pixels
