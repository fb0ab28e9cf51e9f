"""Captions to join models with: read from a file, or made from templates over a vocabulary."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from retrieval.errors import UsageError
from retrieval.training.vocabulary import ADJECTIVES, PLACES, SILENT, THINGS

__all__ = ["make_captions", "read_captions"]

N_CAPTIONS = 20_000
_MOST_BYTES = 256 << 20
_VOWELS = "aeiou"

_SEEN = (
    "a photo of {}",
    "a picture of {}",
    "{}",
    "a drawing of {}",
    "an image of {}",
    "a close-up of {}",
)
_HEARD = ("the sound of {}", "{}", "a recording of {}", "{} can be heard", "someone hears {}")


def make_captions(n_captions: int = N_CAPTIONS, *, seed: int = 0) -> list[str]:
    """Make different captions of things that are seen, heard, or both.

    Both text towers must have something to say about each of them: a caption that only names a
    colour teaches nothing about sounds, so two thirds are about things that sound.

    Args:
        n_captions: how many, at most 100,000.
        seed: of the choice.

    Returns:
        That many different captions; the same for the same seed.

    Raises:
        UsageError: `n_captions` outside 1 to 100,000 (`bad_captions`).

    Example:
        >>> made = make_captions(1000)
        >>> len(made), len(set(made)), made == make_captions(1000)
        (1000, 1000, True)
    """
    if not 1 <= n_captions <= 100_000:
        raise UsageError(
            f"{n_captions} captions were asked for; give 1 to 100,000", code="bad_captions"
        )
    rng = random.Random(seed)
    # Every thing once by its bare name first: it is what people type.
    made = dict.fromkeys([*THINGS, *SILENT][:n_captions])
    kinds: tuple[Callable[[random.Random], str], ...] = (_sounding, _sounding, _heard, _seen, _two)
    while len(made) < n_captions:
        made[rng.choice(kinds)(rng)] = None
    return list(made)


def read_captions(path: Path, *, n_least: int = 100) -> list[str]:
    """Read captions from a text file, one a line; equal and empty lines count once or not.

    Args:
        path: of the file.
        n_least: fewest different ones.

    Raises:
        UsageError: no such file (`path_missing`), too large, not text, or fewer captions than
            `n_least` (`bad_captions`).
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} has more than {_MOST_BYTES >> 20} MB; give fewer captions",
                             code="bad_captions")  # fmt: skip
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UsageError(f"no captions at {path}; name a text file with one a line",
                         code="path_missing") from error  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read captions from {path}: {error}", code="bad_captions"
        ) from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(found) < n_least:
        raise UsageError(f"{path} has {len(found)} different lines; at least {n_least} are needed",
                         code="bad_captions")  # fmt: skip
    return found


def _sounding(rng: random.Random) -> str:
    """A thing that does what is heard, somewhere: both seen and heard."""
    thing = rng.choice([t for t, verbs in THINGS.items() if verbs])
    phrase = f"{_named(thing, rng)} {rng.choice(THINGS[thing])}"
    return phrase if rng.random() < 0.5 else f"{phrase} {rng.choice(PLACES)}"


def _heard(rng: random.Random) -> str:
    return rng.choice(_HEARD).format(_sounding(rng))


def _seen(rng: random.Random) -> str:
    phrase = rng.choice(_SEEN).format(_named(rng.choice([*THINGS, *SILENT]), rng))
    return phrase if rng.random() < 0.6 else f"{phrase} {rng.choice(PLACES)}"


def _two(rng: random.Random) -> str:
    joint = rng.choice(("and", "next to", "while", "with"))
    if joint == "while":
        return f"{_sounding(rng)} while {_sounding(rng)}"
    return f"{_named(rng.choice(list(THINGS)), rng)} {joint} {_named(rng.choice(SILENT), rng)}"


def _named(thing: str, rng: random.Random) -> str:
    whole = thing if rng.random() < 0.6 else f"{rng.choice(ADJECTIVES)} {thing}"
    return f"{'an' if whole[0] in _VOWELS else 'a'} {whole}"
