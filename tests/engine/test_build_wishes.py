"""What an index is asked to be: a factory string, a memory, a recall; and what is told of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli import crossfind

from retrieval import Engine
from retrieval.build_wishes import Wishes
from retrieval.errors import InputError

N = 400


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Texts, searched by the fake model."""
    folder = tmp_path_factory.mktemp("wishes")
    words = ["red", "green", "blue", "dog", "cat", "rain", "train", "sea", "piano", "bread"]
    rng = np.random.default_rng(0)
    table = folder / "texts.csv"
    lines = [" ".join(rng.choice(words, 4)) + f" {row}" for row in range(N)]
    table.write_text("text\n" + "\n".join(lines))
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(table)
    return folder / "store"


QUERIES = ["a red dog", "rain on the sea", "blue train", "bread"]


def _answers(engine):
    return [[hit.id for hit in engine.search(query, k=5)] for query in QUERIES]


def test_a_small_store_stays_exact_until_less_is_asked_for(store, monkeypatch):
    monkeypatch.setattr("index.choose.FASTSCAN_FROM", N)
    with Engine.open(store) as engine:
        (unasked,) = engine.build(force=True)
        truth = _answers(engine)
        (asked,) = engine.build(wishes=Wishes(recall=0.95))
        found = _answers(engine)
        # What stands already is not built again, whether it is asked for or nothing is.
        assert engine.build(wishes=Wishes(recall=0.95)) == engine.build() == []
        assert [report.kind for report in engine.build(wishes=Wishes(recall=1.0))] == ["exact"]
    assert (unasked.kind, asked.kind) == ("exact", "fastscan")
    assert "recall 0.95" in asked.reason
    assert (unasked.recall, asked.reached) == (1.0, True)
    assert asked.recall >= 0.95
    assert "texts" in asked.recall_queries
    shared = sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))
    assert shared >= 0.9 * sum(map(len, truth))


@pytest.mark.parametrize(
    "factory", ["IVF4,SQ8", "PQ8x4fs,RFlat", "HNSW16_SQfp16,Refine(SQfp16)", "IVF4,PQ8x4fs"]
)
def test_an_index_of_a_factory_string_answers_after_reopening(store, factory):
    with Engine.open(store) as engine:
        exact = engine.build(force=True)
        truth = _answers(engine)
        assert [report.kind for report in exact] == ["exact"]
        (report,) = engine.build(force=True, wishes=Wishes(recall=0.99, factory=factory))
    assert (report.kind, report.factory, report.n_vectors) == ("factory", factory, N)
    with Engine.open(store) as engine:
        found = _answers(engine)
        status = engine.status()
    shared = sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))
    assert shared >= 0.9 * sum(map(len, truth))
    (space,) = status.spaces
    assert space.kind == "factory"
    assert {(m.queries, m.items) for m in space.measured} == {("text", "any")}
    assert space.measured[0].recall == pytest.approx(report.recall)
    assert "stored texts" in space.recall_queries


def test_the_plan_is_told_before_it_is_carried_out(store):
    told = []
    with Engine.open(store) as engine:
        engine.build(
            force=True,
            wishes=Wishes(factory="IVF4,SQ8"),
            on_plan=lambda space, plan: told.append((space.id, plan.kind, plan.memory_bytes)),
        )
    assert [kind for _, kind, _ in told] == ["factory"]
    assert told[0][2] == N * 17


def test_what_cannot_be_is_refused_and_the_index_before_still_serves(store):
    with Engine.open(store) as engine:
        engine.build(force=True)
        truth = _answers(engine)
        for wishes in (Wishes(factory="PCA8,Flat"), Wishes(memory_bytes=100)):
            with pytest.raises(InputError):
                engine.build(force=True, wishes=wishes)
        assert _answers(engine) == truth


def test_the_command_line_explains_a_plan_and_shows_what_was_measured(store):
    arguments = ["index", "rebuild", "--store", store, "--explain", "--factory"]
    done = crossfind(*arguments, "IVF4,SQ8", "--json", cwd=store)
    assert done.code == 0, done.err
    assert "plan for" in done.err
    assert "IVF4,SQ8" in done.err
    assert "predicted" in done.err
    assert json.loads(done.out)["built"][0]["factory"] == "IVF4,SQ8"
    assert "text to any" in crossfind("index", "status", "--store", store, cwd=store).out
    refused = crossfind(*arguments, "PCA8,Flat", cwd=store)
    assert refused.code == 2
    assert "subtracts a mean" in refused.err
    assert crossfind(*arguments[:-1], "--memory", "much", cwd=store).code == 2


def test_a_store_without_texts_is_tuned_with_everyday_searches(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(260):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    with Engine.open(tmp_path / "store", create=True, model="fake") as engine:
        engine.add(*tmp_path.glob("*.png"))
        (report,) = engine.build(force=True, wishes=Wishes(factory="IVF4,SQ8", recall=0.9))
    asked = {(m.queries, m.items, m.source) for m in report.measured}
    assert ("text", "any", "everyday searches") in asked
    assert ("text", "image", "everyday searches") in asked
    assert ("image", "any", "stored pictures") in asked
    assert all(0 <= m.recall <= 1 and m.n_queries >= 32 for m in report.measured)
