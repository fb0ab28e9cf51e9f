"""Sounds of machines, alarms and tools, made procedurally."""

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


def clock(r: Rng) -> Sound:
    per = r.choice([0.25, 0.5, 1.0])
    f = r.uniform(1500, 5000)
    d = r.uniform(0.004, 0.015)
    k = [0]

    def tick() -> Sound:
        k[0] += 1
        g = 1 if k[0] % 2 else r.uniform(0.4, 1)
        n = 3000
        return (
            g
            * env(n, 0.0003, d)
            * (
                np.sin(2 * np.pi * f * (1 if k[0] % 2 else 0.85) * np.arange(n) / SR)
                + 0.6 * noise(r, n)
            ).astype(np.float32)
        )

    return events(r, 1 / per, tick, jit=0.005) + noise(r) * 0.002


def heli(r: Rng) -> Sound:
    rate = r.uniform(9, 22)
    ph = (t * rate) % 1
    e = np.exp(-ph * r.uniform(4, 9))
    return (
        filt(noise(r), 30, r.uniform(500, 1500)) * e
        + 0.3 * filt(noise(r), 500, 4000) * e * slow(r, 0.5, 0.5, 1)
        + 0.25 * filt(harm(np.full(N, rate * r.uniform(5, 9)), r, 25, 0.8), 100, 3000)
    )


def engine(r: Rng, lo: float = 25, hi: float = 60, rough: float = 0.3) -> Sound:
    f = slow(r, r.uniform(0.3, 1.2), lo, hi)
    f = f + slow(r, 20, -rough, rough)
    x = harm(f, r, 40, r.uniform(0.6, 1.1))
    return (
        filt(x * (1 + 0.3 * noise(r)), 20, r.uniform(800, 3000)) + filt(noise(r), 100, 1500) * 0.1
    )


def car(r: Rng) -> Sound:
    return engine(r, 25, r.uniform(40, 90))


def motorcycle(r: Rng) -> Sound:
    return np.tanh(2 * engine(r, 35, r.uniform(70, 140), 2))  # type: ignore[no-any-return]


def chainsaw(r: Rng) -> Sound:
    b = r.uniform(70, 120)
    g = slow(r, r.uniform(0.5, 2))
    f = b * (1 + 0.6 * (g > r.uniform(0.3, 0.6)) * g) + slow(r, 30, -3, 3)
    x = harm(np.convolve(f, np.ones(4000) / 4000, "same"), r, 60, r.uniform(0.3, 0.6))
    return np.tanh(1.5 * (x + 0.8 * filt(noise(r), 800, 8000) * (0.4 + 0.6 * g)))


def drill(r: Rng) -> Sound:
    f = slow(r, 1, 200, 500)
    return np.tanh(harm(f, r, 30, 0.5)) * (0.5 + 0.5 * (slow(r, 1) > 0.3)) + 0.3 * filt(  # type: ignore[no-any-return]
        noise(r), 1500, 9000
    )


def vacuum(r: Rng) -> Sound:
    return harm(np.full(N, r.uniform(180, 400)), r, 20, 0.8) * 0.4 + filt(noise(r), 200, 5000)


def saw(r: Rng) -> Sound:
    p = r.uniform(0.25, 0.5)
    e = np.abs(np.sin(np.pi * t / p))
    return (
        filt(noise(r), 1000, 9000)
        * e
        * (1 + 0.5 * np.sign(np.sin(2 * np.pi * r.uniform(60, 120) * t)))
    )


def siren(r: Rng) -> Sound:
    lo, hi = r.uniform(450, 700), r.uniform(1000, 1500)
    w = r.uniform(0.2, 4)
    k = r.choice(3)
    m = [
        0.5 + 0.5 * np.sin(2 * np.pi * w * t),
        (w * t) % 1,
        (np.sin(2 * np.pi * min(w, 1) * t) > 0) * 1.0,
    ][k]
    return np.tanh(2 * harm(lo + (hi - lo) * m, r, 10, 1.2))  # type: ignore[no-any-return]


def alarm(r: Rng) -> Sound:
    f = r.uniform(1500, 3500)
    return np.sign(np.sin(2 * np.pi * f * t)) * ((t * r.uniform(2, 5)) % 1 < 0.5)


