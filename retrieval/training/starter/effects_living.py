"""Sounds of people and animals, made procedurally."""

from __future__ import annotations

import numpy as np

from retrieval.training.starter.effect_tools import (
    SR,
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


def babycry(r: Rng) -> Sound:
    def cry() -> Sound:
        n = int(r.uniform(0.5, 1.2) * SR)
        k = np.arange(n) / n
        f = r.uniform(380, 520) * (
            1
            + 0.25 * np.sin(np.pi * k)
            + 0.02 * np.sin(2 * np.pi * r.uniform(5, 8) * np.arange(n) / SR)
        )
        x = harm(f, r, 18, 0.4, [(1100, 500, 1), (3000, 900, 0.8), (500, 200, 0.5)])
        return (np.tanh(1.5 * x) * np.sin(np.pi * k) ** 0.4).astype(np.float32)

    return events(r, r.uniform(0.8, 1.2), cry, jit=0.2)


def laugh(r: Rng) -> Sound:
    f0 = r.uniform(150, 380)

    def ha() -> Sound:
        n = int(r.uniform(0.09, 0.16) * SR)
        k = np.arange(n) / n
        x = harm(
            f0 * (1.15 - 0.3 * k) * r.uniform(0.9, 1.1),
            r,
            20,
            0.7,
            [(800, 250, 1), (1300, 300, 0.6), (2600, 500, 0.3)],
        )
        return ((x + 0.4 * filt(noise(r, n), 800, 5000)) * np.sin(np.pi * k)).astype(np.float32)

    return events(r, r.uniform(4, 6), ha, jit=0.15) * (slow(r, 1.5) > 0.3)


def sneeze(r: Rng) -> Sound:
    def s() -> Sound:
        a = int(r.uniform(0.25, 0.6) * SR)
        ka = np.arange(a) / a
        inh = (
            filt(noise(r, a), 800, 4000) * ka**2 * 0.25
            + 0.15 * harm(np.full(a, r.uniform(200, 400)), r, 8, 1) * ka**2
        )
        b = int(r.uniform(0.25, 0.5) * SR)
        kb = np.arange(b) / b
        ex = (
            filt(noise(r, b), 1200, 11000) * np.exp(-kb * 5) * 1.5
            + harm(
                r.uniform(250, 600) * (1.2 - 0.6 * kb),
                r,
                15,
                0.6,
                [(900, 400, 1), (2500, 900, 0.7)],
            )
            * np.exp(-kb * 6)
            * 0.8
        )
        return np.concatenate([inh, ex]).astype(np.float32)

    return events(r, 0.35, s, jit=0.3, first=r.uniform(0, 1))


def cough(r: Rng) -> Sound:
    def c() -> Sound:
        n = int(r.uniform(0.15, 0.3) * SR)
        k = np.arange(n) / n
        return (
            filt(noise(r, n), 300, 4500) * np.exp(-k * 5)
            + 0.5
            * harm(
                r.uniform(120, 280) * (1.1 - 0.3 * k), r, 12, 0.7, [(600, 300, 1), (1500, 500, 0.7)]
            )
            * np.exp(-k * 5)
        ).astype(np.float32)

    return events(r, r.uniform(1, 2.5), c, jit=0.5)


def snore(r: Rng) -> Sound:
    p = r.uniform(2, 3.5)
    e = np.maximum(np.sin(2 * np.pi * t / p), 0) ** 0.7
    return (
        harm(slow(r, 8, 40, 70), r, 40, 0.5, [(400, 300, 1), (1200, 600, 0.6)])
        + 0.5 * filt(noise(r), 100, 2500)
    ) * e


def bark(r: Rng) -> Sound:
    f0 = r.uniform(250, 700)
    big = r.uniform(0.7, 1.3)

    def b() -> Sound:
        n = int(r.uniform(0.12, 0.3) * SR)
        k = np.arange(n) / n
        f = f0 * (1 + 0.5 * np.sin(np.pi * k**0.6))
        x = harm(f, r, 16, 0.4, [(700 * big, 300, 1), (1400 * big, 400, 1), (2600 * big, 600, 0.4)])
        return (  # type: ignore[no-any-return]
            (np.tanh(2 * x) + 0.5 * filt(noise(r, n), 500, 4000)) * np.sin(np.pi * k**0.5) ** 1.2
        ).astype(np.float32)

    return events(r, r.uniform(0.9, 2.5), b, jit=0.5)


def meow(r: Rng) -> Sound:
    def m() -> Sound:
        n = int(r.uniform(0.5, 1.1) * SR)
        k = np.arange(n) / n
        f = r.uniform(450, 750) * (1 + 0.35 * np.sin(np.pi * k) - 0.2 * k)
        c = 900 + 1200 * np.sin(np.pi * k)
        x = np.zeros(n, np.float32)
        ph = 2 * np.pi * np.cumsum(f) / SR
        for h in range(1, 14):
            x += (np.exp(-(((f * h - c) / 600) ** 2)) + 0.05) * np.sin(h * ph) / h**0.3
        return (x * np.sin(np.pi * k) ** 0.6).astype(np.float32)

    return events(r, 0.7, m, jit=0.3)


def rooster(r: Rng) -> Sound:
    def c() -> Sound:
        ps = [(0.15, 0.9), (0.12, 1.1), (0.3, 1.25), (r.uniform(0.7, 1.2), 1.05)]
        out = []
        b = r.uniform(450, 700)
        for i, (d, m) in enumerate(ps):
            n = int(d * SR)
            k = np.arange(n) / n
            f = b * m * (1 + 0.15 * np.sin(np.pi * k)) * (1 - 0.2 * k * (i == 3))
            x = np.tanh(
                1.5 * harm(f, r, 14, 0.3, [(1500, 700, 1), (2800, 900, 0.8), (4500, 900, 0.3)])
            )
            out += [x * np.sin(np.pi * k) ** 0.5, np.zeros(int(0.03 * SR))]
        return np.concatenate(out).astype(np.float32)

    return events(r, 0.35, c, jit=0.3, first=r.uniform(0, 0.8))


def bird(r: Rng) -> Sound:
    b = r.uniform(2200, 6000)

    def c() -> Sound:
        n = int(r.uniform(0.05, 0.25) * SR)
        k = np.arange(n) / n
        f = b * (1 + r.uniform(-0.3, 0.3) * k + 0.15 * np.sin(2 * np.pi * r.uniform(1, 12) * k))
        return (np.sin(2 * np.pi * np.cumsum(f) / SR) * np.sin(np.pi * k)).astype(np.float32)

    return events(r, r.uniform(2, 8), c, jit=0.6) + noise(r) * 0.01


def cricket(r: Rng) -> Sound:
    f = r.uniform(3500, 5500)
    return (
        np.sin(2 * np.pi * f * t)
        * ((t * r.uniform(25, 45)) % 1 < 0.5)
        * ((t * r.uniform(1, 3)) % 1 < 0.6)
    )


def frog(r: Rng) -> Sound:
    def c() -> Sound:
        n = int(r.uniform(0.15, 0.4) * SR)
        k = np.arange(n) / SR
        return (
            harm(np.full(n, r.uniform(90, 200)), r, 30, 0.3, [(700, 250, 1), (1600, 400, 0.5)])
            * (0.5 + 0.5 * np.sign(np.sin(2 * np.pi * r.uniform(25, 50) * k)))
            * env(n, 0.02, 0.2)
        ).astype(np.float32)

    return events(r, r.uniform(1, 3), c, jit=0.4)


def bee(r: Rng) -> Sound:
    return filt(harm(slow(r, 4, 180, 260), r, 25, 0.6), 150, 5000) * slow(r, 1, 0.3, 1)


def owl(r: Rng) -> Sound:
    def h() -> Sound:
        n = int(r.uniform(0.25, 0.6) * SR)
        k = np.arange(n) / n
        return (harm(np.full(n, r.uniform(320, 420)), r, 3, 2) * np.sin(np.pi * k)).astype(
            np.float32
        )

    return events(r, 1.2, h, jit=0.4)


def clap(r: Rng) -> Sound:
    return events(
        r,
        r.uniform(2, 4),
        lambda: filt(noise(r, 4000), 800, 6000) * env(4000, 0.001, 0.012),
        jit=0.1,
    )


def applause(r: Rng) -> Sound:
    return events(
        r,
        r.uniform(80, 300),
        lambda: filt(noise(r, 1500), 800, 6000) * env(1500, 0.001, 0.008) * r.random(),
    )


def footsteps(r: Rng) -> Sound:
    c = r.uniform(200, 1500)
    return (
        events(
            r,
            r.uniform(1.4, 2.6),
            lambda: (
                filt(noise(r, 5000), 80, c * 3)
                * env(5000, 0.003, r.uniform(0.015, 0.04))
                * r.uniform(0.6, 1)
            ),
            jit=0.08,
        )
        + filt(noise(r), 100, 4000) * 0.01
    )


def whistle(r: Rng) -> Sound:
    f = slow(r, 3, 900, 2500)
    return np.sin(2 * np.pi * np.cumsum(f) / SR) * slow(r, 2, 0.3, 1) + 0.02 * noise(r)


def heartbeat(r: Rng) -> Sound:
    p = r.uniform(0.6, 1.1)

    def th():  # type: ignore[no-untyped-def]
        return (
            np.sin(2 * np.pi * r.uniform(45, 70) * np.arange(8000) / SR) * env(8000, 0.01, 0.04)
        ).astype(np.float32)

    return events(
        r,
        1 / p,
        lambda: np.concatenate([th(), np.zeros(int(0.1 * SR), np.float32), th() * 0.7]),  # type: ignore[no-untyped-call]
        jit=0.03,
    )
