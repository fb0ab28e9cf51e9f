"""Texts and file names as the words that full-text search compares; one rule for both databases.

A word is a run of letters and digits, without case, diacritics and English plural; in scripts that
put no spaces between words every character is one. What comes out holds nothing but letters and
digits, so that no database reads a syntax into it.
"""

from __future__ import annotations

import re
import unicodedata

MAX_WORD_CHARS = 64
"""Longer words are cut: nobody types them."""

_NO_SPACES = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f"[{_NO_SPACES}]|[^\\W_{_NO_SPACES}]+")
_KANA_MARKS = "\u3099\u309a"  # they make another syllable
# Where a file name has no space: IMG2041, RedParrot, red2.
_SEAM = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")


def fold(text: str) -> str:
    """Write a text without case and diacritics, its white space as single spaces.

    Example:
        >>> fold("  Élan\\tVITAL ")
        'elan vital'
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")  # no database takes half characters
        marked = unicodedata.normalize("NFKD", text)
        bare = "".join(c for c in marked if unicodedata.category(c)[0] != "M" or c in _KANA_MARKS)
        text = unicodedata.normalize("NFC", bare)
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    """List the words of a text, in order, with repetitions.

    Example:
        >>> words("Two DOGS, at the café: 東京")
        ['two', 'dog', 'at', 'the', 'cafe', '東', '京']
    """
    return [_singular(word[:MAX_WORD_CHARS]) for word in _WORD.findall(fold(text))]


def path_words(path: str) -> list[str]:
    """List the words of a path: its folders', its name's, and the pieces of joined ones.

    Example:
        >>> path_words("/a/RedParrot2.jpg")
        ['a', 'redparrot2', 'jpg', 'red', 'parrot', '2', 'jpg']
    """
    whole = words(path)
    name = path.rpartition("/")[2]
    pieces = words(_SEAM.sub(" ", name))
    return whole if pieces == words(name) else whole + pieces


def name_forms(path: str) -> tuple[str, str]:
    """Give a file's name and its name without suffix, folded.

    Example:
        >>> name_forms("/a/Beach.2.JPG")
        ('beach.2.jpg', 'beach.2')
    """
    name = fold(path.rpartition("/")[2])
    stem, dot, _ = name.rpartition(".")
    return name, stem if dot and stem else name


def query_words(text: str) -> list[str]:
    """List the words to look for, each once, without those that every sentence has.

    Example:
        >>> query_words("a dog and the other dogs"), query_words("to be or not")
        (['dog', 'other'], ['to', 'be', 'or', 'not'])
    """
    found = list(dict.fromkeys(words(text)))
    telling = [word for word in found if word not in _EMPTY]
    return telling or found


def _singular(word: str) -> str:
    """Take the plural off an English word (the S stemmer of Harman 1991); others lose an s."""
    if len(word) < 4 or not word.isascii() or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    return word if word.endswith(("us", "ss", "is")) else word[:-1]


# Articles, prepositions, pronouns and forms of to be, in the languages of the starter model.
_EMPTY = frozenset(
    words(
        "a an the and or of in on at to for from by with without as be is are was were been it its "
        "this that these those he she they his her their my our your me you we i some any no not "
        "der die das ein eine einer einem einen und oder von im in am an auf zu mit für aus bei "
        "ist sind war ich du er sie es wir ihr mein dein sein nicht dem den des "
        "le la les un une des du de et ou dans sur au aux avec pour par est sont il elle ils je "
        "el los las uno una y o en con por para del al es son su sus se lo"
    )
)