def phone(r: Rng) -> Sound:
    f1, f2 = r.choice([440, 620, 900]), r.choice([480, 750, 1200])
    return (  # type: ignore[no-any-return]
        (np.sin(2 * np.pi * f1 * t) + np.sin(2 * np.pi * f2 * t))
        * ((t % r.uniform(2, 4)) < 1.4)
        * (1 if r.random() < 0.5 else (np.sin(2 * np.pi * 20 * t) > 0))
    )


def bell(r: Rng) -> Sound:
    def b() -> Sound:
        f = r.uniform(200, 1500)
        n = 2 * SR
        k = np.arange(n) / SR
        return sum(  # type: ignore[union-attr]
            a * np.sin(2 * np.pi * f * m * k) * np.exp(-k / d)
            for m, a, d in (
                (0.5, 0.3, 2),
                (1, 1, 1.6),
                (1.19, 0.6, 1.2),
                (1.5, 0.4, 1),
                (2, 0.6, 0.8),
                (2.74, 0.4, 0.5),
                (3.76, 0.3, 0.3),
            )
        ).astype(np.float32)

    return events(r, r.uniform(0.4, 1.5), b, jit=0.2)


def doorbell(r: Rng) -> Sound:
    f = r.uniform(500, 900)
    n = int(1.5 * SR)
    k = np.arange(n) / SR

    def d(f):  # type: ignore[no-untyped-def]
        return (np.sin(2 * np.pi * f * k) + 0.3 * np.sin(6 * np.pi * f * k)) * np.exp(-k / 0.5)

    x = np.zeros(N)
    i = int(r.uniform(0, 1) * SR)
    x[i : i + n] += d(f)  # type: ignore[no-untyped-call]
    j = i + int(0.5 * SR)
    x[j : j + n] += d(f * 0.8)  # type: ignore[no-untyped-call]
    return x.astype(np.float32)


def carhorn(r: Rng) -> Sound:
    f = r.uniform(300, 450)
    on = slow(r, 2) > 0.35
    return (  # type: ignore[no-any-return]
        np.tanh(3 * (harm(np.full(N, f), r, 15, 0.7) + harm(np.full(N, f * 1.26), r, 15, 0.7))) * on
    )


def train(r: Rng) -> Sound:
    p = r.uniform(0.35, 0.8)

    def k():  # type: ignore[no-untyped-def]
        return filt(noise(r, 6000), 60, 1500) * env(6000, 0.002, 0.03) * 2

    x = events(r, 2 / p, k, jit=0.1) + filt(noise(r), 50, 600) * 0.5
    if r.random() < 0.5:
        x += sum(harm(np.full(N, f), r, 6, 1) for f in (311, 370, 466)) * ((t > 1) & (t < 3)) * 0.4
    return x


def plane(r: Rng) -> Sound:
    return filt(noise(r), 80, r.uniform(800, 3000)) * slow(r, 0.3, 0.4, 1) + 0.2 * harm(
        np.full(N, r.uniform(1500, 3500)), r, 2, 1
    ) * slow(r, 0.3, 0.2, 1)


def knock(r: Rng) -> Sound:
    f = r.uniform(150, 400)
    return events(
        r,
        r.uniform(3, 5),
        lambda: (
            (np.sin(2 * np.pi * f * np.arange(4000) / SR) + 0.5 * noise(r, 4000)).astype(np.float32)
            * env(4000, 0.001, 0.02)
        ),
        jit=0.1,
    ) * (slow(r, 0.8) > 0.35)


def keyboard(r: Rng) -> Sound:
    return events(
        r,
        r.uniform(5, 10),
        lambda: filt(noise(r, 1800), 1500, 9000) * env(1800, 0.0005, 0.005) * r.uniform(0.3, 1),
        jit=0.7,
    )


def beep(r: Rng) -> Sound:
    return np.sin(2 * np.pi * r.uniform(500, 3000) * t) * (
        (t * r.uniform(1, 4)) % 1 < r.uniform(0.1, 0.5)
    )


def laser(r: Rng) -> Sound:
    def shot() -> Sound:
        n = int(0.35 * SR)
        k = np.arange(n) / n
        return (np.sin(2 * np.pi * np.cumsum(3500 * np.exp(-3 * k)) / SR) * (1 - k)).astype(
            np.float32
        )

    return events(r, r.uniform(1.5, 4), shot, jit=0.3)
