"""The texts that the text table learns from, with the vectors they should get."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.training.starter.teacher import Teacher
from retrieval.training.starter.vocabulary import Synset, is_chinese, translations, words_of
from retrieval.training.starter.words import Names

Vectors = npt.NDArray[np.float32]

COLOURS = [
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "grey",
    "gray",
    "golden",
    "silver",
    "turquoise",
    "beige",
    "violet",
]
_ADJECTIVES = [
    "big",
    "small",
    "large",
    "little",
    "old",
    "young",
    "happy",
    "sad",
    "wooden",
    "metal",
    "plastic",
    "round",
    "square",
    "long",
    "tall",
    "wet",
    "dry",
    "hot",
    "cold",
    "fresh",
    "broken",
    "striped",
    "colorful",
    "dark",
    "bright",
    "fluffy",
    "sharp",
]
_PROMPTS = (
    "a photo of a {}",
    "a drawing of a {}",
    "a picture of {}",
    "the sound of a {}",
    "an image of the {}",
    "a {} and a {}",
    "{} with {}",
    "a {} on a {}",
    "{} {}",
    "{}s",
    "two {}s",
    "many {}s",
    "a {}.",
    "the {}",
    "some {}",
    "close-up of {}",
    "clip art of a {}",
    "sound of {}",
    "{}ing",
    "{} in the {}",
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """Texts in any language and the vector each should get.

    Attributes:
        texts: [N].
        targets: float32 [N, 384], unit length.
        weights: float32 [N].
    """

    texts: tuple[str, ...]
    targets: Vectors
    weights: npt.NDArray[np.float32]


def taught(texts: Sequence[str], *, teacher: Teacher, cache: Path) -> Vectors:
    """Encode English texts with the teacher, once.

    Args:
        texts: what to encode.
        teacher: the sentence encoder.
        cache: folder in which results are kept, named by the texts' hash.

    Returns:
        float32 [N, 384].
    """
    key = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]
    path = cache / f"taught-{key}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, teacher.encode(texts).astype(np.float16))
    return np.asarray(np.load(path), dtype=np.float32)


def english(
    synsets: Sequence[Synset], *, titles: Sequence[str], n_prompts: int, seed: int
) -> list[str]:
    """Compose the English part: words, definitions, titles, prompts, colours and qualities.

    Args:
        synsets: physical nouns.
        titles: titles and keywords of pictures and sounds.
        n_prompts: composed texts.
        seed: of the choices.

    Returns:
        Distinct texts.
    """
    rng = random.Random(seed)
    lemmas = sorted({w for s in synsets for w in s.lemmas if w[0].islower() and w.count(" ") < 3})
    known = sorted({t for t in titles if 2 <= len(t) <= 40})
    out = list(titles) + rng.sample(lemmas, min(len(lemmas), 16_000))
    out += [s.gloss for s in rng.sample(list(synsets), min(len(synsets), 9_000))]
    for _ in range(n_prompts):
        prompt = rng.choice(_PROMPTS)
        pool = known if known and rng.random() < 0.5 else lemmas
        out.append(prompt.format(*(rng.choice(pool) for _ in range(prompt.count("{}")))))
    for _ in range(n_prompts):
        pool = known if known and rng.random() < 0.5 else lemmas
        quality = rng.choice(COLOURS if rng.random() < 0.6 else _ADJECTIVES)
        out.append(f"{rng.choice(('a ', '', 'the '))}{quality} {rng.choice(pool)}")
    return list(dict.fromkeys(out))


_ARTICLES = {
    "es": ("un ", "una ", "el ", "la ", "los ", "las ", "unos "),
    "fr": ("un ", "une ", "le ", "la ", "les ", "des ", "l'"),
    "de": ("ein ", "eine ", "einen ", "der ", "die ", "das "),
    "it": ("un ", "una ", "il ", "la ", "lo ", "i ", "gli "),
    "pt": ("um ", "uma ", "o ", "a ", "os ", "as "),
    "nl": ("een ", "de ", "het "),
    "zh": ("一个", "一只", "一", "这是", "一条", "一张"),
}


def foreign(
    english_names: Names,
    others: dict[str, Names],
    *,
    teacher: Teacher,
    cache: Path,
    seed: int,
) -> Lesson:
    """Compose the foreign part from CLDR: a phrase should get the vector of its English meaning.

    Args:
        english_names: hexcode -> (name, keywords).
        others: language -> the same.
        teacher: the sentence encoder.
        cache: see `taught`.
        seed: of the choices.

    Returns:
        Phrases alone, with an article, and (Chinese) cut into characters.
    """
    rng = random.Random(seed)
    texts: list[str] = []
    meanings: list[str] = []
    weights: list[float] = []
    for language in sorted(others):
        for phrase, (meaning, weight) in sorted(
            translations(english_names, others[language]).items()
        ):
            if "tone" in meaning or len(words_of(phrase)) > 6:
                continue
            forms = [phrase, rng.choice(_ARTICLES.get(language, ("",))) + phrase]
            if language.startswith("zh"):
                forms += [" ".join(phrase), rng.choice(_ARTICLES["zh"]) + phrase]
            for form in forms:
                texts.append(form)
                meanings.append(meaning)
                weights.append(weight)
    distinct = list(dict.fromkeys(meanings))
    vectors = taught(distinct, teacher=teacher, cache=cache)
    place = {meaning: row for row, meaning in enumerate(distinct)}
    targets = vectors[[place[m] for m in meanings]]
    return Lesson(tuple(texts), targets, np.asarray(weights, dtype=np.float32))


def new_words(others: dict[str, Names], *, known: set[str]) -> list[str]:
    """List the words of CLDR's names and keywords that need rows of their own.

    Args:
        others: language -> hexcode -> (name, keywords).
        known: words that have one.

    Returns:
        Sorted; Chinese words up to 6 characters and each character, others from 3 letters up.
    """
    found: set[str] = set()
    for names in others.values():
        for name, keywords in names.values():
            for phrase in (name, *keywords):
                found.update(words_of(phrase))
    chinese = {w for w in found if is_chinese(w)}
    chosen = {w for w in chinese if len(w) <= 6} | {c for w in chinese for c in w}
    return sorted((chosen | {w for w in found - chinese if len(w) > 2}) - known)
