"""Which colours the thing in a picture has: shares of twelve basic colour names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "turquoise",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "grey",
)
_GRID = 40
# Hue borders in degrees -> position in COLOURS; hues above the last border are red again.
_HUES = ((14, 0), (42, 1), (68, 2), (162, 3), (195, 4), (258, 5), (300, 6), (342, 7), (361, 0))
_BACKGROUND_DISTANCE = 36.0


def colour_shares(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """Measure the shares of the basic colours, background left out.

    The background is what looks like the border, if at least half of the border is of one colour.
    The middle of the picture counts more than its edge.

    Args:
        pictures: uint8 RGB [S, S, 3], all of one size.

    Returns:
        float32 [N, 12] in the order of `COLOURS`, each row of sum 1.

    Example:
        >>> red = np.full((80, 80, 3), (220, 20, 20), dtype=np.uint8)
        >>> COLOURS[int(colour_shares([red])[0].argmax())]
        'red'
    """
    side = pictures[0].shape[0]
    step = (np.arange(_GRID) + 0.5) * side / _GRID
    at = step.astype(int)
    small = np.stack([p[at][:, at] for p in pictures]).astype(np.float32)
    weights = _foreground(small)
    names = _name(small)
    shares = np.zeros((len(small), len(COLOURS)), dtype=np.float32)
    rows = np.repeat(np.arange(len(small)), _GRID * _GRID)
    np.add.at(shares, (rows, names.reshape(-1)), weights.reshape(-1))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _foreground(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weigh pixels by nearness to the middle; those like a plain border get nearly nothing."""
    border = np.concatenate([small[:, 0], small[:, -1], small[:, :, 0], small[:, :, -1]], axis=1)
    typical = np.median(border, axis=1)
    away = np.abs(border - typical[:, None]).max(axis=2)
    plain = (away < _BACKGROUND_DISTANCE).mean(axis=1) >= 0.5
    like = np.abs(small - typical[:, None, None]).max(axis=3) < _BACKGROUND_DISTANCE
    axis = (np.arange(_GRID) + 0.5) / _GRID * 2 - 1
    middle = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 0.8).astype(np.float32)
    keep = np.where(like & plain[:, None, None], np.float32(0.002), np.float32(1.0))
    return np.asarray(middle * keep, dtype=np.float32)


def _name(small: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Name each pixel by hue, saturation and value."""
    high, low = small.max(axis=3), small.min(axis=3)
    spread = high - low
    safe = np.maximum(spread, 1e-6)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    hue = np.where(
        high == red,
        (green - blue) / safe % 6,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = hue * 60
    saturation = spread / np.maximum(high, 1e-6)
    borders = np.array([h for h, _ in _HUES])
    named = np.array([c for _, c in _HUES])[np.searchsorted(borders, hue, side="right")]
    at = COLOURS.index
    warm = (hue < 50) | (hue >= 342)
    named = np.where(warm & (hue >= 10) & (high < 175) & (saturation > 0.25), at("brown"), named)
    named = np.where(
        ((hue < 14) | (hue >= 300)) & (saturation < 0.55) & (high > 190), at("pink"), named
    )
    pale = (saturation < 0.16) | ((saturation < 0.25) & (high < 90))
    light = np.where(high > 205, at("white"), np.where(high < 70, at("black"), at("grey")))
    named = np.where(pale, light, named)
    return np.asarray(np.where(high < 45, at("black"), named), dtype=np.int64)
