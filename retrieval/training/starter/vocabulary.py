"""Which words get a row of their own in the text table, and what each should mean."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval.training.starter.words import Names

# WordNet's files of nouns for things that can be seen or heard:
# act, animal, artifact, body, food, location, object, person, phenomenon, plant, substance
_PHYSICAL = {4, 5, 6, 8, 13, 15, 17, 18, 19, 20, 27}
_WORD = re.compile(r"[^\W\d_]+")
_CJK = re.compile(r"[\u3400-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Synset:
    """A meaning in WordNet.

    Attributes:
        offset: its id among the nouns.
        kind: number of its lexicographer file.
        lemmas: the words for it.
        parents: offsets of its hypernyms.
        gloss: first clause of its definition.
    """

    offset: int
    kind: int
    lemmas: tuple[str, ...]
    parents: tuple[int, ...]
    gloss: str


def nouns(folder: Path) -> Iterator[Synset]:
    """Read WordNet's nouns.

    Args:
        folder: normally /usr/share/wordnet.

    Yields:
        Every noun synset, in file order.
    """
    with (folder / "data.noun").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("  "):
                continue
            head, gloss = line.split(" | ", 1)
            fields = head.split(" ")
            n_lemmas = int(fields[3], 16)
            lemmas = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(n_lemmas))
            pointers = fields[4 + 2 * n_lemmas + 1 :]
            parents = tuple(
                int(pointers[i + 1])
                for i in range(0, len(pointers) - 1, 4)
                if pointers[i] in ("@", "@i")
            )
            clause = gloss.split(";")[0].split('"')[0].strip()
            yield Synset(int(fields[0]), int(fields[1]), lemmas, parents, clause)


def examples(folder: Path) -> list[str]:
    """Read the example sentences of WordNet's nouns, verbs and adjectives.

    Args:
        folder: normally /usr/share/wordnet.

    Returns:
        What stands in quotes in the glosses, each once, in file order.
    """
    found: list[str] = []
    for kind in ("noun", "verb", "adj"):
        with (folder / f"data.{kind}").open(encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("  "):
                    found += [t.strip(" ;:") for t in line.split(" | ", 1)[1].split('"')[1::2]]
    return list(dict.fromkeys(t for t in found if 3 <= len(t) <= 90))


def lemmas_of(folder: Path, *, kind: str) -> list[str]:
    """List the words of one of WordNet's parts of speech that have been met in running text.

    Args:
        folder: normally /usr/share/wordnet.
        kind: `verb` or `adj`.

    Returns:
        Sorted single words.
    """
    out: list[str] = []
    with (folder / f"index.{kind}").open(encoding="utf-8") as lines:
        for line in lines:
            fields = line.split()
            # lemma, part of speech, senses, n pointers, pointers..., senses, senses tagged in texts
            if not line.startswith("  ") and int(fields[5 + int(fields[3])]) > 0:
                out.append(fields[0])
    return sorted(w for w in out if w.isalpha() and w.isascii() and len(w) > 2)


def physical(synsets: Iterable[Synset]) -> list[Synset]:
    """Keep the meanings that can be seen or heard."""
    return [s for s in synsets if s.kind in _PHYSICAL]


class Kinds:
    """Synonyms and hypernyms of what a title ends (or begins) with.

    Args:
        synsets: all nouns, the commonest meaning of a word first.
    """

    def __init__(self, synsets: Iterable[Synset]) -> None:
        self._at: dict[int, Synset] = {}
        self._first: dict[str, Synset] = {}
        for synset in synsets:
            self._at[synset.offset] = synset
            for lemma in synset.lemmas:
                self._first.setdefault(lemma.lower(), synset)

    def of(self, title: str) -> list[str]:
        """List up to three synonyms and two hypernyms of a title's last two words, or its last."""
        words = re.sub(r"[^a-z ]", " ", title.lower()).split()
        if not words:
            return []
        tries = (" ".join(words[-2:]), " ".join(words[:2]), words[-1], words[-1].removesuffix("s"))
        key = next((t for t in tries if t in self._first), None)
        if key is None:
            return []
        found = self._first[key]
        synonyms = [lemma for lemma in found.lemmas if lemma.lower() != key][:3]
        return synonyms + self.above(found.offset)

    def above(self, offset: int, *, depth: int = 2) -> list[str]:
        """Name the hypernyms of a meaning, the nearest first; none for an unknown one."""
        out: list[str] = []
        synset = self._at.get(offset)
        while synset is not None and synset.parents and len(out) < depth:
            synset = self._at[synset.parents[0]]
            out.append(synset.lemmas[0])
        return out

    def roots(self, offset: int) -> set[int]:
        """List a meaning and everything above it, by all paths."""
        seen: set[int] = set()
        todo = [offset]
        while todo:
            here = todo.pop()
            if here not in seen and here in self._at:
                seen.add(here)
                todo += self._at[here].parents
        return seen

    def meanings(self, word: str) -> set[int]:
        """List the offsets of the meanings of a word, in the case WordNet writes it."""
        return {offset for offset, synset in self._at.items() if word in synset.lemmas}

    def names(self, offset: int) -> tuple[str, ...]:
        """The words for a meaning."""
        return self._at[offset].lemmas


def plain(text: str) -> str:
    """Lower-case a text and strip its accents, as the tokenizer does.

    Args:
        text: any.

    Returns:
        The normalised text.

    Example:
        >>> plain("Éléphant")
        'elephant'
    """
    parts = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in parts if unicodedata.category(c) != "Mn")


def words_of(text: str) -> list[str]:
    """Split a text into normalised words; a run of Chinese is one word.

    Example:
        >>> words_of("Un perro, 大象!")
        ['un', 'perro', '大象']
    """
    return _WORD.findall(plain(text))


def is_chinese(word: str) -> bool:
    """Tell whether a word is written in Chinese characters."""
    return _CJK.fullmatch(word) is not None


def translations(english: Names, foreign: Names) -> dict[str, tuple[str, float]]:
    """Find what a language's names and keywords mean in English.

    Names are translations of each other. Keywords are not paired, so each goes to the English
    keyword or name with which it shares most emoji (Dice coefficient), and to the names of its
    emoji where it has few.

    Args:
        english: hexcode -> (name, keywords).
        foreign: the same emoji in another language.

    Returns:
        Foreign phrase -> (English text, weight in (0, 1]).
    """
    out: dict[str, tuple[str, float]] = {}
    english_at: dict[str, set[str]] = defaultdict(set)
    foreign_at: dict[str, set[str]] = defaultdict(set)
    for code in sorted(english.keys() & foreign.keys()):
        for phrase in {*english[code][1], english[code][0]}:
            english_at[phrase.lower()].add(code)
        for phrase in foreign[code][1]:
            foreign_at[phrase.lower()].add(code)
        out[foreign[code][0].lower()] = (english[code][0], 1.0)
    for phrase, codes in foreign_at.items():
        if phrase in out:
            continue
        shared = Counter(w for code in codes for w in {*english[code][1], english[code][0]})
        scored = [
            (2 * n / (len(codes) + len(english_at[word.lower()])), word)
            for word, n in shared.items()
        ]
        best, word = max(scored, key=lambda pair: (pair[0], -len(pair[1]), pair[1]))
        if best >= 0.5:
            close = sorted(w for score, w in scored if score >= best - 0.1)[:3]
            out[phrase] = (", ".join(close), best)
        elif len(codes) <= 3:
            out[phrase] = (", ".join(english[c][0] for c in sorted(codes)), 0.3)
        else:
            out[phrase] = (word, 0.3 * best)
    return out
