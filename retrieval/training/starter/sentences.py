"""Compose English captions from words, so that the text table meets words beside each other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_COLOURS = (
    "red orange yellow green blue purple pink brown black white grey gray golden silver turquoise "
    "beige violet"
)
_ADJECTIVES = (
    "big small large little old young happy sad wooden metal plastic round square long tall wet "
    "dry hot cold fresh broken striped colorful dark bright fluffy sharp heavy soft empty full "
    "beautiful cute funny wild tiny huge ripe sliced open closed vintage modern toy"
)
_PLACES = (
    "on the grass|in the water|on a table|on a white background|in the street|at night|in the snow|"
    "in a field|under a tree|in the sky|at the beach|in the forest|in a garden|on the wall|"
    "in a room|on the road|in the kitchen|in a zoo|in a bowl|on a plate|in the sun|in the rain"
)
# One or two things, an adjective, a place, an action: {n} noun, {a} adjective, {v} verb in -ing.
_PROMPTS = (
    "a photo of a {a} {n}",
    "a photo of a {n} {p}",
    "a photo of the {n}",
    "a photo of {n}s",
    "a drawing of a {n}",
    "a drawing of a {a} {n}",
    "a cartoon {n}",
    "a picture of {n} and {n}",
    "an illustration of a {n}",
    "an icon of a {n}",
    "a {n}",
    "a {n}.",
    "the {n}",
    "{n}s",
    "two {n}s",
    "many {n}s",
    "some {n}",
    "a {n} and a {n}",
    "a {n} with a {n}",
    "a {n} on a {n}",
    "a {n} under the {n}",
    "a {n} in front of a {n}",
    "a {a} {n} next to a {a} {n}",
    "a {n} {p}",
    "a {a} {n} {p}",
    "{a} {n}",
    "{a} {n}s",
    "the {a} {n}",
    "{n} {n}",
    "{n}, {n}",
    "a {n} {v}",
    "the {n} is {v}",
    "someone {v} a {n}",
    "a man {v} with a {n}",
    "a woman and a {n}",
    "a child {v} {p}",
    "{v}",
    "{n} {v}",
    "sound of {n}",
    "the sound of a {n}",
    "the sound of a {n} {v}",
    "{n} sounds",
    "a {n} is heard",
    "clip art of a {n}",
    "close-up of {n}",
)


@dataclass(frozen=True, slots=True)
class Words:
    """What captions are made of.

    Attributes:
        common: words for things that pictures and sounds are of.
        rare: other nouns.
        verbs: in their base form.
        adjectives: further qualities.
    """

    common: Sequence[str]
    rare: Sequence[str]
    verbs: Sequence[str]
    adjectives: Sequence[str]


def compose(words: Words, *, n: int, seed: int) -> list[str]:
    """Compose captions.

    Args:
        words: what of; two of three nouns are common ones.
        n: how many.
        seed: of the choices.

    Returns:
        Distinct captions, at most `n`.

    Example:
        >>> made = compose(Words(["dog"], ["cat"], ["run"], ["shy"]), n=40, seed=0)
        >>> any("running" in text for text in made)
        True
    """
    rng = random.Random(seed)
    colours, plain, places = _COLOURS.split(), _ADJECTIVES.split(), _PLACES.split("|")

    def noun() -> str:
        return rng.choice(words.common if rng.random() < 2 / 3 else words.rare)

    def quality() -> str:
        kind = rng.random()
        return rng.choice(colours if kind < 0.4 else plain if kind < 0.75 else words.adjectives)

    out: list[str] = []
    for _ in range(n):
        parts = _Parts(noun=noun, quality=quality, verb=lambda: ing(rng.choice(words.verbs)))
        out.append(parts.fill(rng.choice(_PROMPTS), place=rng.choice(places)))
    return list(dict.fromkeys(out))


def ing(verb: str) -> str:
    """Put a verb into its -ing form.

    Args:
        verb: in its base form.

    Returns:
        The form; stress is not known, so short words alone double their last letter.

    Example:
        >>> [ing(v) for v in ("run", "bake", "play", "lie", "see", "open")]
        ['running', 'baking', 'playing', 'lying', 'seeing', 'opening']
    """
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    vowels = [c in "aeiou" for c in verb]
    if len(verb) <= 4 and vowels[-3:] == [False, True, False] and verb[-1] not in "wxy":
        one_beat = sum(vowels) == 1
        return verb + (verb[-1] if one_beat else "") + "ing"
    return verb + "ing"


@dataclass(frozen=True, slots=True)
class _Parts:
    noun: Callable[[], str]
    quality: Callable[[], str]
    verb: Callable[[], str]

    def fill(self, prompt: str, *, place: str) -> str:
        """Fill the places of a prompt, each with a word of its own."""
        for mark, draw in (("{n}", self.noun), ("{a}", self.quality), ("{v}", self.verb)):
            while mark in prompt:
                prompt = prompt.replace(mark, draw(), 1)
        return prompt.replace("{p}", place)
