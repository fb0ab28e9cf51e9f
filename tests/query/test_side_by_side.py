"""Queries answered side by side: each as if alone, all of them for few calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import media_files
import numpy as np
import pytest
from colour_media import make_media
from composed_queries import COMPOSED

from retrieval.catalog.read import Reader
from retrieval.config import load_settings
from retrieval.encoders.text_cache import TEXT_CACHE
from retrieval.engine import Engine
from retrieval.errors import CrossfindError, NotFoundError, UsageError
from retrieval.query.grammar import make_query
from retrieval.query.open_space import OpenSpace
from retrieval.query.parse import parse
from retrieval.query.rows import RowCache
from retrieval.types import Expression, Hit, Query

WORDS = ("red", "dark red", "green grass", "0042", "word7", "blue", "nothing like it", "whale")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Pictures with and without captions, texts, rows of a table and two sounds."""
    folder = tmp_path_factory.mktemp("side")
    media = make_media(folder / "media", n_files=80)
    (media / "rows.csv").write_text("text\n" + "\n".join(f"word{n} whale" for n in range(40)))
    for name, hz in (("low.wav", 100.0), ("high.wav", 6400.0)):
        media_files.wav(media / name, samples=media_files.tone(hz=hz))
    settings = load_settings({"workers": 1}, environment={}, file=folder / "none")
    with Engine.open(folder / "store", create=True, model="fake", settings=settings) as opened:
        opened.add(media)
        opened.search("warm")
        yield opened


def query(value: str | Path | int | Expression, **options: object) -> Query:
    return make_query(value, **{"k": 10, "modality": None, **options})  # type: ignore[arg-type]


def forget(engine: Engine) -> None:
    """Let nothing be remembered of earlier searches."""
    generation = engine.serving.generation
    assert generation is not None
    generation.rows = RowCache()
    TEXT_CACHE._vectors.clear()


def told(outcome: list[Hit] | CrossfindError) -> object:
    if isinstance(outcome, CrossfindError):
        return type(outcome), outcome.code, str(outcome)
    return [(h.rank, h.id, h.path, h.score, h.z, h.confidence, h.by, h.text) for h in outcome]


def alone(engine: Engine, one: Query) -> object:
    forget(engine)
    return told(engine.search_each([one])[0])


def test_each_of_many_gets_the_answer_it_gets_alone(engine: Engine) -> None:
    plain = [query(word) for word in WORDS]
    stored = [query(1), query(7, k=3), query(5, modality="image")]
    narrow = [query(word, modality="text", where="size_bytes > 0", offset=2) for word in WORDS[:3]]
    vectors = [query("red", hybrid=False), query("blue", k=50), query("blue", k=50, offset=10)]
    composed = [query(parse(text)) for text in COMPOSED[::3] if "./" not in text]
    asked = [*plain, *stored, *narrow, *vectors, *composed]
    expected = [alone(engine, one) for one in asked]
    forget(engine)
    assert [told(outcome) for outcome in engine.search_each(asked)] == expected
    assert len(asked) > 25


def test_a_query_that_fails_costs_no_other_its_answer(engine: Engine) -> None:
    bad = [query("red", where="nothing = 3"), query(10_000), query("red", min_confidence=1.0)]
    asked = [query("red"), bad[0], query("blue"), bad[1], bad[2], query(1)]
    outcomes = engine.search_each(asked)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [list, UsageError, list, NotFoundError, UsageError, list]
    assert [told(outcome) for outcome in outcomes] == [alone(engine, one) for one in asked]


def test_many_cost_few_calls(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(engine)
    calls: dict[str, int] = {}

    def counting(owner: type, name: str) -> None:
        inner = getattr(owner, name)

        def counted(self: object, *given: object, **named: object) -> object:
            calls[name] = calls.get(name, 0) + 1
            return inner(self, *given, **named)

        monkeypatch.setattr(owner, name, counted)

    counting(type(engine.encoder), "_encode_batch")
    counting(OpenSpace, "search")
    for name in ("parts", "items", "has_texts_with"):
        counting(Reader, name)
    outcomes = engine.search_each([query(f"strange{n}") for n in range(32)])
    assert all(isinstance(outcome, list) and len(outcome) == 10 for outcome in outcomes)
    assert calls["_encode_batch"] == 1
    assert calls["search"] <= 3  # one for each kind of part
    assert calls["parts"] <= 8  # more than one only for ties at the last place
    assert (calls["items"], calls["has_texts_with"]) == (1, 1)


def test_stored_vectors_are_found_in_segments_of_any_order(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = engine.serving.generation
    assert generation is not None
    (opened,) = generation.spaces.values()
    ids = opened.ids()
    wanted = np.concatenate([ids[::-3], ids[:2], [10**9, 0]])
    (entry,) = opened._segments
    segment = opened._open_segment(entry)
    assert segment is not None
    whole = segment.vectors(0, len(segment.ids))
    mixed = np.random.default_rng(0).permutation(len(segment.ids))
    for order in (np.arange(len(ids)), mixed):
        monkeypatch.setattr(opened, "_opened", {entry.info.name: _Mixed(segment.ids, whole, order)})
        monkeypatch.setattr(opened, "_orders", {})
        found, vectors = opened.lookup(wanted)
        there = np.isin(segment.ids[order], wanted)
        assert found.tolist() == segment.ids[order][there].tolist()
        assert np.array_equal(vectors, whole[order][there])


class _Mixed:
    """A segment with its rows in another order."""

    def __init__(self, ids: np.ndarray, vectors: np.ndarray, order: np.ndarray) -> None:
        self.ids, self._vectors = ids[order], vectors[order]

    def vectors(self, start: int, stop: int) -> np.ndarray:
        return self._vectors[start:stop]
