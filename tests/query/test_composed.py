"""Composed searches over a small store, against arithmetic with numpy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import media_files
import numpy as np
import pytest
from cli import crossfind
from colour_media import make_media
from hit_names import names
from PIL import Image

from index.segments import open_segment
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.query.json_form import expression_to_json, read_expression
from retrieval.query.parse import parse
from retrieval.types import Either, Every, Expression, Sum, Term


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 pictures and texts of colours, 2 sounds: too few of each for calibration."""
    folder = tmp_path_factory.mktemp("composed")
    make_media(folder / "media", n_files=25)
    for name, hz in (("low", 100.0), ("high", 6400.0)):
        media_files.wav(folder / "media" / f"{name}.wav", samples=media_files.tone(hz=hz))
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    settings = load_settings({"workers": 1}, environment={}, file=folder / "none")
    with Engine.open(folder / ".crossfind", create=True, model="fake", settings=settings) as opened:
        opened.add(folder / "media")
        yield opened


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def direction(engine: Engine, expression: Term | Sum) -> np.ndarray:
    if isinstance(expression, Sum):
        return unit(sum(w * direction(engine, part) for w, part in expression.parts))  # type: ignore[arg-type]
    if expression.kind == "text":
        return engine.encoder.encode([expression.value], modality="text")[0]
    item = int(expression.value) if expression.kind == "item" else engine.item(expression.value).id  # type: ignore[union-attr]
    with engine._catalog.reading() as reader:
        (part,) = reader.part_ids(item_id=item).tolist()
    return dict(stored(engine))[part]


def stored(engine: Engine) -> Iterator[tuple[int, np.ndarray]]:
    with engine._catalog.reading() as reader:
        entries = reader.segments()
    for entry in entries:
        segment = open_segment(engine.store.segments / entry.info.name)
        yield from zip(segment.ids.tolist(), segment.vectors(0, len(segment.ids)), strict=True)


def score(engine: Engine, expression: Expression, vector: np.ndarray) -> float:
    if isinstance(expression, Every | Either):
        parts = [score(engine, part, vector) for part in expression.parts]
        return min(parts) if isinstance(expression, Every) else max(parts)
    return float(direction(engine, expression) @ vector)


QUERIES = [
    '"2:red" - blue', '"red" + "green"', '"red" + ./media/0003.png - "0.5:violet"', '#4 - #5',
    '"red" AND "green"', '"red" OR "blue"', '("red" OR "blue") AND ("white" + "green")',
    '"red" AND ./media/low.wav', '#3 OR #7', '"red" AND "green" AND "blue"', '- "red" + "green"',
    '"red" AND "zanzibar"', './media/high.wav + "red"', '3:("red" + "green") - "blue"',
]  # fmt: skip


@pytest.mark.parametrize("text", QUERIES)
@pytest.mark.parametrize("k", [1, 3, 100])
def test_a_composed_search_ranks_as_arithmetic_does(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, k: int
) -> None:
    monkeypatch.chdir(folder)
    expression = parse(text)
    hits = engine.search(expression, k=k, hybrid=False)
    own = {int(t[1:]) for t in text.split() if t.startswith("#")}
    own |= {engine.item(t).id for t in text.replace('"', "").split() if t.startswith("./")}  # type: ignore[union-attr]
    with engine._catalog.reading() as reader:
        parts = reader.parts(reader.part_ids().tolist())
    best = {parts[i].item_id: score(engine, expression, v) for i, v in stored(engine)}
    expected = sorted((i for i in best if i not in own), key=lambda i: (-best[i], i))[:k]
    # Stored vectors are rounded to float16, a file's own is not.
    assert np.allclose([h.score for h in hits], [best[i] for i in expected], atol=1e-4)
    assert np.allclose([best[h.id] for h in hits], [best[i] for i in expected], atol=1e-4)
    assert len({h.id for h in hits}) == len(expected)
    assert all(-1.0 <= h.score <= 1.0 for h in hits)
    assert own.isdisjoint(h.id for h in hits)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('"red" + "blue"', '"blue" + "red"'),
        ('2:"red" + "2:blue"', '"red" + "blue"'),
        ('"red" AND "blue"', '"blue" AND "red"'),
        ('"red" OR "blue"', '"blue" OR "red"'),
        ('"red" AND "red"', '"red"'),
        ('"red" OR ("red" AND "blue")', '"red"'),
        ('("red" AND "blue") AND "green"', '"red" AND ("blue" AND "green")'),
        ('"red" AND ("blue" OR "green")', '("red" AND "blue") OR ("red" AND "green")'),
        ('"red" - "blue" + "blue"', '"red"'),
        ('"red" + "red"', '"red"'),
    ],
)
def test_algebraic_laws_hold(engine: Engine, left: str, right: str) -> None:
    one, other = engine.search(parse(left), k=30), engine.search(parse(right), k=30)
    assert np.allclose([h.score for h in one], [h.score for h in other], atol=1e-5)
    scores = {h.id: h.score for h in other}
    assert np.allclose([h.score for h in one], [scores[h.id] for h in one], atol=1e-5)


def test_what_cancels_out_says_so(engine: Engine) -> None:
    with pytest.raises(UsageError, match="other words"):
        engine.search(parse('"red" - "red"'))


