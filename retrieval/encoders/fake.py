"""A deterministic encoder for tests and dry runs: three modalities meet in one space of colours.

A text stands for the colours it names, a picture for its mean colour, a sound for its pitch (low
is red, high is violet). So "red", a red picture and a low hum are neighbours, by arithmetic that
a test can repeat; words that are no colour get directions of their own.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retrieval.encoders.base import Encoder
from retrieval.types import MediaSpec, Modality, Payload, Space

DIM = 64
_COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "yellow": (1.0, 1.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "blue": (0.0, 0.0, 1.0),
    "violet": (0.5, 0.0, 1.0),
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
}
_LOW_HZ, _HIGH_HZ = 100.0, 6400.0


class FakeEncoder(Encoder):
    """Encode colours, deterministically and without any model.

    Example:
        >>> encoder = FakeEncoder()
        >>> red = np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8)
        >>> words = encoder.encode(["red", "blue"], modality="text")
        >>> picture = encoder.encode([red], modality="image")
        >>> (words @ picture[0]).argmax()
        np.int64(0)
    """

    def __init__(self) -> None:
        self.name = "fake"
        modalities: tuple[Modality, ...] = ("image", "audio", "text")
        fingerprint = hashlib.sha256(b"fake colours 1").hexdigest()
        self.spaces = (Space("fake", "fake", fingerprint, DIM, modalities),)
        self.media = MediaSpec(image_size_px=32, sample_rate_hz=16_000, window_s=4.0, hop_s=2.0)
        self.batch_size = {"image": 64, "audio": 16, "text": 256}

    def _encode_batch(
        self,
        inputs: Sequence[Payload],
        *,
        modality: Modality,
        space: Space,  # noqa: ARG002
    ) -> npt.NDArray[np.float32]:
        write = {"image": _picture, "audio": _sound, "text": _text}[modality]
        return np.stack([write(value) for value in inputs])  # type: ignore[operator]


def _colour(rgb: Sequence[float]) -> npt.NDArray[np.float32]:
    """Place a colour, each channel in [0, 1], in the first dimensions."""
    out = np.zeros(DIM, dtype=np.float32)
    red, green, blue = (float(channel) for channel in rgb)
    out[:6] = red, green, blue, 1 - red, 1 - green, 1 - blue
    return out


def _picture(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    vector = _colour(pixels.reshape(-1, 3).mean(axis=0) / 255.0)
    # A trace of the layout tells two pictures of one colour apart.
    rows = np.array_split(pixels.astype(np.float32).mean(axis=(1, 2)) / 255.0, 8)
    vector[8:16] = 0.05 * np.array([row.mean() if len(row) else 0.0 for row in rows])
    return vector


def _sound(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    spectrum = np.abs(np.fft.rfft(samples))
    pitch_hz = float(np.argmax(spectrum)) * 16_000 / max(1, len(samples))
    octaves = np.log2(np.clip(pitch_hz, _LOW_HZ, _HIGH_HZ) / _LOW_HZ) / 6.0
    vector = _colour(colorsys.hsv_to_rgb(0.75 * octaves, 1.0, 1.0))
    vector[16] = 0.05 * float(np.sqrt(np.mean(samples**2)))
    return vector


def _text(text: str) -> npt.NDArray[np.float32]:
    words = text.lower().split()
    named = [_COLOURS[word] for word in words if word in _COLOURS]
    vector = _colour(np.mean(named, axis=0)) if named else np.zeros(DIM, dtype=np.float32)
    for word in words:
        if word not in _COLOURS:
            seed = int.from_bytes(
                hashlib.sha256(word.encode("utf-8", "replace")).digest()[:8], "big"
            )
            noise = np.random.default_rng(seed).standard_normal(DIM - 24)
            vector[24:] += (0.3 / np.sqrt(DIM)) * noise.astype(np.float32)
    return vector
