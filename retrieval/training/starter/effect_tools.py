"""Building blocks of procedural sounds: noise, filters, envelopes, events, harmonics, rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[Any]  # float32 or float64 samples; the public functions give float32
Rng = np.random.Generator

SR = 44_100
N = 5 * SR
t = np.arange(N) / SR


def noise(r: Rng, n: int = N) -> Sound:
    return r.standard_normal(n).astype(np.float32)


def filt(x: Sound, lo: float, hi: float, order: int = 2) -> Sound:
    spectrum = np.fft.rfft(x)
    f = np.fft.rfftfreq(len(x), 1 / SR)
    g = 1 / np.sqrt(1 + (f / hi) ** (2 * order))
    if lo > 0:
        g = g * (1 / np.sqrt(1 + (lo / np.maximum(f, 1e-3)) ** (2 * order)))
    return np.fft.irfft(spectrum * g, len(x)).astype(np.float32)


def slow(r: Rng, hz: float, lo: float = 0.0, hi: float = 1.0) -> Sound:
    k = int(5 * hz) + 4
    p = r.random(k)
    return (lo + (hi - lo) * np.interp(t * hz, np.arange(k), p)).astype(np.float32)


def events(
    r: Rng,
    rate: float,
    make: Callable[[], Sound],
    jit: float = 1.0,
    first: float | None = None,
) -> Sound:
    x = np.zeros(N + SR * 2, np.float32)
    s = r.uniform(0, 1 / rate) if first is None else first
    while s < 5:
        e = make()
        i = int(s * SR)
        x[i : i + len(e)] += e[: len(x) - i]
        s += r.exponential(1 / rate) if jit == 1 else (1 / rate) * r.uniform(1 - jit, 1 + jit)
    return x[:N]


def env(n: int, a: float, d: float) -> Sound:
    k = np.arange(n) / SR
    return (np.minimum(k / max(a, 1e-4), 1) * np.exp(-np.maximum(k - a, 0) / d)).astype(np.float32)


def harm(
    f: Sound,
    r: Rng,
    n: int = 20,
    roll: float = 1.0,
    formants: list[tuple[float, float, float]] | None = None,
) -> Sound:
    ph = 2 * np.pi * np.cumsum(f) / SR
    x = np.zeros(len(f), np.float32)
    for h in range(1, n + 1):
        fh = f * h
        a = h**-roll * (fh < SR / 2.2)
        if formants is not None:
            a = a * sum(g * np.exp(-(((fh - c) / w) ** 2)) for c, w, g in formants) + a * 0.02
        x += (a * np.sin(h * ph + r.uniform(0, 6.28))).astype(np.float32)
    return x


def room(x: Sound, r: Rng) -> Sound:
    x = np.asarray(x, np.float32)
    x = x / max(1e-6, np.abs(x).max())
    if r.random() < 0.5:
        tail = int(r.uniform(0.1, 1.0) * SR)
        ir = noise(r, tail) * np.exp(-np.arange(tail) / SR / r.uniform(0.03, 0.35))
        ir[0] = r.uniform(3, 20)
        n = len(x) + tail
        x = np.fft.irfft(np.fft.rfft(x, n) * np.fft.rfft(ir, n), n)[:N]
    if r.random() < 0.6:
        x = filt(x, r.choice([0, 60, 150]), r.choice([3500, 6000, 9000, 16000]))
    x = x / max(1e-6, np.abs(x).max())
    return (x + noise(r) * 10 ** r.uniform(-4.5, -1.7)).astype(np.float32)
