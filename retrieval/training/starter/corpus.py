"""The texts that the text table learns from, with the vectors they should get."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.training.starter.sentences import Words, compose
from retrieval.training.starter.teacher import Teacher
from retrieval.training.starter.vocabulary import Synset, is_chinese, words_of
from retrieval.training.starter.words import Names

Vectors = npt.NDArray[np.float32]
_BLOCK, _DIM = 16_384, 384


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


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many English texts of each kind the table learns from, at most."""

    lemmas: int = 45_000
    glosses: int = 24_000
    spoken: int = 24_000
    captions: int = 90_000


def taught(texts: Sequence[str], *, teacher: Teacher, cache: Path) -> Vectors:
    """Encode English texts with the teacher; each text is encoded once and kept.

    Args:
        texts: what to encode.
        teacher: the sentence encoder.
        cache: folder of blocks `taught-*.npz`: hashes of the texts and their vectors.

    Returns:
        float32 [N, 384].
    """
    cache.mkdir(parents=True, exist_ok=True)
    keys = np.array([text_key(t) for t in texts], dtype=np.uint64)
    known, vectors = _stored(cache)
    fresh = np.flatnonzero(~np.isin(keys, known))
    fresh = fresh[np.unique(keys[fresh], return_index=True)[1]]
    for start in range(0, len(fresh), _BLOCK):
        block = fresh[start : start + _BLOCK]
        found = teacher.encode([texts[i] for i in block]).astype(np.float16)
        name = hashlib.sha256(keys[block].tobytes()).hexdigest()[:16]
        np.savez(cache / f"taught-{name}.npz", keys=keys[block], vectors=found)
    if len(fresh):
        known, vectors = _stored(cache)
    order = np.argsort(known, kind="stable")
    places = order[np.searchsorted(known[order], keys)] if len(keys) else order[:0]
    return np.asarray(vectors[places], dtype=np.float32)


def text_key(text: str) -> int:
    """Hash a text to 64 bits, which name it in the cache."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _stored(cache: Path) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float16]]:
    """Read the keys uint64 [M] and vectors float16 [M, 384] of all blocks."""
    keys, vectors = [np.zeros(0, np.uint64)], [np.zeros((0, _DIM), np.float16)]
    for path in sorted(cache.glob("taught-*.npz")):
        with np.load(path) as block:
            keys.append(block["keys"])
            vectors.append(block["vectors"])
    return np.concatenate(keys), np.concatenate(vectors)


def english(
    synsets: Sequence[Synset],
    *,
    titles: Sequence[str],
    spoken: Sequence[str],
    words: tuple[Sequence[str], Sequence[str]],
    sizes: Sizes,
    seed: int,
) -> list[str]:
    """Compose the English part: words, definitions, sentences, titles and captions.

    Args:
        synsets: physical nouns.
        titles: titles and keywords of pictures and sounds.
        spoken: example sentences.
        words: verbs and adjectives for the captions.
        sizes: how many of each kind.
        seed: of the choices.

    Returns:
        Distinct texts, in an order that mixes the kinds.
    """
    rng = random.Random(seed)

    def some(texts: Sequence[str], n: int) -> list[str]:
        return rng.sample(list(texts), min(len(texts), n))

    lemmas = sorted({w for s in synsets for w in s.lemmas if w[0].islower() and w.count(" ") < 3})
    common = sorted({t for t in titles if 2 <= len(t) <= 30 and t.count(" ") < 3})
    made = compose(Words(common or lemmas, lemmas, *words), n=sizes.captions, seed=seed)
    out = list(titles) + some(lemmas, sizes.lemmas) + some(spoken, sizes.spoken)
    out = list(dict.fromkeys(out + some([s.gloss for s in synsets], sizes.glosses) + made))
    rng.shuffle(out)
    return out


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
