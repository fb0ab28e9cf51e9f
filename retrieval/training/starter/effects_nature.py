"""Sounds of weather, water, fire and noise, made procedurally."""

from __future__ import annotations

import numpy as np

from retrieval.training.starter.effect_tools import (
    SR,
    N,
    Rng,
    Sound,
    env,
    events,
    filt,
    harm,
    noise,
    slow,
    t,
)


def rain(r: Rng) -> Sound:
    x = filt(noise(r), r.uniform(300, 1500), r.uniform(5000, 14000)) * slow(r, 0.7, 0.7, 1) * 0.3
    drops = r.uniform(50, 400)
    d = events(
        r,
        drops,
        lambda: noise(r, 200) * env(200, 0.0002, r.uniform(0.0005, 0.002)) * r.random() ** 2 * 2,
    )
    return x + filt(d, 800, 12000) * r.uniform(0.3, 1.2)


def waves(r: Rng) -> Sound:
    p = r.uniform(3, 7)
    ph = r.uniform(0, 6.28)
    e = (0.5 + 0.5 * np.sin(2 * np.pi * t / p + ph)) ** r.uniform(1, 2.5)
    return (
        filt(noise(r), 80, r.uniform(900, 2500)) * (0.15 + e)
        + filt(noise(r), 1500, 8000) * 0.35 * np.roll(e, int(0.4 * SR)) ** 2
    )


def wind(r: Rng) -> Sound:
    return (  # type: ignore[no-any-return]
        sum(
            filt(noise(r), c * 0.7, c * 1.3, 3) * slow(r, r.uniform(0.5, 1.5)) ** 2
            for c in r.uniform(150, 900, 3)
        )
        + filt(noise(r), 30, 300) * slow(r, 1) * 0.5
    )


def fire(r: Rng) -> Sound:
    b = filt(noise(r), 40, r.uniform(300, 900)) * slow(r, 3, 0.2, 0.6) * r.uniform(0.2, 0.8)
    c = events(
        r,
        r.uniform(6, 40),
        lambda: noise(r, 1500) * env(1500, 0.0003, r.uniform(0.0008, 0.006)) * r.random() ** 3 * 4,
    )
    return b + filt(c, 600, r.uniform(6000, 14000))


def thunder(r: Rng) -> Sound:
    x = (
        filt(noise(r), 15, r.uniform(120, 300), 3)
        * np.exp(-np.maximum(t - r.uniform(0.2, 1.5), 0) / r.uniform(1, 2.5))
        * (t > 0.2)
        * slow(r, 4, 0.3, 1)
        * 4
    )
    i = int(0.2 * SR)
    x[i : i + 3000] += filt(noise(r, 3000), 200, 5000) * env(3000, 0.001, 0.02) * 3
    return x + (rain(r) * 0.15 if r.random() < 0.4 else 0)


def _drop(r: Rng) -> Sound:
    n = int(0.06 * SR)
    f = r.uniform(400, 1800) * (1 + 0.6 * np.arange(n) / n)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(f) / SR) * env(n, 0.003, 0.015))


def water(r: Rng) -> Sound:
    return (
        filt(noise(r), 300, 4000) * 0.25 * slow(r, 3, 0.6, 1)
        + events(
            r,
            r.uniform(8, 30),
            lambda: _drop(r),
        )
        * 0.5
    )


def stream(r: Rng) -> Sound:
    return water(r) + filt(noise(r), 400, 6000) * 0.4


def pour(r: Rng) -> Sound:
    slow(r, 0.4, 500, 1500)
    return filt(noise(r), 200, 3000) * 0.2 + sum(
        filt(noise(r), c * 0.9, c * 1.1, 4) * slow(r, 5) for c in (600, 900, 1400)
    )


def glass(r: Rng) -> Sound:
    def g() -> Sound:
        n = int(0.8 * SR)
        k = np.arange(n) / SR
        x = filt(noise(r, n), 3000, 14000) * np.exp(-k / 0.04) * 2
        for _ in range(14):
            s = int(r.uniform(0, 0.35) * SR)
            m = n - s
            kk = np.arange(m) / SR
            x[s:] += (
                0.5
                * r.random()
                * np.sin(2 * np.pi * r.uniform(2500, 9000) * kk)
                * np.exp(-kk / r.uniform(0.01, 0.08))
            )
        return x.astype(np.float32)

    return events(r, 0.5, g, jit=0.4, first=r.uniform(0, 1))


def explosion(r: Rng) -> Sound:
    return (
        filt(noise(r), 20, r.uniform(400, 1200))
        * np.exp(-np.maximum(t - 0.4, 0) / r.uniform(0.4, 1.2))
        * (t > 0.4)
        * 3
    )


def firework(r: Rng) -> Sound:
    def f() -> Sound:
        n = int(1.8 * SR)
        k = np.arange(n) / SR
        x = np.sin(2 * np.pi * np.cumsum(1500 + 1500 * k) / SR) * (k < 0.7) * 0.3
        i = int(0.75 * SR)
        x[i:] += filt(noise(r, n - i), 60, 3000) * np.exp(-k[: n - i] / 0.15) * 2
        return x.astype(np.float32)

    return (
        events(r, 0.7, f, jit=0.4)
        + events(r, 20, lambda: noise(r, 400) * env(400, 0.0003, 0.002) * r.random()) * 0.5
    )


def gun(r: Rng) -> Sound:
    return events(
        r,
        r.uniform(0.6, 8),
        lambda: (
            filt(noise(r, SR // 2), 40, r.uniform(2500, 8000))
            * env(SR // 2, 0.0005, r.uniform(0.03, 0.09))
            * 2
        ),
        jit=0.1,
    )


def white(r: Rng) -> Sound:
    return noise(r)


def hum(r: Rng) -> Sound:
    return harm(np.full(N, r.choice([50.0, 60.0])), r, 20, 1) + 0.02 * noise(r)
