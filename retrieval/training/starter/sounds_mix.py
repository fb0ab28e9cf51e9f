"""Everyday acoustic scenes from single sounds: what the event teachers are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float32]
Stored = npt.NDArray[np.int16]
Rng = np.random.Generator

RATE_HZ = 22_050
N = 5 * RATE_HZ


@dataclass(frozen=True, slots=True)
class Group:
    """Sounds of one sort.

    Attributes:
        sounds: int16 [T] each, at 22,050 Hz, any length.
        chance: that a layer of a scene is one of them.
        chances: of each sound within the group, summing to 1; None for equal ones.
    """

    sounds: Sequence[Stored]
    chance: float
    chances: npt.NDArray[np.float64] | None = None


def halve(sound: Sound) -> Sound:
    """Bring a sound from 44,100 to 22,050 Hz through its spectrum.

    Args:
        sound: float32 [T] at 44,100 Hz.

    Returns:
        float32 [T // 2].

    Example:
        >>> halve(np.ones(100, np.float32)).round(3).tolist() == [1.0] * 50
        True
    """
    n = len(sound) // 2
    spectrum = np.fft.rfft(sound[: 2 * n])[: n // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, n) / 2, dtype=np.float32)


class Mixer:
    """Make scenes of 5 s: one to three sounds, each bent, repeated and placed anew.

    Args:
        groups: sorts of sounds, their chances summing to 1.
        seed: of everything.
    """

    def __init__(self, groups: Sequence[Group], *, seed: int | Sequence[int]) -> None:
        self._groups = list(groups)
        self._chances = np.array([g.chance for g in groups])
        self._rng = np.random.default_rng(seed)

    def scene(self) -> Sound:
        """Make the next scene: float32 [110250] at 22,050 Hz, peak 0.7 unless silent."""
        r = self._rng
        out = _level(self._layer())
        for _ in range(int(r.choice(3, p=[0.5, 0.36, 0.14]))):
            out = out + 10 ** r.uniform(-1.4, 0.1) * _level(self._layer())
        if r.random() < 0.3:
            out = out + 10 ** r.uniform(-3.5, -0.6) * _level(_noise(r))
        if r.random() < 0.2:
            out = _shaped(out, r, spread=0.0)
        if r.random() < 0.12:
            out = np.tanh(out / np.abs(out).max() * r.uniform(1, 6))
        if r.random() < 0.12:
            knots = r.random(int(r.integers(3, 12))) ** 2
            swell = np.interp(np.arange(N), np.linspace(0, N, len(knots)), knots)
            out = _level(out * swell.astype(np.float32))
        if r.random() < 0.15:
            out = _cut_short(out, r)
        return np.asarray(_level(out) * 0.7, dtype=np.float32)

    def _layer(self) -> Sound:
        r = self._rng
        group = self._groups[int(r.choice(len(self._groups), p=self._chances))]
        sound = group.sounds[int(r.choice(len(group.sounds), p=group.chances))]
        speed = float(2 ** np.clip(r.normal(0, 0.35), -0.9, 0.9)) if r.random() < 0.75 else 1.0
        out = _fill(_resample(sound, speed=speed, rng=r), r)
        if r.random() < 0.55:
            out = _shaped(out, r, spread=0.4)
        if r.random() < 0.3:
            out = _roomy(out, r)
        return out


def _level(sound: Sound) -> Sound:
    return np.asarray(sound / max(1e-5, float(np.abs(sound).max())), dtype=np.float32)


def _resample(stored: Stored, *, speed: float, rng: Rng) -> Sound:
    """Take at most 5 s of a sound, played faster or slower."""
    longest = int(N * speed) + 2
    if len(stored) > longest:
        start = int(rng.integers(0, len(stored) - longest + 1))
        stored = stored[start : start + longest]
    sound = stored.astype(np.float32)
    if speed == 1.0:
        return sound[:N]
    at = np.arange(max(2, int((len(sound) - 1) / speed))) * speed
    return np.asarray(np.interp(at, np.arange(len(sound)), sound)[:N], dtype=np.float32)


def _fill(sound: Sound, r: Rng) -> Sound:
    """Fill 5 s: once somewhere, or again and again with or without pauses."""
    out = np.zeros(N, np.float32)
    if len(sound) >= N:
        return sound[:N]
    again = r.random() < 0.65
    gap = r.choice([0.0, r.uniform(0, 0.4), r.uniform(0.2, 2.0)]) if again else 9.0
    start = 0 if again and r.random() < 0.7 else int(r.integers(0, N - len(sound) + 1))
    while start < N:
        part = sound[: N - start]
        out[start : start + len(part)] += part * (r.uniform(0.5, 1.0) if again else 1.0)
        start += len(sound) + int(gap * r.uniform(0.7, 1.3) * RATE_HZ)
    return out


def _shaped(sound: Sound, r: Rng, *, spread: float) -> Sound:
    """Tilt the spectrum at random; with spread 0 cut what a telephone or a wall would."""
    spectrum = np.fft.rfft(sound)
    f = np.linspace(0, 1, len(spectrum))
    if spread:
        gains = 10 ** np.interp(f**0.4, np.linspace(0, 1, 8), r.normal(0, spread, 8))
    else:
        high, low = r.uniform(0.12, 0.8), r.choice([0.0, 0.01, 0.03])
        gains = 1 / np.sqrt(1 + (f / high) ** 8) * (1 - np.exp(-((f / (low + 1e-6)) ** 2)))
    return np.asarray(np.fft.irfft(spectrum * gains, len(sound)), dtype=np.float32)


def _roomy(sound: Sound, r: Rng) -> Sound:
    tail = int(r.uniform(0.1, 1.2) * RATE_HZ)
    decay = np.exp(-np.arange(tail) / RATE_HZ / r.uniform(0.03, 0.4))
    response = r.standard_normal(tail) * decay
    response[0] = r.uniform(2, 20)
    n = 1 << (len(sound) + tail - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(sound, n) * np.fft.rfft(response, n), n)[: len(sound)]
    return np.asarray(wet, dtype=np.float32)


def _noise(r: Rng) -> Sound:
    """White to brown noise."""
    spectrum = np.fft.rfft(r.standard_normal(N))
    f = np.maximum(np.arange(len(spectrum)), 8) / len(spectrum)
    return np.asarray(np.fft.irfft(spectrum * f ** -r.uniform(0, 1.2), N), dtype=np.float32)


def _cut_short(sound: Sound, r: Rng) -> Sound:
    """End in silence, digital or nearly so, as clips that were padded to a length do."""
    n = int(r.uniform(0.15, 0.9) * N)
    rest = r.standard_normal(N - n) * (10 ** r.uniform(-5, -3.5) if r.random() < 0.5 else 0.0)
    return np.concatenate([_level(sound[:n]), rest.astype(np.float32)])