def test_command_line_python_and_json_give_the_same(engine: Engine, folder: Path) -> None:
    text = '"2:red" + ./media/low.wav - #3'
    expression = parse(text)
    expression = Sum(
        tuple(
            (w, Term(str(folder / "media" / "low.wav"), kind="file") if t.kind == "file" else t)  # type: ignore[union-attr]
            for w, t in expression.parts  # type: ignore[union-attr]
        )
    )
    hits = engine.search(expression, k=9)
    again = engine.search(
        read_expression(json.loads(json.dumps(expression_to_json(expression)))), k=9
    )
    done = crossfind("search", text, "-k", "9", "--json", cwd=folder)
    split = crossfind(
        "search", "2:red", "+", "./media/low.wav", "-", "#3", "-k", "9", "--json", cwd=folder
    )
    assert done.code == split.code == 0, done.err + split.err
    rows = json.loads(done.out)["hits"]
    assert hits == again
    assert [(r["id"], r["score"]) for r in rows] == [(h.id, h.score) for h in hits]
    assert json.loads(split.out)["hits"] == rows


def test_a_bad_composed_query_is_one_line_with_its_column(engine: Engine, folder: Path) -> None:
    done = crossfind("search", '"red" +', cwd=folder)
    assert done.code == 2
    assert done.err.startswith("error: column 8:")
    assert done.err.count("\n") == 1


def test_a_crop_of_a_picture_is_searched_alone(engine: Engine, tmp_path: Path) -> None:
    halves = Image.new("RGB", (300, 100), (255, 0, 0))
    halves.paste((0, 0, 255), (150, 0, 300, 100))
    halves.save(tmp_path / "halves.png")
    left, right, both = (
        engine.search(Term(str(tmp_path / "halves.png"), kind="file", crop=crop), k=100)
        for crop in ((0.0, 0.0, 0.45, 1.0), (0.55, 0.2, 1.0, 0.9), None)
    )
    for hits, colour in ((left, "red"), (right, "blue")):
        solid = tmp_path / f"{colour}.png"
        Image.new("RGB", (30, 30), colour).save(solid)
        whole = engine.search(solid, k=100)
        assert [h.id for h in hits] == [h.id for h in whole]
        assert np.allclose([h.score for h in hits], [h.score for h in whole], atol=1e-3)
    assert [h.score for h in both] != [h.score for h in left]


def test_a_slice_of_a_sound_is_searched_alone(engine: Engine, tmp_path: Path) -> None:
    low = media_files.tone(seconds=5.0, hz=100.0)
    high = media_files.tone(seconds=5.0, hz=6400.0)
    media_files.wav(tmp_path / "both.wav", samples=np.concatenate([low, high]))
    path = str(tmp_path / "both.wav")
    first = engine.search(Term(path, kind="file", slice_s=(0.0, 4.0)), k=1, modality="audio")
    last = engine.search(Term(path, kind="file", slice_s=(6.0, 9.0)), k=1, modality="audio")
    assert (names(first), names(last)) == (["low.wav"], ["high.wav"])
    with pytest.raises(UsageError, match="s long"):
        engine.search(Term(path, kind="file", slice_s=(60.0, 61.0)))


def test_crops_and_slices_need_the_right_kind_of_file(engine: Engine, folder: Path) -> None:
    sound, picture = (str(folder / "media" / n) for n in ("low.wav", "0001.png"))
    with pytest.raises(UsageError, match="a crop needs a picture"):
        engine.search(Term(sound, kind="file", crop=(0.0, 0.0, 1.0, 0.5)))
    with pytest.raises(UsageError, match="a slice needs a sound"):
        engine.search(Term(picture, kind="file", slice_s=(0.0, 1.0)))


def test_more_and_less_like_move_the_query(engine: Engine, folder: Path) -> None:
    done = crossfind(
        "search", "red", "--more-like", "3", "--less-like", "5", "-k", "5", "--json", cwd=folder
    )
    assert done.code == 0, done.err
    vector = direction(
        engine,
        Sum(((1.0, Term("red")), (0.75, Term("3", kind="item")), (-0.15, Term("5", kind="item")))),
    )
    rows = json.loads(done.out)["hits"]
    assert {3, 5}.isdisjoint(r["id"] for r in rows)
    table = dict(stored(engine))
    with engine._catalog.reading() as reader:
        part = {r["id"]: reader.part_ids(item_id=r["id"]).tolist()[0] for r in rows}
    assert np.allclose([r["score"] for r in rows], [table[part[r["id"]]] @ vector for r in rows])


def test_where_narrows_every_kind_of_search(engine: Engine, folder: Path) -> None:
    everything = engine.search("red", k=100)
    sounds = engine.search("red", k=100, where="format = 'wav' OR path LIKE '%/0009.txt'")
    kept = {"low.wav", "high.wav", "0009.txt"}
    assert names(sounds) == [name for name in names(everything) if name in kept]
    composed = engine.search(parse('"red" AND "blue"'), k=100, where="modality = 'audio'")
    assert sorted(names(composed)) == ["high.wav", "low.wav"]
    assert engine.search("red", where="duration_s > 1e9") == []
    done = crossfind("search", "red", "--where", "width_px > 5 AND forma = 'png'", cwd=folder)
    assert done.code == 2
    assert "unknown field 'forma'; did you mean format?" in done.err
    none = crossfind("search", "red", "--where", "width_px > 5000", cwd=folder)
    assert (none.code, none.out) == (0, "")
    assert "nothing matches" in none.err
