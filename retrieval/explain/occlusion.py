"""Which pieces of a picture, a sound or a text a score hangs on: cover a piece, score again.

drop(piece) = cosine(whole) - cosine(whole without the piece)   (Zeiler and Fergus 2014)
gain(piece) = cosine(the piece alone, drawn large) - mean of all pieces of its size

Nothing is asked of the model but vectors, so every encoder can be explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.errors import InputError
from retrieval.types import Space

__all__ = ["PictureMap", "Piece", "picture_map", "shares", "sound_profile", "word_drops"]

Vectors = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

# Sides of the windows as shares of the picture's, and how far they move at a time.
_COVERED_SIDES, _ALONE_SIDES, _STEP = (0.25, 0.4), (0.4, 0.55), 0.5
_GRID = 24
_BLUR_CELLS = 8
# A second is covered at a time, in steps of a quarter: shorter gaps are filled in by most models.
_GAP_S, _GAP_STEP_S = 1.0, 0.25


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text or sound and what hangs on it.

    Attributes:
        label: the word, or empty for a sound.
        start_s, end_s: where it lies in a sound; None for a word.
        drop: how much the cosine falls without it; negative if it rises.
        share: its part of all positive drops, in [0, 1].
    """

    label: str
    start_s: float | None
    end_s: float | None
    drop: float
    share: float


@dataclass(frozen=True)
class PictureMap:
    """Where in a picture a score comes from.

    Attributes:
        heat: float32 [G, G], how much of the cosine hangs on each cell; row 0 is the top.
        score: cosine of the whole picture.
    """

    heat: npt.NDArray[np.float32]
    score: float

    @property
    def peak(self) -> tuple[float, float]:
        """Give the centre of the hottest cell as (x, y), shares of width and height."""
        row, column = np.unravel_index(int(np.argmax(self.heat)), self.heat.shape)
        n_rows, n_columns = self.heat.shape
        return (float(column) + 0.5) / n_columns, (float(row) + 0.5) / n_rows


def picture_map(pixels: Pixels, *, query: Vectors, encoder: Encoder, space: Space) -> PictureMap:
    """Measure where in a picture a score comes from.

    Windows of several sizes slide over it, beyond its edges too, so that every cell is met equally
    often. Smaller ones (0.25 and 0.4 of the side) are covered by a strong blur of the same picture,
    which adds no edges of its own: their drop. Larger ones (0.4 and 0.55) are looked at alone,
    drawn as large as the picture, as a model sees small things better so: their gain. A cell's
    heat is the mean drop plus the mean gain of the windows over it, each sum divided by the largest
    number of windows of the size over any cell.

    Args:
        pixels: uint8 RGB [S, S, 3], as the encoder wants it.
        query: float32 [D], unit length.
        encoder, space: whose vectors.

    Returns:
        The map, on a grid of 24 x 24.

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> fake = FakeEncoder()
        >>> pixels = np.zeros((32, 32, 3), dtype=np.uint8)
        >>> pixels[20:, 20:, 0] = 255  # red, at the lower right
        >>> red = fake.encode(["red"], modality="text")[0]
        >>> found = picture_map(pixels, query=red, encoder=fake, space=fake.spaces[0])
        >>> x, y = found.peak
        >>> x > 0.5 and y > 0.5
        True
    """
    covered = [_windows(pixels, side) for side in _COVERED_SIDES]
    alone = [_windows(pixels, side) for side in _ALONE_SIDES]
    blurred = _blur(pixels)
    views = [pixels]
    views += [_without(pixels, box, blurred) for boxes in covered for box in boxes]
    views += [_large(pixels, box) for boxes in alone for box in boxes]
    scores = encoder.encode(views, modality="image", space=space) @ query
    heat, at = np.zeros((_GRID, _GRID)), 1
    for boxes in covered:
        heat += _mean_heat(scores[0] - scores[at : at + len(boxes)], boxes, pixels) / len(covered)
        at += len(boxes)
    for boxes in alone:
        own = scores[at : at + len(boxes)]
        heat += _mean_heat(own - own.mean(), boxes, pixels) / len(alone)
        at += len(boxes)
    return PictureMap(heat.astype(np.float32), float(scores[0]))


