"""Hybrid search: names first, the bound, coverage against a slow one, filters, pages, switches."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import media_files
import pytest
from colour_media import make_media

from retrieval.catalog.words import path_words, query_words, words
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.query.hybrid import WINDOW, Answer, Wording, allowance, join, read_wording
from retrieval.query.parse import parse
from retrieval.query.rank import Found
from retrieval.types import Hit, Part, Term

TEXTS = [
    f"word{n} {'whale' if n % 4 == 0 else 'heron'} {'blue' if n % 3 else 'red'}" for n in range(90)
]
CAPTIONS = {"0001.png": "a heron at the lake", "0002.png": "Grüße aus Köln", "0003.png": "lakes"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """72 pictures, three with captions, 8 texts, a table of 90 rows, two sounds."""
    folder = tmp_path_factory.mktemp("hybrid")
    media = make_media(folder / "media", n_files=80)
    (media / "rows.csv").write_text("text\n" + "\n".join(TEXTS) + "\n")
    for name, caption in CAPTIONS.items():
        (media / name).with_suffix(".txt").write_text(caption)
    for name, hz in (("Low tone.wav", 100.0), ("high.wav", 6400.0)):
        media_files.wav(media / name, samples=media_files.tone(hz=hz))
    settings = load_settings({"workers": 1}, environment={}, file=folder / "none")
    with Engine.open(folder / "store", create=True, model="fake", settings=settings) as opened:
        opened.add(media)
        yield opened


def names(hits: Sequence[Hit]) -> list[str]:
    return [Path(hit.path).name for hit in hits]


@pytest.mark.parametrize(
    "query", ["0042.png", "0042", "media/0042.png", "0042.PNG", "low tone", "LOW TONE.wav", "high"]
)
def test_an_exact_file_name_ranks_first(engine: Engine, query: str) -> None:
    hits = engine.search(query, k=5)
    expected = {"0042": "0042.png", "media/0042": "0042.png", "low tone": "Low tone.wav"}
    plain = query.lower().removesuffix(".png").removesuffix(".wav")
    assert names(hits)[0] == expected.get(plain, "high.wav")
    assert hits[0].by in ("text", "both")


def test_words_of_a_caption_bring_its_picture(engine: Engine) -> None:
    assert names(engine.search("lake", k=3))[:2] == ["0001.png", "0003.png"]
    assert names(engine.search("gruesse GRUSSE köln", k=1)) == ["0002.png"]
    hits = engine.search("heron lake", k=20)
    assert names(hits)[0] == "0001.png"
    assert {h.by for h in hits} >= {"both"}


def test_without_words_and_when_switched_off_the_vectors_alone_answer(engine: Engine) -> None:
    for query in ("xylophone", "red", "0042"):
        alone = engine.search(query, k=30, hybrid=False)
        assert {hit.by for hit in alone} == {"vector"}
        if query == "xylophone":
            assert engine.search(query, k=30) == alone
    picture = engine.search(Path(engine.search("0042", k=1)[0].path), k=5)
    assert {hit.by for hit in picture} == {"vector"}


def test_filters_and_kinds_hold_for_what_words_bring(engine: Engine) -> None:
    sounds = engine.search("heron", k=50, modality="audio")
    assert {hit.modality for hit in sounds} == {"audio"}
    only = engine.search("heron", k=50, where="path LIKE '%/0001.png' OR format = 'wav'")
    assert names(only)[0] == "0001.png"
    assert len(only) == 3
    assert names(engine.search("0042", k=3, modality="text"))[0] != "0042.png"
    item = engine.search("0042", k=1)[0].id
    assert "0042.png" not in names(engine.search(parse(f'"0042" + #{item}'), k=50))


def test_pages_fit_together(engine: Engine) -> None:
    whole = engine.search("red heron", k=200)
    pages = [engine.search("red heron", k=7, offset=at) for at in range(0, 70, 7)]
    assert [hit for page in pages for hit in page] == whole[:70]
    assert [hit.by for hit in whole] == [
        hit.by for at in range(0, 200, 40) for hit in engine.search("red heron", k=40, offset=at)
    ]
    assert len({hit.id for hit in whole}) == len(whole)
    assert {hit.id for hit in whole} == {h.id for h in engine.search("red", k=200, hybrid=False)}


@pytest.mark.parametrize("query", ["red heron", "whale", "0042", "word7 word8 blue", "lake whale"])
def test_every_hit_of_the_vectors_stays_within_the_bound(engine: Engine, query: str) -> None:
    alone = [hit.id for hit in engine.search(query, k=200, hybrid=False)]
    fused = [hit.id for hit in engine.search(query, k=200)]
    for rank, id_ in enumerate(alone, start=1):
        assert fused.index(id_) + 1 <= rank + allowance(rank)


def test_words_that_the_model_does_not_know_find_what_has_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def know_nothing(*_: object, **__: object) -> None:
        raise UsageError("the query says nothing", code="empty_query")

    monkeypatch.setattr("retrieval.query.search.plan_query", know_nothing)
    found = engine.search("0042", k=3)
    assert (names(found), found[0].score, found[0].by) == (["0042.png"], 0.0, "text")
    assert len(engine.search("heron", k=50)) == WINDOW // 2
    assert names(engine.search("heron", k=50, modality="image")) == ["0001.png"]
    assert names(engine.search("heron", where="format = 'png'")) == ["0001.png"]
    for query, hybrid in (("xylophone", True), ("0042", False)):
        with pytest.raises(UsageError, match="says nothing"):
            engine.search(query, hybrid=hybrid)


def slow_coverage(engine: Engine, query: str) -> dict[int, float]:
    """Read every text of the store and apply the formula."""
    texts: list[tuple[int, set[str], bool]] = []  # item, words, is a name
    with engine._catalog.reading() as reader:
        n_texts = reader.count_texts()
        items = reader.items(range(1, 1000))
        parts = reader.parts_of(items)
    first_row = min(i for i, item in items.items() if item.record)
    for i, item in items.items():
        if item.caption:
            texts.append((i, set(words(item.caption)), False))
        for path in (item.path, *item.copies):
            if not item.record or i == first_row:
                texts.append((i, set(path_words(path.partition("#")[0])), True))
    for part in parts:
        if items[part.item_id].modality == "text":
            texts.append((part.item_id, set(words(part.text or "")), False))
    weight, credit = {}, {}
    for word in query_words(query):
        having = [i for i, own, _ in texts if word in own]
        n_having = len(having)
        weight[word] = max(0.01, math.log((n_texts + 1) / (n_having + 1)) / math.log(n_texts + 1))
        credit[word] = dict.fromkeys(having, 1.0)
        if not having:
            weight[word] = 0.5
            starts = [i for i, own, is_name in texts if is_name and len(word) > 2
                      and any(w.startswith(word) for w in own)]  # fmt: skip
            credit[word] = dict.fromkeys(starts, 0.5)
    total = sum(weight.values())
    shares = {i: sum(weight[w] * credit[w].get(i, 0) for w in weight) / total for i in items}
    return {i: round(share / 0.05) * 0.05 for i, share in shares.items()}


@pytest.mark.parametrize(
    "query",
    ["red", "whale heron", "word7 unknown", "the lake", "hig", "0042", "rows", "Köln word7 blue"],
)
def test_coverage_is_that_of_the_formula(engine: Engine, query: str) -> None:
    expected = {i: c for i, c in slow_coverage(engine, query).items() if c >= 0.3}
    with engine._catalog.reading() as reader:
        found = read_wording(Term(query), reader=reader)
    kept = {i: c for i, c in found.coverage.items() if i not in found.exact}
    assert kept == pytest.approx({i: c for i, c in expected.items() if i not in found.exact})
    assert expected


def test_composed_queries_take_least_most_and_mean(engine: Engine) -> None:
    with engine._catalog.reading() as reader:

        def covered(text: str) -> dict[int, float]:
            return dict(read_wording(parse(text), reader=reader).coverage)

        red, whale = covered('"red"'), covered('"whale"')
        both = {i for i in red if i in whale}
        assert set(covered('"red" AND "whale"')) == both
        assert set(covered('"red" OR "whale"')) == set(red) | set(whale)
        assert set(covered('"3:whale" - "red"')) == set(whale)
        assert covered('"3:whale" - "red"')[min(both)] == pytest.approx(2 / 3)
        assert covered('#1 + "whale"') == whale
        assert covered("#1 AND #2") == covered('#1 - "whale"') == {}


def answer(id_: int, score: float) -> Answer:
    return Answer(Found(Part(id_, id_, "image"), score, score), None)


def best_of(known: dict[int, Answer], ids: Sequence[int], n: int) -> list[Answer]:
    return sorted((known[id_] for id_ in ids), key=lambda one: -one.found.cosine)[:n]


def test_the_bound_holds_for_any_words_and_any_depth() -> None:
    rng = random.Random(3)
    for _ in range(300):
        n, n_items = rng.randint(0, 80), rng.randint(1, 300)
        everyone = rng.sample(range(1, n_items + 1), n_items)
        alone = [answer(id_, 1 / (rank + 1)) for rank, id_ in enumerate(everyone)][:n]
        covered = rng.sample(everyone, rng.randint(1, n_items))
        exact = frozenset(rng.sample(covered, rng.choice([0, 0, 1, min(9, len(covered))])))
        wording = Wording(
            {i: 1.0 if i in exact else rng.choice([0.3, 0.5, 1.0]) for i in covered}, exact, {}
        )
        by_id = {id_: answer(id_, 1 / (rank + 1)) for rank, id_ in enumerate(everyone)}
        fused = join(alone, wording=wording, look_up=partial(best_of, by_id))
        ids = [one.found.part.item_id for one in fused]
        assert len(ids) == len(set(ids))
        assert len(ids) <= n + WINDOW // 2
        place = {id_: rank for rank, id_ in enumerate(ids, start=1)}
        for rank, one in enumerate(alone, start=1):
            assert place[one.found.part.item_id] <= rank + math.ceil(rank / 2)
        if exact:
            assert ids[0] in exact
        for one in fused:
            id_ = one.found.part.item_id
            alone_by_words = id_ not in {a.found.part.item_id for a in alone[:WINDOW]}
            assert (one.by == "vector") == (id_ not in covered)
            if id_ in covered and id_ not in {a.found.part.item_id for a in alone[WINDOW:]}:
                assert (one.by == "text") == alone_by_words
