"""Hub correction in real searches: the order is that of brute force, the cosine stays a cosine."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli import crossfind
from PIL import Image

from retrieval.config import load_settings
from retrieval.contents import read_contents
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.evaluation.hubs import tune_hubs
from retrieval.evaluation.relevance import read_relevance
from retrieval.garbage import collect_garbage
from retrieval.query.bank import TEXTS
from retrieval.query.calibrate import Calibrator
from retrieval.query.grammar import make_query
from retrieval.query.hub_search import read_alphas, write_alphas
from retrieval.query.hubs import hub_bias
from retrieval.query.search import search
from retrieval.types import Hit

N = 90
QUERIES = ("red", "blue green", "a violet boat", "white")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hubs")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number, colour in enumerate(rng.integers(0, 256, (N, 3)).tolist()):
        Image.new("RGB", (8, 8), tuple(colour)).save(folder / "pictures" / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def engine(world: Path) -> Iterator[Engine]:
    settings = load_settings({"workers": 1}, environment={}, file=world / "none")
    with Engine.open(world / "store", create=True, model="fake", settings=settings) as opened:
        opened.add(world / "pictures")
        yield opened


def hits_with(
    engine: Engine, query: str, alpha: float, *, k: int = 20, where: str = ""
) -> list[Hit]:
    with engine.serving.reading() as (reader, generation):
        return search(
            make_query(query, k=k, modality="image", where=where, hybrid=False),
            reader=reader,
            generation=generation,
            encoder=engine.encoder,
            loader=engine.serving.loader,
            calibrator=Calibrator(
                reader=reader, generation=generation, encoder=engine.encoder,
                alphas={("text", "image"): alpha},
            ),
        )  # fmt: skip


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("query", QUERIES)
def test_the_order_is_that_of_brute_force(engine: Engine, query: str, alpha: float) -> None:
    found = read_contents(engine)
    bank = engine.encoder.encode(list(TEXTS), modality="text")
    asked = engine.encoder.encode([query], modality="text")[0]
    corrected = found.vectors @ asked - alpha * hub_bias(found.vectors, bank=bank)
    ids = [part.item_id for part in found.parts]
    expected = sorted(zip(-corrected, ids, strict=True))[:20]
    hits = hits_with(engine, query, alpha)
    assert [hit.id for hit in hits] == [id_ for _, id_ in expected]
    cosines = dict(zip(ids, (found.vectors @ asked).tolist(), strict=True))
    assert [hit.score for hit in hits] == pytest.approx([cosines[h.id] for h in hits], abs=1e-5)
    sure = [hit.confidence or 0.0 for hit in hits]
    assert sure == sorted(sure, reverse=True)


def test_a_filter_leaves_no_place_empty(engine: Engine) -> None:
    everyone = [hit.id for hit in hits_with(engine, "red", 0.5, k=N)]
    some = hits_with(engine, "red", 0.5, k=15, where="id < 40")
    assert [hit.id for hit in some] == [id_ for id_ in everyone if id_ < 40][:15]


def test_what_was_chosen_is_used_until_it_is_taken_back(engine: Engine) -> None:
    space = engine.encoder.spaces[0]
    plain = [hit.id for hit in engine.search("red", k=30, hybrid=False)]
    try:
        write_alphas(engine.store, space, {("text", "image"): 1.0})
        with engine.store.lock():
            collect_garbage(engine._catalog, store=engine.store)
        assert read_alphas(engine.store, space) == {("text", "image"): 1.0}
        with engine._catalog.writing() as writer:
            writer.touch()
        told = [hit.id for hit in engine.search("red", k=30, hybrid=False)]
        assert told == [hit.id for hit in hits_with(engine, "red", 1.0, k=30)] != plain
    finally:
        write_alphas(engine.store, space, {("text", "image"): 0.0})
        with engine._catalog.writing() as writer:
            writer.touch()
    assert [hit.id for hit in engine.search("red", k=30, hybrid=False)] == plain


def relevance(path: Path, engine: Engine, alpha: float, *, n: int) -> Path:
    """Call right what a search with a strength finds."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "item"])
        for query in TEXTS[:n]:
            table.writerows([query, hit.path] for hit in hits_with(engine, query, alpha, k=10))
    return path


def test_a_strength_is_chosen_where_it_finds_more_and_nowhere_else(
    engine: Engine, tmp_path: Path
) -> None:
    few = read_relevance(relevance(tmp_path / "few.csv", engine, 1.0, n=5))
    with pytest.raises(UsageError, match="20 queries"):
        tune_hubs(engine, judgements=few)
    right = relevance(tmp_path / "right.csv", engine, 1.0, n=25)
    (choice,) = tune_hubs(engine, judgements=read_relevance(right))
    assert (choice.direction, choice.n_queries) == ("text->image", 25)
    assert choice.alpha > 0.0
    assert choice.hubs == 1.0 > choice.plain
    assert read_alphas(engine.store, engine.encoder.spaces[0]) == {("text", "image"): choice.alpha}
    plain = relevance(tmp_path / "plain.csv", engine, 0.0, n=25)
    store = str(engine.store.root)
    done = crossfind(
        "index",
        "tune",
        "--hubs",
        "--relevance",
        str(plain),
        "--store",
        store,
        "--json",
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)[0]["alpha"] == 0.0
    assert read_alphas(engine.store, engine.encoder.spaces[0]) == {}
