"""Changing bytes at random, a few times."""

from __future__ import annotations

import random

_PIECES = (
    *(b"(", b")", b"[", b"]", b"{", b"}", b'"', b"'", b":", b",", b"-", b"#", b"\0", b"\xff"),
    *(b"1e999", b"99999999999999999999", b"NaN", b"null", b"\xed\xa0\x80"),
    *(b" AND ", b" OR ", b" NOT "),
)


def mutate(data: bytes, *, rng: random.Random) -> bytes:
    """Flip, insert, delete, repeat or exchange pieces, one to eight times.

    Args:
        data: to be changed.
        rng: seeded.

    Example:
        >>> mutate(b"abc", rng=random.Random(1)) == mutate(b"abc", rng=random.Random(1))
        True
    """
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at, n = rng.randint(0, len(out)), rng.choice((1, 1, 2, 4, 16, 200))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:at] = rng.choice(_PIECES)
        elif kind == 2:
            del out[at : at + n]
        elif kind == 3:
            out[at:at] = out[at : at + n] * rng.randint(1, 20)
        elif kind == 4:
            out[at : at + n] = rng.randbytes(min(n, len(out) - at))
        else:
            other = rng.randint(0, len(out))
            out[at : at + n], out[other : other + n] = out[other : other + n], out[at : at + n]
    return bytes(out[: 1 << 20])
