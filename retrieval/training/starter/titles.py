"""Titles of openclipart: many are those of a collection, and the file's name says what is drawn."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePath

# "Clipart by Nicu Buculei - book 01" is the title of that author's laptops and seals too.
_TEMPLATE = re.compile(r"^clip ?art by [\w .]+ - ", re.IGNORECASE)
_COLLECTION = re.compile(
    r"\b(icons?|iconset|themes?|collection|clip ?arts?|symbols|signs|submission|sibmission)\b",
    re.IGNORECASE,
)
_MANY = 3
_AUTHOR_OF = 3


def retitle(titles: Sequence[str], *, paths: Sequence[PurePath]) -> list[str]:
    """Put a file's name in place of a title that is not of the drawing.

    A title is not of the drawing where three files or more have it, and it names a collection or
    has no word in common with the file and its folders. Parts of a name that most files of the
    title share (`aiga_bus`, `aiga_taxi`) and names of authors behind the name are left out.

    Args:
        titles: [N].
        paths: [N], relative to the library.

    Returns:
        Titles [N]; the old one where the file's name says nothing.

    Example:
        >>> files = ["bus", "taxi", "train"]
        >>> retitle(["AIGA Symbol Signs"] * 3, paths=[PurePath(f"aiga_{n}_1.svg") for n in files])
        ['bus', 'taxi', 'train']
    """
    members: dict[str, list[int]] = defaultdict(list)
    for number, title in enumerate(titles):
        members[title.lower()].append(number)
    authors = _authors(titles, paths=paths)
    out = list(titles)
    for numbers in members.values():
        stems = {n: _words(paths[n].stem) for n in numbers}
        kinds = {tuple(stem) for stem in stems.values()}
        shared = Counter(word for stem in kinds for word in set(stem))
        for n in numbers:
            bare = _TEMPLATE.sub("", titles[n])
            if not _of_collection(titles[n], path=paths[n], n_files=len(numbers)):
                out[n] = bare
                continue
            plain = [w for w in stems[n] if w not in authors]
            own = [w for w in plain if bare != titles[n] or shared[w] <= max(1, len(kinds) / 2)]
            out[n] = " ".join(own or plain) or _raw(paths[n].stem) or bare
    return out


def _of_collection(title: str, *, path: PurePath, n_files: int) -> bool:
    if n_files < _MANY:
        return False
    if _COLLECTION.search(title) or _TEMPLATE.match(title):
        return True
    near = [w for part in path.with_suffix("").parts for w in _words(part)]
    return not any(_alike(a, b) for a in _words(title) for b in near)


def _alike(a: str, b: str) -> bool:
    """Tell whether two words are the same, or one starts with the other (`stick`, `stickmen`)."""
    short, long = sorted((a, b), key=len)
    return long.startswith(short) and (len(short) > 3 or long in (short, f"{short}s"))


def _words(name: str) -> list[str]:
    """Split a file's name or a title: words of three letters or more without digits."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    parts = (re.sub(r"(?<=[a-z]{3})\d+$", "", w) for w in re.split(r"[\W_]+", apart))
    return [w for w in parts if len(w) > 2 and w.isalpha()]


def _raw(stem: str) -> str:
    """Give what is left of a short name (`cd`) without digits."""
    return re.sub(r"[\W\d_]+", " ", stem).strip().lower()


def keyword(title: str, *, path: PurePath) -> str:
    """Give a file's name in words where it has none of the title, else an empty text.

    Example:
        >>> keyword("Tempus Fugit", path=PurePath("animals/clock_horse.svg"))
        'clock horse'
    """
    stem = _words(path.stem)
    known = any(_alike(a, b) for a in _words(title) for b in stem)
    return "" if known else " ".join(stem)


def _authors(titles: Sequence[str], *, paths: Sequence[PurePath]) -> set[str]:
    """Find words that follow the title in the names of files of three titles or more."""
    follow: dict[str, set[str]] = defaultdict(set)
    for title, path in zip(titles, paths, strict=True):
        wanted, stem = _words(title), _words(path.stem)
        if wanted and stem[: len(wanted)] == wanted:
            for word in stem[len(wanted) :]:
                follow[word].add(title.lower())
    return {word for word, of in follow.items() if len(of) >= _AUTHOR_OF}


_LITTLE = {"of", "in", "on", "up", "to", "no", "at", "by", "x", "a"}


def spaced(title: str, *, known: Collection[str]) -> str:
    """Part a title that was written in one word (`bouquetofflowers`) into known words, the fewest.

    Args:
        title: lower case.
        known: words; plurals in s of them are known too.

    Returns:
        The words with spaces, or the title as it was where it is known, or cannot be parted.

    Example:
        >>> spaced("bouquetofflowers", known={"bouquet", "flower", "flow"})
        'bouquet of flowers'
    """
    if " " in title or title in known:
        return title
    best: list[tuple[int, list[str]] | None] = [(0, [])]
    for end in range(1, len(title) + 1):
        ways = []
        for start, before in enumerate(best):
            word = title[start:end]
            usual = len(word) > 2 and (word in known or word.removesuffix("s") in known)
            if before is not None and (usual or word in _LITTLE or word.isdigit()):
                ways.append((before[0] + 1, [*before[1], word]))
        best.append(min(ways, default=None))
    last = best[-1]
    return title if last is None else " ".join(last[1])