def sound_profile(
    samples: Samples,
    *,
    sample_rate_hz: int,
    start_s: float = 0.0,
    query: Vectors,
    encoder: Encoder,
    space: Space,
) -> list[Piece]:
    """Measure when in a sound a score comes from: silence one second at a time.

    Args:
        samples: float32 [T] in [-1, 1].
        sample_rate_hz: of the samples, as the encoder wants it.
        start_s: where the samples begin in their file.
        query: float32 [D], unit length.
        encoder, space: whose vectors.

    Returns:
        One piece a quarter second: the mean drop of the silences that cover it.

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> fake = FakeEncoder()
        >>> seconds = np.arange(48_000) / 16_000
        >>> low, high = (np.sin(2 * np.pi * hz * seconds) for hz in (100, 6400))
        >>> hum = np.where(seconds < 2, 0.2 * high, low).astype(np.float32)
        >>> red = fake.encode(["red"], modality="text")[0]
        >>> pieces = sound_profile(hum, sample_rate_hz=16_000, query=red, encoder=fake,
        ...                        space=fake.spaces[0])
        >>> max(pieces, key=lambda piece: piece.drop).start_s >= 2
        True
    """
    step, width = round(_GAP_STEP_S * sample_rate_hz), round(_GAP_S * sample_rate_hz)
    n_pieces = max(1, -(-len(samples) // step))
    starts = range(step - width, len(samples), step)
    views = [samples]
    for start in starts:
        silenced = samples.copy()
        silenced[max(0, start) : start + width] = 0.0
        views.append(silenced)
    scores = encoder.encode(views, modality="audio", space=space) @ query
    total, count = np.zeros(n_pieces), np.zeros(n_pieces)
    for drop, start in zip(scores[0] - scores[1:], starts, strict=True):
        first, last = max(0, start // step), min(n_pieces, (start + width) // step)
        total[first:last] += drop
        count[first:last] += 1
    drops = (total / np.maximum(count, 1)).tolist()
    ends = [min((i + 1) * step, len(samples)) / sample_rate_hz for i in range(n_pieces)]
    return [
        Piece("", start_s + i * step / sample_rate_hz, start_s + end, drop, share)
        for i, (drop, share, end) in enumerate(zip(drops, shares(drops), ends, strict=True))
    ]


def word_drops(
    text: str, *, other: Vectors, encoder: Encoder, space: Space, max_words: int = 64
) -> list[Piece]:
    """Measure which words of a text a score hangs on: leave out one at a time.

    Args:
        text: any; of a long one the first `max_words` words are tried.
        other: float32 [D], unit length, the vector of the other side.
        encoder, space: whose vectors.
        max_words: >= 1.

    Returns:
        One piece a word, in order. Without the only word a text has, nothing is left: its drop is
        the whole cosine.

    Example:
        >>> from retrieval.encoders.fake import FakeEncoder
        >>> fake = FakeEncoder()
        >>> red = fake.encode(["red"], modality="text")[0]
        >>> drops = word_drops("red car", other=red, encoder=fake, space=fake.spaces[0])
        >>> [piece.label for piece in drops if piece.drop > 0]
        ['red']
    """
    if max_words < 1:
        raise InputError(f"max_words is {max_words}; it must be 1 or more")
    words = text.split()
    tried = words[:max_words]
    texts = [text, *(" ".join(words[:i] + words[i + 1 :]) for i in range(len(tried)))]
    scores = encoder.encode(texts, modality="text", space=space) @ other
    drops = (scores[0] - scores[1:]).tolist()
    return [
        Piece(word, None, None, drop, share)
        for word, drop, share in zip(tried, drops, shares(drops), strict=True)
    ]


def shares(drops: Sequence[float]) -> list[float]:
    """Turn drops into shares of all that is positive among them; all 0 where nothing is.

    Example:
        >>> shares([0.3, -0.2, 0.1])
        [0.75, 0.0, 0.25]
    """
    positive = [max(0.0, drop) for drop in drops]
    total = sum(positive)
    return [round(value / total, 6) if total > 0 else 0.0 for value in positive]


_Box = tuple[int, int, int, int]
"""Top, bottom, left, right in pixels."""


def _windows(pixels: Pixels, side: float) -> list[_Box]:
    height, width = pixels.shape[:2]
    return [(t, b, le, r) for t, b in _spans(height, side) for le, r in _spans(width, side)]


def _without(pixels: Pixels, box: _Box, blurred: Pixels) -> Pixels:
    top, bottom, left, right = box
    view = pixels.copy()
    view[top:bottom, left:right] = blurred[top:bottom, left:right]
    return view


def _large(pixels: Pixels, box: _Box) -> Pixels:
    top, bottom, left, right = box
    height, width = pixels.shape[:2]
    piece = pixels[top:bottom, left:right].astype(np.float64)
    drawn = _stretch(_stretch(piece, height, axis=0), width, axis=1)
    return np.clip(drawn + 0.5, 0, 255).astype(np.uint8)


def _mean_heat(
    values: npt.NDArray[np.float32], boxes: Sequence[_Box], pixels: Pixels
) -> npt.NDArray[np.float64]:
    height, width = pixels.shape[:2]
    heat, count = np.zeros((_GRID, _GRID)), np.zeros((_GRID, _GRID))
    for value, (top, bottom, left, right) in zip(values, boxes, strict=True):
        cells = (_cells(top, bottom, height), _cells(left, right, width))
        heat[cells] += value
        count[cells] += 1
    return np.asarray(heat / count.max())


def _spans(length: int, share: float) -> list[tuple[int, int]]:
    """Place windows along a side so that half of the first and last lies outside."""
    side = max(1, round(length * share))
    n = int(np.ceil(length / (side * _STEP))) + 1
    starts = np.linspace(-side / 2, length - side / 2, n).round().astype(int)
    return [(max(0, int(s)), min(length, int(s) + side)) for s in starts]


def _cells(start: int, stop: int, length: int) -> slice:
    return slice(start * _GRID // length, -(-stop * _GRID // length))


def _blur(pixels: Pixels) -> Pixels:
    """Blur by averaging 8 x 8 areas and drawing them smoothly again."""
    height, width = pixels.shape[:2]
    rows = np.linspace(0, height, min(_BLUR_CELLS, height) + 1).astype(int)[:-1]
    columns = np.linspace(0, width, min(_BLUR_CELLS, width) + 1).astype(int)[:-1]
    sums = np.add.reduceat(
        np.add.reduceat(pixels.astype(np.float64), rows, axis=0), columns, axis=1
    )
    sizes = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    coarse = sums / sizes[..., None]
    smooth = _stretch(_stretch(coarse, height, axis=0), width, axis=1)
    return np.clip(smooth + 0.5, 0, 255).astype(np.uint8)


def _stretch(values: npt.NDArray[np.float64], length: int, *, axis: int) -> npt.NDArray[np.float64]:
    n = values.shape[axis]
    at = np.clip((np.arange(length) + 0.5) * n / length - 0.5, 0, n - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, n - 1)
    shape = [1, 1, 1]
    shape[axis] = length
    share = (at - low).reshape(shape)
    return np.asarray(
        np.take(values, low, axis=axis) * (1 - share) + np.take(values, high, axis=axis) * share
    )
