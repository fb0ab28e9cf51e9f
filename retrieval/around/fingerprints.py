"""What a picture looks like and a sound sounds like, in bits that survive another encoding."""

from __future__ import annotations

import datetime
import re
from functools import cache

import numpy as np
import numpy.typing as npt

from retrieval.types import MediaSpec

__all__ = [
    "PICTURE_BITS",
    "PICTURE_SPEC",
    "SOUND_SPEC",
    "bit_error",
    "picture_bits",
    "sound_bits",
    "taken_s",
]

Bits = npt.NDArray[np.bool_]

PICTURE_BITS = 128
_SIDE = 32
PICTURE_SPEC = MediaSpec(image_size_px=_SIDE, image_fit="squash", interpolation="bicubic")
"""How a picture is decoded for `picture_bits`: the whole of it, squashed to 32 x 32."""

_RATE_HZ = 8_000
SOUND_SPEC = MediaSpec(sample_rate_hz=_RATE_HZ, window_s=1800.0, hop_s=1800.0)
"""How a sound is decoded for `sound_bits`: in one piece."""

_FRAME, _HOP = 2048, 512
_BANDS = 17
_LOW_HZ, _HIGH_HZ = 300.0, 3400.0

# Offsets tried between two sounds, in frames of 64 ms: encoders add up to a tenth of a second.
_SHIFTS = 8
_SILENCE = 1e-6
_DATE = re.compile(rb"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)\x00")
_HEAD_BYTES = 128 << 10


def picture_bits(pixels: npt.NDArray[np.uint8]) -> Bits:
    """Hash a picture: 64 bits of its coarse frequencies (pHash) and 64 of its gradients (dHash).

    pHash: the 8 x 8 lowest DCT coefficients of the grey picture but the mean, above their median.
    dHash: each of 8 x 9 cells brighter than its right neighbour.

    Args:
        pixels: uint8 RGB [32, 32, 3]; see `PICTURE_SPEC`.

    Returns:
        bool [128]; scaling and re-encoding turn a few bits, another picture about half.

    Example:
        >>> ramp = np.tile(np.arange(32, dtype=np.uint8)[:, None] * 8, (1, 32))
        >>> bits = picture_bits(np.repeat(ramp[..., None], 3, axis=2))
        >>> bits.shape
        (128,)
    """
    grey = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    basis = _dct(_SIDE)[:9]
    low = (basis @ grey @ basis.T)[1:, 1:].ravel()
    # 9 columns do not divide 32: cell edges are rounded, the same for every picture.
    columns = np.stack([part.mean(axis=1) for part in np.array_split(grey, 9, axis=1)], axis=1)
    cells = np.stack([part.mean(axis=0) for part in np.array_split(columns, 8, axis=0)])
    # Half a grey step: in a flat sky the sign of nothing would be noise.
    gradient = (cells[:, :-1] - cells[:, 1:] > 0.5).ravel()
    return np.concatenate([low > np.median(low), gradient])


def sound_bits(samples: npt.NDArray[np.float32]) -> Bits:
    """Fingerprint a sound (Haitsma and Kalker 2002): how band energies change over time.

    bit(t, b) = E(t, b) - E(t, b+1) > E(t-1, b) - E(t-1, b+1), over 17 log-spaced bands from 300
    to 3400 Hz, frames of 256 ms every 64 ms. Frames 60 dB below the loudest are silent: they have
    no bits, so that clips padded with silence are not alike for it.

    Args:
        samples: float32 [T] at 8 kHz; see `SOUND_SPEC`.

    Returns:
        bool [F, 16]; F is 0 for less than two frames.

    Example:
        >>> sound_bits(np.zeros(8000, dtype=np.float32)).shape
        (11, 16)
    """
    if len(samples) < _FRAME + _HOP:
        return np.zeros((0, _BANDS - 1), dtype=np.bool_)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32), axis=1)) ** 2
    bands = power @ _bands()
    energy = np.log(bands + 1e-9)
    slope = energy[:, :-1] - energy[:, 1:]
    loudness = bands.sum(axis=1)
    heard = loudness > _SILENCE * float(loudness.max())
    return np.asarray((slope[1:] > slope[:-1]) & heard[1:, None])


def bit_error(a: Bits, b: Bits) -> float:
    """Measure the share of differing bits of two sounds at their best offset.

    Frames count in which either is heard.

    Args:
        a, b: from `sound_bits`.

    Returns:
        In [0, 1]; 0 for equal sounds, about 0.5 for different ones; 1 where less than a second is
        heard, which is too short to tell, or their lengths differ by more than a tenth.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
        >>> bit_error(sound_bits(noise), sound_bits(noise))
        0.0
    """
    short, long = sorted((len(a), len(b)))
    if short < 2 * _SHIFTS or short < 0.9 * long - _SHIFTS:
        return 1.0
    errors = []
    for shift in range(-_SHIFTS, _SHIFTS + 1):
        left, right = a[max(0, shift) :], b[max(0, -shift) :]
        n = min(len(left), len(right))
        heard = left[:n].any(axis=1) | right[:n].any(axis=1)
        if heard.sum() >= 2 * _SHIFTS:
            errors.append(float(np.mean(left[:n][heard] != right[:n][heard])))
    return min(errors, default=1.0)


def taken_s(head: bytes) -> float | None:
    """Find when a picture was taken: the earliest EXIF date in the first bytes of its file.

    EXIF writes dates as `2024:05:31 18:04:05` and a NUL, in every container; looking for them
    needs no parser that damaged bytes could upset.

    Args:
        head: the file's first bytes.

    Returns:
        Seconds since 1970, as if the camera's clock were UTC; None where there is no date.

    Example:
        >>> taken_s(b"..Exif..1970:01:01 00:01:00" + bytes(1))
        60.0
    """
    times = []
    for found in _DATE.finditer(head[:_HEAD_BYTES]):
        year, month, day, hour, minute, second = (int(group) for group in found.groups())
        try:
            when = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
        except ValueError:  # 0000:00:00 of a camera that was never set
            continue
        times.append(when.timestamp())
    return min(times, default=None)


@cache
def _dct(n: int) -> npt.NDArray[np.float64]:
    """Rows are the cosines of the DCT-II."""
    k, x = np.arange(n)[:, None], np.arange(n)[None, :]
    return np.asarray(np.cos(np.pi * k * (2 * x + 1) / (2 * n)))


@cache
def _bands() -> npt.NDArray[np.float32]:
    """Sum FFT bins into log-spaced bands: float32 [1025, 17]."""
    edges = np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1)
    hz = np.fft.rfftfreq(_FRAME, 1 / _RATE_HZ)
    inside = (hz[:, None] >= edges[:-1]) & (hz[:, None] < edges[1:])
    return inside.astype(np.float32)
