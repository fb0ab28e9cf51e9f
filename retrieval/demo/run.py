"""Build a store from the demo set, run its searches and say which found what they should."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from retrieval.errors import DamagedError, TooNewError
from retrieval.types import Hit, Modality

__all__ = [
    "Demo",
    "DemoAnswer",
    "DemoEngine",
    "DemoItem",
    "DemoReport",
    "DemoSearch",
    "load_demo",
    "run_demo",
    "run_searches",
]

FORMAT_VERSION = 1
TOP = 3  # an expected item counts when it is among this many first hits
MOST_MISSES = 2  # more searches than this without an expected item fail the demo


@dataclass(frozen=True, slots=True)
class DemoItem:
    """One file of the demo set.

    Attributes:
        name: path below the media folder, with slashes, e.g. `images/cow.webp`.
        modality: image, audio or text.
        concept: the everyday thing it shows, sounds like or speaks of.
        source, author, licence: whom it is owed to; the same as in NOTICE.
    """

    name: str
    modality: Modality
    concept: str
    source: str
    author: str
    licence: str


@dataclass(frozen=True, slots=True)
class DemoSearch:
    """One search of the demo.

    Attributes:
        query: a text, or the name of an item (see `DemoItem`).
        kind: how to read `query`.
        query_modality: modality of the query.
        modality: which items are looked for.
        expected: names of the items of which one has to be among the first three hits.
    """

    query: str
    kind: Literal["text", "file"]
    query_modality: Modality
    modality: Modality
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo set: where its files are, what they are, and what is searched for.

    Attributes:
        media: folder of the files.
        items: in the order of NOTICE.
        searches: in the order in which they run.
    """

    media: Path
    items: tuple[DemoItem, ...]
    searches: tuple[DemoSearch, ...]

    def path(self, name: str) -> Path:
        """Return the absolute path of an item's file."""
        return self.media.joinpath(*name.split("/"))


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """What one search found.

    Attributes:
        search: the search.
        query_path: absolute path of the query file; None for a text.
        hits: best first.
        expected: absolute real paths of the expected items.
        best_rank: rank of the best expected item among the hits, from 1; None if there is none.
    """

    search: DemoSearch
    query_path: Path | None
    hits: tuple[Hit, ...]
    expected: frozenset[str]
    best_rank: int | None

    @property
    def passed(self) -> bool:
        """Say whether an expected item is among the first three hits."""
        return self.best_rank is not None and self.best_rank <= TOP


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What all the searches found.

    Attributes:
        n_items: how many files the demo set has.
        answers: one for each search, in order.
    """

    n_items: int
    answers: tuple[DemoAnswer, ...]

    @property
    def n_missed(self) -> int:
        """Count the searches without an expected item among the first three hits."""
        return sum(not answer.passed for answer in self.answers)

    @property
    def passed(self) -> bool:
        """Say whether at most two searches missed."""
        return self.n_missed <= MOST_MISSES


class DemoEngine(Protocol):
    """What the demo needs of `retrieval.Engine`."""

    def add(self, *paths: Path) -> object:
        """Add files and folders."""

    def build(self) -> object:
        """Build the index."""

    def search(
        self, query: str | Path, *, k: int, modality: str | None, hybrid: bool
    ) -> Sequence[Hit]:
        """Find the items nearest to a text (str) or a file (Path)."""


def load_demo() -> Demo:
    """Read the demo set that ships with the package.

    Returns:
        The items and searches of demo.json, with the folder of the files.

    Raises:
        DamagedError: demo.json is missing or not what was installed.
        TooNewError: demo.json has a version that this crossfind does not know.

    Example:
        >>> demo = load_demo()
        >>> demo.path(demo.items[0].name).is_file()
        True
    """
    folder = Path(__file__).resolve().parent
    try:
        raw = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
        version, items, searches = raw["version"], raw["items"], raw["searches"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{folder / 'demo.json'} cannot be read ({error}); install crossfind again"
        ) from error
    if version != FORMAT_VERSION:
        raise TooNewError(
            f"{folder / 'demo.json'} has version {version}; this crossfind reads version "
            f"{FORMAT_VERSION}: install crossfind again"
        )
    return _demo(folder / "media", items=items, searches=searches)


def run_demo(engine: DemoEngine, *, demo: Demo | None = None, k: int = 5) -> DemoReport:
    """Add the demo set to a store, build its index and run every search.

    Args:
        engine: an open engine; its store may hold other items too.
        demo: the set; the packaged one when left out.
        k: hits to keep of each search, at least 3.

    Returns:
        The hits of each search and whether it found what it should.

    Raises:
        DamagedError: see `load_demo`; also whatever the engine raises.

    Example:
        >>> class Nothing:
        ...     def add(self, *paths): pass
        ...     def build(self): pass
        ...     def search(self, query, *, k, modality, hybrid): return []
        >>> report = run_demo(Nothing())
        >>> report.passed, report.n_missed == len(report.answers)
        (False, True)
    """
    demo = demo or load_demo()
    engine.add(demo.media)
    engine.build()
    return run_searches(engine, demo=demo, k=k)


def run_searches(engine: DemoEngine, *, demo: Demo, k: int = 5) -> DemoReport:
    """Run every search of the demo over a store that holds its files already.

    Args:
        engine: an open engine.
        demo: the set.
        k: hits to keep of each search, at least 3.

    Returns:
        The hits of each search and whether it found what it should.

    Example:
        >>> run_searches(None, demo=Demo(Path("."), items=(), searches=()))
        DemoReport(n_items=0, answers=())
    """
    answers = tuple(_answer(engine, demo=demo, search=search, k=k) for search in demo.searches)
    return DemoReport(n_items=len(demo.items), answers=answers)


def _answer(engine: DemoEngine, *, demo: Demo, search: DemoSearch, k: int) -> DemoAnswer:
    path = demo.path(search.query) if search.kind == "file" else None
    # The names of the demo's files would give the answers away.
    found = engine.search(
        path or search.query, k=max(k, TOP), modality=search.modality, hybrid=False
    )
    hits = tuple(found)
    expected = frozenset(os.path.realpath(demo.path(name)) for name in search.expected)
    ranks = [hit.rank for hit in hits if expected & _real_paths(hit)]
    return DemoAnswer(
        search=search,
        query_path=path,
        hits=hits,
        expected=expected,
        best_rank=min(ranks, default=None),
    )


def _real_paths(hit: Hit) -> set[str]:
    # A store may know the same bytes under several paths; any of them is the expected item.
    return {os.path.realpath(path) for path in (hit.path, *hit.copies)}


def _demo(media: Path, *, items: list[dict[str, str]], searches: list[dict[str, object]]) -> Demo:
    try:
        known = tuple(_item(raw) for raw in items)
        modalities = {item.name: item.modality for item in known}
        wanted = tuple(_search(raw, modalities=modalities) for raw in searches)
    except (KeyError, TypeError) as error:
        raise DamagedError(
            f"{media.parent / 'demo.json'} lacks {error}; install crossfind again"
        ) from error
    return Demo(media=media, items=known, searches=wanted)


def _item(raw: dict[str, str]) -> DemoItem:
    return DemoItem(
        name=raw["path"],
        modality=_modality(raw["modality"]),
        concept=raw["concept"],
        source=raw["source"],
        author=raw["author"],
        licence=raw["licence"],
    )


def _search(raw: dict[str, object], *, modalities: dict[str, Modality]) -> DemoSearch:
    query, expected = str(raw["query"]), raw["expect"]
    if not isinstance(expected, list):
        raise TypeError("a list of expected items")
    kind: Literal["text", "file"] = "file" if raw["kind"] == "file" else "text"
    return DemoSearch(
        query=query,
        kind=kind,
        query_modality=modalities[query] if kind == "file" else "text",
        modality=_modality(str(raw["for"])),
        expected=tuple(str(name) for name in expected),
    )


def _modality(name: str) -> Modality:
    names: dict[str, Modality] = {"image": "image", "audio": "audio", "text": "text"}
    return names[name]
