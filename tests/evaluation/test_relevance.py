"""Relevance tables are read in both forms, and wrong cells are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.errors import UsageError
from retrieval.evaluation.relevance import Judgement, modality_of, read_relevance


def test_rows_of_one_query_add_up_per_item_modality(tmp_path: Path) -> None:
    table = tmp_path / "r.csv"
    table.write_text(
        "query,query_path,item,grade,group\n"
        "a cat,,1.png,,g\n"
        "a cat,,sub/../2.png,3,g\n"
        "a cat,,meow.wav,,g\n"
        ",q/purr.ogg,1.png,0.5,\n"
    )
    path = str(tmp_path)
    assert read_relevance(table) == [
        Judgement("a cat", ("text", "image"), {f"{path}/1.png": 1.0, f"{path}/2.png": 3.0}, "g"),
        Judgement("a cat", ("text", "audio"), {f"{path}/meow.wav": 1.0}, "g"),
        Judgement(tmp_path / "q/purr.ogg", ("audio", "image"), {f"{path}/1.png": 0.5}),
    ]


def test_training_pairs_judge_every_side_against_every_media_side(tmp_path: Path) -> None:
    table = tmp_path / "pairs.jsonl"
    rows = [
        {"image": "a.png", "audio": "a.wav", "text": "a dog"},
        {"image": "b.png", "text": "a dog"},
        {"image": "c.png", "text": ""},
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    found = {(str(j.query), j.direction): sorted(j.right) for j in read_relevance(table)}
    a, b, wav = (str(tmp_path / name) for name in ("a.png", "b.png", "a.wav"))
    assert found == {
        ("a dog", ("text", "image")): [a, b],
        ("a dog", ("text", "audio")): [wav],
        (a, ("image", "audio")): [wav],
        (wav, ("audio", "image")): [a],
    }


@pytest.mark.parametrize(
    ("name", "modality"),
    [("a.JPG", "image"), ("a.flac", "audio"), ("a.mp4", "video"), ("a.txt", "text"), ("a", "text")],
)
def test_an_item_is_told_by_its_suffix(name: str, modality: str) -> None:
    assert modality_of(Path(name)) == modality


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("r.csv", "query,item,grade\na,1.png,0\n", "bad_relevance"),
        ("r.csv", "query,item,grade\na,1.png,many\n", "bad_relevance"),
        ("r.csv", "query,item,grade\na,1.png,nan\n", "bad_relevance"),
        ("r.csv", "query,item\n,1.png\n", "bad_relevance"),
        ("r.csv", "query,item\na,\n", "bad_relevance"),
        ("r.csv", "title,file\na,1.png\n", "bad_relevance"),
        ("r.csv", "image,text\n1.png,\n", "no_queries"),
        ("r.jsonl", '{"query": "a", "item": ["x"]}', "bad_relevance"),
        ("r.jsonl", "{", "bad_relevance"),
        ("r.jsonl", "7", "bad_relevance"),
        ("r.csv", "query,item\n\xff,1.png\n", "bad_relevance"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, content: str, code: str
) -> None:
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(UsageError) as raised:
        read_relevance(tmp_path / name)
    assert raised.value.code == code


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no table at .*gone\.csv"):
        read_relevance(tmp_path / "gone.csv")
