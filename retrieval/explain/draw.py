"""Explanations as pictures: heat over a picture, a curve over a sound. PNG bytes."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from retrieval.errors import UsageError
from retrieval.explain.explain import Explanation
from retrieval.explain.occlusion import PictureMap, Piece

__all__ = ["draw"]

_SIDE = 448
_WIDTH, _HEIGHT = 800, 240


def draw(found: Explanation) -> bytes:
    """Draw an explanation.

    Args:
        found: of a picture, frame or sound.

    Returns:
        A PNG file: the picture, cold places darkened and hot ones tinted, the peak ringed; or the
        wave of the sound with the drop of each quarter second behind it.

    Raises:
        UsageError: it is of a text (`nothing_to_draw`).
    """
    payload = found.part.payload
    if found.picture is not None and not isinstance(payload, str):
        return _draw_picture(payload.astype(np.uint8), found.picture)
    if found.sound and not isinstance(payload, str):
        return _draw_sound(payload.astype(np.float32), found.sound)
    raise UsageError("a text has no picture; print it or take --json", code="nothing_to_draw")


def _draw_picture(pixels: npt.NDArray[np.uint8], found: PictureMap) -> bytes:
    from PIL import Image, ImageDraw

    base = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    heat = np.maximum(found.heat, 0.0)
    level = heat / max(float(heat.max()), 1e-9)
    mask = Image.fromarray((level * 255).astype(np.uint8)).resize(
        (_SIDE, _SIDE), Image.Resampling.BICUBIC
    )
    strength = np.asarray(mask, dtype=np.float32)[..., None] / 255
    dim = np.asarray(base, dtype=np.float32) * (0.35 + 0.65 * strength)
    tinted = dim * (1 - 0.35 * strength) + np.array([255, 120, 0]) * 0.35 * strength
    out = Image.fromarray(np.clip(tinted, 0, 255).astype(np.uint8))
    x, y = (round(share * _SIDE) for share in found.peak)
    ImageDraw.Draw(out).ellipse((x - 9, y - 9, x + 9, y + 9), outline=(255, 255, 255), width=3)
    return _png(out)


def _draw_sound(samples: npt.NDArray[np.float32], pieces: tuple[Piece, ...]) -> bytes:
    from PIL import Image, ImageDraw

    out = Image.new("RGB", (_WIDTH, _HEIGHT), (24, 24, 27))
    pen = ImageDraw.Draw(out)
    top = max((piece.drop for piece in pieces), default=0.0)
    for place, piece in enumerate(pieces):
        level = max(0.0, piece.drop) / top if top > 0 else 0.0
        left, right = (round((place + k) * _WIDTH / len(pieces)) for k in (0, 1))
        colour = (round(24 + 190 * level), round(24 + 80 * level), 27)
        pen.rectangle((left, 0, max(left, right - 1), _HEIGHT), fill=colour)
    edges = np.linspace(0, len(samples), _WIDTH + 1).astype(int)
    loudest = max(float(np.abs(samples).max()), 1e-6)
    for x in range(_WIDTH):
        span = samples[edges[x] : max(edges[x] + 1, edges[x + 1])]
        half = float(np.abs(span).max(initial=0.0)) / loudest * (_HEIGHT / 2 - 10)
        middle = _HEIGHT // 2
        pen.line((x, middle - half, x, middle + half), fill=(240, 240, 236))
    return _png(out)


def _png(image: object) -> bytes:
    from PIL.Image import Image as Picture

    assert isinstance(image, Picture)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
