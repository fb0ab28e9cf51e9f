"""`crossfind evaluate` and `compare` from a shell: figures, floors and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from retrieval.cli import compare, evaluate
from retrieval.engine import Engine
from retrieval.errors import CrossfindError
from retrieval.evaluation.floors import BelowFloorError

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    for name, rgb in COLOURS.items():
        Image.new("RGB", (16, 16), rgb).save(folder / f"{name}.png")
    rows = [f"{name},{name}.png" for name in COLOURS]
    (folder / "r.csv").write_text("\n".join(["query,item", *rows, "red,never.png"]))
    (folder / "l.csv").write_text("\n".join(["path,label", *(f"{n}.png,{n}" for n in COLOURS),
                                             "red.png,red", "green.png,green"]))  # fmt: skip
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(*folder.glob("*.png"))
    return folder


def _evaluate(folder: Path, *more: str) -> Result:
    arguments = ["--relevance", str(folder / "r.csv"), "--store", str(folder / "store"), *more]
    return CliRunner().invoke(evaluate.command, arguments)


def test_evaluate_prints_figures_with_the_exact_search_beside_them(folder: Path) -> None:
    result = _evaluate(folder)
    assert result.exit_code == 0
    assert "hit@1                1.000 (1.000 to 1.000)   exact 1.000" in result.stdout
    assert "not in the store: 1 right item of text->image" in result.stderr


def test_evaluate_as_json_has_every_figure(folder: Path) -> None:
    result = _evaluate(folder, "--json", "--no-exact")
    (direction,) = json.loads(result.stdout)["directions"]
    assert direction["metrics"]["r@10"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert direction["exact"] is None


def test_evaluate_fails_below_a_floor_after_printing(folder: Path) -> None:
    assert _evaluate(folder, "--fail-under", "r@10=0.8").exit_code == 0
    result = _evaluate(folder, "--fail-under", "r@10=0.9")
    assert isinstance(result.exception, BelowFloorError)
    assert result.exception.exit_code == 1
    assert "r@10" in result.stdout


def test_evaluate_measures_a_model_on_labels(folder: Path) -> None:
    arguments = ["--labels", str(folder / "l.csv"), "--model", "fake", "--json"]
    result = CliRunner().invoke(evaluate.command, arguments)
    assert isinstance(result.exception, CrossfindError)  # three rows cannot be cut into five folds
    assert "k is 5" in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--relevance", "r.csv", "--labels", "l.csv"],
        ["--labels", "l.csv", "--fail-under", "r@1=1"],
        ["--relevance", "r.csv", "--model", "fake"],
    ],
)
def test_options_without_effect_are_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(evaluate.command, arguments).exit_code == 2


def test_compare_prints_models_side_by_side_and_writes_a_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    arguments = ["fake", "fake", "--relevance", str(folder / "r.csv"), "--html", str(page)]
    result = CliRunner().invoke(compare.command, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("text->image") == 2
    assert page.read_text("utf-8").startswith("<!doctype html>")
    values = CliRunner().invoke(compare.command, [*arguments, "--json"])
    models = json.loads(values.stdout)["models"]
    assert [m["directions"]["text->image"]["metrics"]["hit@1"] for m in models] == [1.0, 1.0]
