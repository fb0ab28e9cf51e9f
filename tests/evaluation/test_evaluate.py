"""Evaluation of an engine: hand-worked figures, exact against live, and a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from index.types import Plan
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.evaluation.evaluate import Report, evaluate
from retrieval.evaluation.exact import exact_searcher
from retrieval.evaluation.floors import BelowFloorError, check_floors, parse_floor
from retrieval.evaluation.relevance import Judgement, read_relevance
from retrieval.types import Hit


class Answers:
    """Answer each query with a fixed list of items."""

    def __init__(self, answers: dict[str, list[str]], *, copies: dict[str, str] | None = None):
        self._answers = answers
        self._copies = copies or {}
        self.asked: list[tuple[str, int, str | None]] = []

    def search(
        self,
        query: str | Path | int,
        *,
        k: int = 10,
        modality: str | None = None,
        hybrid: bool = True,
    ) -> list[Hit]:
        assert not hybrid
        self.asked.append((str(query), k, modality))
        paths = self._answers[str(query)][:k]
        return [
            Hit(
                rank,
                rank,
                path,
                "image",
                0.5,
                copies=(self._copies[path],) if path in self._copies else (),
            )
            for rank, path in enumerate(paths, start=1)
        ]


JUDGEMENTS = [
    Judgement("cat", ("text", "image"), {"/a": 1.0, "/b": 1.0}, "pets"),
    Judgement("dog", ("text", "image"), {"/c": 1.0}, "pets"),
    Judgement("sun", ("text", "image"), {"/gone": 1.0}, "sky"),
    Judgement(Path("/a"), ("image", "image"), {"/b": 1.0}),
]
ANSWERS = {"cat": ["/a", "/x", "/b"], "dog": ["/x", "/c"], "sun": ["/x"], "/a": ["/a", "/b"]}


def test_figures_per_direction_are_those_worked_by_hand() -> None:
    searcher = Answers(ANSWERS)
    report = evaluate(searcher, judgements=JUDGEMENTS, ks=(1, 2), depth=50)
    text, image = report.directions
    assert (text.direction, text.n_queries, text.n_right) == ("text->image", 3, 4)
    assert text.metrics["r@1"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert text.metrics["r@2"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert text.metrics["hit@1"] == pytest.approx(1 / 3)
    assert text.metrics["mrr"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert text.metrics["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 3)
    assert text.intervals["hit@1"].low <= 1 / 3 <= text.intervals["hit@1"].high
    assert text.groups["pets"]["hit@1"] == 0.5
    assert text.groups["sky"]["hit@1"] == 0
    assert set(text.latency_ms) == {"p50", "p95", "p99"}
    # The query itself came first, which is no answer: its partner counts as first.
    assert (image.direction, image.metrics["hit@1"]) == ("image->image", 1.0)
    assert searcher.asked[1] == ("cat", 50, "image")


def test_right_items_that_the_store_lacks_are_counted() -> None:
    report = evaluate(
        Answers(ANSWERS), judgements=JUDGEMENTS, is_known=lambda path: path != "/gone"
    )
    assert [d.n_absent for d in report.directions] == [1, 0]


def test_an_item_is_right_under_any_of_its_paths() -> None:
    searcher = Answers({"cat": ["/x", "/first"]}, copies={"/first": "/a"})
    report = evaluate(searcher, judgements=JUDGEMENTS[:1], ks=(2,))
    assert report.directions[0].metrics["r@2"] == 0.5


def test_the_exact_search_is_measured_beside_the_live_one() -> None:
    exact = Answers({**ANSWERS, "dog": ["/c", "/x"]})
    report = evaluate(Answers(ANSWERS), judgements=JUDGEMENTS[:2], exact=exact, ks=(1,))
    (direction,) = report.directions
    assert direction.metrics["hit@1"] == 0.5
    assert direction.exact is not None
    assert direction.exact["hit@1"] == 1.0
    assert direction.agreement == 1.0
    lossy = Answers({**ANSWERS, "cat": ["/a"]})
    worse = evaluate(lossy, judgements=JUDGEMENTS[:2], exact=exact, ks=(1,)).directions[0]
    assert worse.agreement == pytest.approx((1 / 3 + 1) / 2)


def test_the_report_is_json_and_equal_for_equal_seeds() -> None:
    one, two = (evaluate(Answers(ANSWERS), judgements=JUDGEMENTS, seed=3) for _ in range(2))
    assert one.directions[0].intervals == two.directions[0].intervals
    values = json.loads(one.to_json())
    assert values["directions"][0]["metrics"]["mrr"] == one.directions[0].metrics["mrr"]


@pytest.mark.parametrize(("judgements", "ks"), [([], (1,)), (JUDGEMENTS, (200,))])
def test_evaluation_without_queries_or_depth_is_refused(
    judgements: list[Judgement], ks: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError):
        evaluate(Answers(ANSWERS), judgements=judgements, ks=ks)


@pytest.fixture
def report() -> Report:
    return evaluate(Answers(ANSWERS), judgements=JUDGEMENTS)


@pytest.mark.parametrize(
    "floor", ["r@10=0.5", "text->image:hit@1=0.3", "median_rank=3", "image->image:mrr=1"]
)
def test_floors_that_are_reached_pass(report: Report, floor: str) -> None:
    check_floors(report, floors=[parse_floor(floor)])


def test_missed_floors_are_all_named(report: Report) -> None:
    floors = [parse_floor("hit@1=0.9"), parse_floor("text->image:median_rank=1")]
    with pytest.raises(BelowFloorError, match=r"hit@1 0\.3333 \(0\.9\); .*median_rank") as raised:
        check_floors(report, floors=floors)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("typed", ["r@10", "r@10=", "r@10=much", "=0.5", ":r@1=0.5"])
def test_a_floor_of_another_form_is_refused(typed: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_floor(typed)
    assert raised.value.code == "bad_floor"


@pytest.mark.parametrize("typed", ["r@7=0.5", "audio->image:r@10=0.5"])
def test_a_floor_for_what_was_not_measured_is_refused(report: Report, typed: str) -> None:
    with pytest.raises(UsageError, match="it has"):
        check_floors(report, floors=[parse_floor(typed)])


def test_a_real_store_is_evaluated_live_and_exactly(tmp_path: Path) -> None:
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    rows = ["query,query_path,item"]
    for name, rgb in colours.items():
        for number in (1, 2):
            faded = tuple(max(0, channel - 40 * number) for channel in rgb)
            Image.new("RGB", (24, 24), faded).save(tmp_path / f"{name}{number}.png")
            rows.append(f"{name},,{name}{number}.png")
        rows.append(f",{name}1.png,{name}2.png")
    rows.append("red,,never_added.png")
    (tmp_path / "r.csv").write_text("\n".join(rows))
    with Engine.open(tmp_path / "store", create=True, model="fake") as engine:
        engine.add(*sorted(tmp_path.glob("*.png")))
        with exact_searcher(engine) as exact:
            report = evaluate(
                engine,
                judgements=read_relevance(tmp_path / "r.csv"),
                exact=exact,
                is_known=lambda path: engine.item(path) is not None,
            )
    text, image = report.directions
    assert (text.n_queries, text.n_right, text.n_absent) == (3, 7, 1)
    assert text.metrics["hit@1"] == 1.0
    assert text.metrics["r@5"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert image.metrics["r@1"] == 1.0
    assert text.exact == text.metrics
    assert text.agreement == 1.0


def test_the_exact_search_never_opens_an_index_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    plan = Plan(kind="flat", factory="Flat", reason="a file, however small the store is")
    monkeypatch.setattr("retrieval.build_wishes.choose", lambda *_args, **_options: plan)
    Image.new("RGB", (24, 24), (250, 0, 0)).save(tmp_path / "red.png")
    with Engine.open(tmp_path / "store", create=True, model="fake") as engine:
        engine.add(tmp_path / "red.png")
        engine.build()
        files = [path for path in engine.store.derived.iterdir() if path.is_file()]
        assert files
        for path in files:
            path.write_bytes(b"damaged")
        with exact_searcher(engine) as exact:
            assert [Path(hit.path).name for hit in exact.search("red", k=3)] == ["red.png"]
            assert exact.warnings == ()
        assert engine.search("red", k=3)
        assert engine.warnings  # the live search noticed the damage, so there was a file to open
