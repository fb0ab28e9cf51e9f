"""`crossfind evaluate --fusion`: sources and rules against slow loops, learnt rules held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from retrieval.cli import evaluate
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.evaluation.fusion import FusionReport, compare_fusion, rule_names
from retrieval.evaluation.fusion_sources import Gathered, gather, simplex
from retrieval.evaluation.relevance import Judgement, read_relevance
from retrieval.query.stacking import fold_of

COLOURS = {
    "red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "yellow": (250, 250, 0),
    "cyan": (0, 250, 250), "violet": (128, 0, 250),
}  # fmt: skip
CAPTIONS = {"red": "a violet lie", "green": "plain green", "blue": "nothing of a colour"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make six pictures, three of them with a caption, under names that say nothing."""
    folder = tmp_path_factory.mktemp("fusion")
    rows = ["query,item"]
    for number, (name, rgb) in enumerate(COLOURS.items()):
        Image.new("RGB", (16, 16), rgb).save(folder / f"{number}.png")
        if name in CAPTIONS:
            (folder / f"{number}.txt").write_text(CAPTIONS[name])
        rows += [f"{name},{number}.png", f"something {name},{number}.png"]
    (folder / "r.csv").write_text("\n".join([*rows, "red,never.png"]))
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(*folder.glob("*.png"))
    return folder


def _gathered(folder: Path) -> Gathered:
    with Engine.open(folder / "store") as engine:
        (one,) = gather(engine, judgements=read_relevance(folder / "r.csv"))
    return one


def test_sources_are_what_slow_loops_over_the_files_give(folder: Path) -> None:
    one = _gathered(folder)
    assert one.sources == ("image", "text", "words")
    with Engine.open(folder / "store") as engine:
        encoder, ids = engine.encoder, {}
        for number in range(len(COLOURS)):
            item = engine.item(folder / f"{number}.png")
            assert item is not None
            ids[number] = item.id
        for judgement, lists in zip(one.judgements, one.lists, strict=True):
            query = encoder.encode([str(judgement.query)], modality="text")[0]
            for number, (name, rgb) in enumerate(COLOURS.items()):
                picture = np.full((32, 32, 3), rgb, np.uint8)
                expected = float(encoder.encode([picture], modality="image")[0] @ query)
                assert lists["image"][ids[number]] == pytest.approx(expected, abs=2e-3)
                assert (ids[number] in lists["text"]) == (name in CAPTIONS)
                if name in CAPTIONS:
                    caption = encoder.encode([CAPTIONS[name]], modality="text")[0]
                    assert lists["text"][ids[number]] == pytest.approx(
                        float(caption @ query), abs=2e-3
                    )
    first = one.right[0]
    assert first == {ids[0]: 1.0, -2: 1.0}


def test_a_missing_part_leaves_the_others_to_count_alone(folder: Path) -> None:
    one = _gathered(folder)
    yellow = next(n for n, j in enumerate(one.judgements) if j.query == "yellow")
    (right,) = one.right[yellow]
    for rule in ("average", "max", "min"):
        fused = one.fused[rule][yellow][right]
        assert fused == pytest.approx(one.lists[yellow]["image"][right], abs=1e-5)
    assert set(one.weighed) == set(simplex(2))


def _made(n: int = 20) -> Gathered:
    """Make queries of which `good` ranks the right one first, `poor` last."""
    lists = tuple(
        {"good": {1: 0.9, 2: 0.5, 3: 0.1}, "poor": {1: 0.2, 2: 0.3, 3: 0.9}} for _ in range(n)
    )
    judgements = tuple(Judgement(f"q{i}", ("text", "image"), {"/1": 1.0}) for i in range(n))
    return Gathered(("text", "image"), judgements, ({1: 1.0},) * n, ("good", "poor"), lists, {}, {})


def _mrr(report: FusionReport) -> dict[str, float]:
    (direction,) = report.directions
    return {f"{r.level} {r.rule}": r.intervals["mrr"].value for r in direction.rules}


