"""The report of the demo, with an engine whose answers are known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import retrieval.demo.run as run_module
from retrieval.demo.run import Demo, DemoSearch, load_demo, run_demo, run_searches
from retrieval.errors import DamagedError, TooNewError
from retrieval.types import Hit, Modality


class KnowingEngine:
    """Puts a chosen expected item of each search at a chosen rank among wrong ones."""

    def __init__(self, demo: Demo, *, ranks: Sequence[int], folder: Path | None = None) -> None:
        self.demo, self.ranks = demo, list(ranks)
        self.folder = folder or demo.media
        self.calls: list[str] = []
        self.asked: list[tuple[str | Path, int, str | None]] = []

    def add(self, *paths: Path) -> object:
        self.calls.append(f"add {[str(path) for path in paths]}")
        return object()

    def build(self) -> object:
        self.calls.append("build")
        return object()

    def search(self, query: str | Path, *, k: int, modality: str | None, hybrid: bool) -> list[Hit]:
        assert not hybrid
        position = len(self.asked)
        self.asked.append((query, k, modality))
        search = self.demo.searches[position]
        names = [i.name for i in self.demo.items if i.modality == modality]
        wrong = [name for name in names if name not in search.expected][:k]
        wrong.insert(self.ranks[position] - 1, search.expected[-1])
        paths = [str(self.folder.joinpath(*name.split("/"))) for name in wrong[:k]]
        found: Modality = search.modality
        return [Hit(rank, rank, path, found, 0.5) for rank, path in enumerate(paths, start=1)]


class FixedEngine:
    """Finds the same hits whatever is asked."""

    def __init__(self, *hits: Hit) -> None:
        self.hits = list(hits)

    def add(self, *paths: Path) -> object:
        return paths

    def build(self) -> object:
        return self

    def search(self, query: str | Path, *, k: int, modality: str | None, hybrid: bool) -> list[Hit]:
        return self.hits if query and modality and not hybrid else self.hits[:k]


@pytest.fixture(scope="module")
def demo() -> Demo:
    return load_demo()


def _ranks(demo: Demo, *missing: int) -> list[int]:
    return [99 if i in missing else 1 + i % 3 for i in range(len(demo.searches))]


def test_the_demo_adds_the_media_folder_then_builds_then_searches(demo: Demo) -> None:
    engine = KnowingEngine(demo, ranks=_ranks(demo))
    run_demo(engine)
    assert engine.calls == [f"add {[str(demo.media)]}", "build"]
    assert len(engine.asked) == len(demo.searches)


def test_files_are_asked_for_as_paths_and_texts_as_strings(demo: Demo) -> None:
    engine = KnowingEngine(demo, ranks=_ranks(demo))
    run_demo(engine, demo=demo, k=7)
    expected = [
        (demo.media / s.query if s.kind == "file" else s.query, 7, s.modality)
        for s in demo.searches
    ]
    assert engine.asked == expected
    assert [type(query) for query, _, _ in engine.asked] == [type(e[0]) for e in expected]


def test_an_expected_item_at_rank_1_2_or_3_passes(demo: Demo) -> None:
    report = run_demo(KnowingEngine(demo, ranks=_ranks(demo)))
    assert [a.best_rank for a in report.answers] == _ranks(demo)
    assert report.n_missed == 0
    assert report.passed


def test_an_expected_item_at_rank_4_is_a_miss_that_says_its_rank(demo: Demo) -> None:
    ranks = _ranks(demo)
    ranks[0] = 4
    report = run_demo(KnowingEngine(demo, ranks=ranks))
    assert report.answers[0].best_rank == 4
    assert not report.answers[0].passed
    assert report.n_missed == 1


def test_two_misses_pass_and_three_fail(demo: Demo) -> None:
    two = run_demo(KnowingEngine(demo, ranks=_ranks(demo, 1, 5)))
    three = run_demo(KnowingEngine(demo, ranks=_ranks(demo, 1, 5, 6)))
    assert (two.n_missed, two.passed) == (2, True)
    assert (three.n_missed, three.passed) == (3, False)
    assert [a.best_rank for a in three.answers if not a.passed] == [None] * 3


def test_a_file_of_the_same_name_elsewhere_is_not_the_expected_item(
    demo: Demo, tmp_path: Path
) -> None:
    report = run_demo(KnowingEngine(demo, ranks=_ranks(demo), folder=tmp_path))
    assert report.n_missed == len(demo.searches)


def test_an_item_known_by_a_copy_or_through_a_link_counts(demo: Demo, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(demo.media, target_is_directory=True)
    linked = run_demo(KnowingEngine(demo, ranks=_ranks(demo), folder=link))
    assert linked.n_missed == 0
    search = demo.searches[0]

    copies = (str(demo.path(search.expected[0])),)
    hit = Hit(1, 1, "/elsewhere/x.webp", search.modality, 0.5, copies=copies)
    one = Demo(demo.media, demo.items, (search,))
    assert run_searches(FixedEngine(hit), demo=one).answers[0].best_rank == 1


def test_no_hits_at_all_is_a_miss(demo: Demo) -> None:
    report = run_demo(FixedEngine())
    assert report.n_missed == len(demo.searches)
    assert not report.passed
    assert report.n_items == len(demo.items)


def test_at_least_three_hits_are_asked_for(demo: Demo) -> None:
    engine = KnowingEngine(demo, ranks=_ranks(demo))
    run_demo(engine, k=1)
    assert {k for _, k, _ in engine.asked} == {3}


def _copy_of_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    shutil.copy(run_module.__file__, tmp_path / "run.py")
    if text is not None:
        (tmp_path / "demo.json").write_text(text, encoding="utf-8")
    monkeypatch.setattr(run_module, "__file__", str(tmp_path / "run.py"))


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", '{"version": 1}', '{"version": 1, "items": [{}], "searches": []}'],
)
def test_a_damaged_demo_json_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    _copy_of_package(tmp_path, monkeypatch, text)
    with pytest.raises(DamagedError, match="install crossfind again"):
        load_demo()


def test_a_search_for_an_unknown_query_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = {"query": "images/none.webp", "kind": "file", "for": "text", "expect": ["texts/a.txt"]}
    raw = {"version": 1, "items": [], "searches": [search]}
    _copy_of_package(tmp_path, monkeypatch, json.dumps(raw))
    with pytest.raises(DamagedError, match=r"none\.webp"):
        load_demo()


def test_a_newer_demo_json_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _copy_of_package(tmp_path, monkeypatch, '{"version": 7, "items": [], "searches": []}')
    with pytest.raises(TooNewError, match=r"version 7.*version 1"):
        load_demo()


def test_a_search_keeps_what_demo_json_says(demo: Demo) -> None:
    raw = json.loads((demo.media.parent / "demo.json").read_text(encoding="utf-8"))["searches"]
    assert [(s.query, s.kind, s.modality, list(s.expected)) for s in demo.searches] == [
        (r["query"], r["kind"], r["for"], r["expect"]) for r in raw
    ]
    assert all(isinstance(search, DemoSearch) for search in demo.searches)