def test_every_rule_gets_the_figures_worked_out_by_hand() -> None:
    report = compare_fusion([_made()])
    # Sums over lists brought to [0, 1]: 1.0, .5 + 1/7, 1.0; of the two at 1 the lower id is first.
    assert _mrr(report) == {
        "source good": 1.0, "source poor": pytest.approx(1 / 3), "decision rrf": 1.0,
        "decision combsum": 1.0, "decision combmnz": 1.0, "decision average": 1.0,
        "decision max": 1.0, "decision min": 0.5, "decision weighted": 1.0,
        "decision stacking": 1.0,
    }  # fmt: skip
    (direction,) = report.directions
    assert (direction.best_source, direction.n_folds) == ("good", 5)
    assert "does not clearly differ from the best single source (good)" in direction.verdict


def test_stacking_beats_two_sources_that_are_each_right_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    made = _made(60)
    lists = []
    for n in range(60):
        sure, lost = ("good", "poor") if n % 2 else ("poor", "good")
        noise = {i: 0.3 + 0.1 * float(rng.random()) for i in range(1, 9)}
        lists.append({sure: {**noise, 1: 0.9}, lost: {**noise, 1: 0.3}})
    mixed = Gathered(
        made.direction, made.judgements, made.right, made.sources, tuple(lists), {}, {}
    )
    report = compare_fusion([mixed], rules=["stacking"])
    (direction,) = report.directions
    assert [rule.rule for rule in direction.rules] == ["good", "poor", "stacking"]
    gain = direction.rules[-1].gain
    assert gain is not None
    assert gain.low > 0.2
    assert direction.verdict.startswith("stacking beats the best single source")


def test_what_is_learnt_never_sees_the_query_it_ranks() -> None:
    # One fold's right answers are known by one source, the other's by the other: what a fold
    # teaches is wrong for the other. Who had seen the query itself would do better.
    made = _made(10)
    folds = fold_of([str(j.query) for j in made.judgements], n_folds=2)
    lists = ({"good": {1: 1.0, 2: 0.0}, "poor": {1: 0.0, 2: 1.0}},) * 10
    right = tuple({1 + int(fold): 1.0} for fold in folds)
    one = Gathered(made.direction, made.judgements, right, made.sources, lists, {}, {})
    figures = _mrr(compare_fusion([one], n_folds=2))
    assert figures["decision stacking"] == figures["decision weighted"] == 0.5
    assert figures["source good"] == 0.75


def test_one_source_alone_is_said_to_leave_nothing_to_fuse() -> None:
    made = _made()
    lists = tuple({"good": own["good"]} for own in made.lists)
    one = Gathered(made.direction, made.judgements, made.right, ("good",), lists, {}, {})
    report = compare_fusion([one])
    assert [rule.level for rule in report.directions[0].rules] == ["source"]
    assert "nothing to fuse" in report.directions[0].verdict


def test_too_few_queries_are_said_and_nothing_is_learnt() -> None:
    report = compare_fusion([_made(9)])
    assert "decision stacking" not in _mrr(report)
    assert "too few queries" in report.directions[0].verdict
    with pytest.raises(UsageError, match="no fusion rule 'best'"):
        compare_fusion([_made()], rules=["best"])


def _evaluate(folder: Path, *more: str) -> Result:
    arguments = ["--relevance", str(folder / "r.csv"), "--store", str(folder / "store"), *more]
    return CliRunner().invoke(evaluate.command, arguments)


def test_the_command_prints_every_rule_and_the_verdict(folder: Path) -> None:
    result = _evaluate(folder, "--fusion", "all")
    assert result.exit_code == 0, result.stderr
    for name in rule_names():
        assert (name if name.startswith("feature") else f"decision {name}") in result.stdout
    assert "held-out queries, 5 folds" in result.stdout
    assert "text->image: stacking" in result.stderr


def test_the_command_as_json_has_intervals(folder: Path) -> None:
    report = json.loads(_evaluate(folder, "--fusion", "rrf", "--json").stdout)
    (direction,) = report["directions"]
    assert direction["rules"][-1]["rule"] == "rrf"
    interval = direction["rules"][0]["intervals"]["mrr"]
    assert interval["low"] <= interval["value"] <= interval["high"]


def test_options_without_effect_beside_fusion_are_refused(folder: Path) -> None:
    assert _evaluate(folder, "--fusion", "all", "--fail-under", "r@10=0.1").exit_code == 2
    assert _evaluate(folder, "--fusion", "all", "--no-exact").exit_code == 2
