"""Models compared over one gallery: figures by hand, and plots that hold what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from retrieval.encoders.fake import FakeEncoder
from retrieval.encoders.model_file import HeadSpec, ModelFile, save_model_file
from retrieval.errors import ModelError, UsageError
from retrieval.evaluation.compare import Comparison, compare, size_of
from retrieval.evaluation.compare_html import comparison_html, write_comparison
from retrieval.evaluation.relevance import read_relevance
from retrieval.evaluation.svg import Bar, Point, bar_chart, scatter

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    rows = ["query,query_path,item"]
    for name, rgb in COLOURS.items():
        for number in (1, 2):
            faded = tuple(max(0, channel - 30 * number) for channel in rgb)
            Image.new("RGB", (24, 24), faded).save(folder / f"{name}{number}.png")
            rows.append(f"{name},,{name}{number}.png")
        rows.append(f",{name}1.png,{name}2.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    rows.append("black,,broken.png")
    rows.append("a hum,,hum.wav")
    (folder / "r.csv").write_text("\n".join(rows))
    # A model that has forgotten pictures: all of them become one vector.
    weights = {
        "image.last.weight": np.zeros((64, 64), dtype=np.float32),
        "image.last.bias": np.ones(64, dtype=np.float32),
    }
    head = HeadSpec("linear", dim_in=64, dim_out=64)
    fingerprint = FakeEncoder().spaces[0].fingerprint
    file = ModelFile("fake", fingerprint, {"image": head}, weights)
    save_model_file(folder / "blind.model", model=file)
    return folder


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    judgements = [j for j in read_relevance(folder / "r.csv") if j.direction[1] == "image"]
    return compare(["fake", str(folder / "blind.model")], judgements=judgements)


def test_figures_are_those_of_the_same_gallery_for_every_model(comparison: Comparison) -> None:
    good, blind = comparison.models
    row = good.directions["text->image"]
    assert (row.n_queries, row.n_items) == (5, 8)
    # Four colours find their picture first; the broken file's query cannot.
    assert row.metrics["hit@1"] == pytest.approx(4 / 5)
    assert row.metrics["r@5"] == pytest.approx(4 / 5)
    assert row.hit["hit@1"].low < 4 / 5 < row.hit["hit@1"].high
    assert blind.directions["text->image"].metrics["hit@1"] == pytest.approx(1 / 5)


def test_a_picture_that_asks_is_no_answer_to_itself(comparison: Comparison) -> None:
    row = comparison.models[0].directions["image->image"]
    assert row.n_queries == 4
    assert row.metrics["hit@1"] == 1.0


def test_files_that_a_model_cannot_use_are_named(comparison: Comparison) -> None:
    for model in comparison.models:
        assert [Path(failure.path).name for failure in model.failures] == ["broken.png"]


def test_speed_and_size_are_measured(comparison: Comparison, folder: Path) -> None:
    good, blind = comparison.models
    assert good.encode_per_s["image"] > 0
    assert good.encode_per_s["text"] > 0
    assert good.query_ms is not None
    assert good.query_ms > 0
    assert good.size_bytes is None
    assert blind.size_bytes == (folder / "blind.model").stat().st_size
    assert size_of("starter") is None or size_of("starter") > 1000


def test_a_comparison_is_json(comparison: Comparison) -> None:
    values = json.loads(comparison.to_json())
    assert values["models"][0]["directions"]["text->image"]["n_items"] == 8


def test_the_page_holds_every_figure_and_escapes_names(
    comparison: Comparison, tmp_path: Path
) -> None:
    from dataclasses import replace

    evil = replace(comparison.models[0], name="<script>alert(1)</script>")
    page = comparison_html(Comparison((evil, comparison.models[1])))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 3  # speed, and two directions
    assert "0.800" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    write_comparison(tmp_path / "r.html", comparison=comparison)
    assert (tmp_path / "r.html").read_text("utf-8") == comparison_html(comparison)


def test_bars_are_as_tall_as_their_values() -> None:
    groups = {"a": {"x": Bar(0.25, 0.2, 0.3), "y": Bar(1.0, 0.9, 1.0)}, "b": {"x": Bar(0.5, 0, 1)}}
    root = ElementTree.fromstring(bar_chart("t & t", groups=groups))
    space = "{http://www.w3.org/2000/svg}"
    bars = [r for r in root.iter(f"{space}rect") if r.find(f"{space}title") is not None]
    heights = [float(bar.get("height", 0)) for bar in bars]
    assert [h / max(heights) for h in heights] == pytest.approx([0.25, 1.0, 0.5], abs=0.01)
    assert bars[0].get("fill") == bars[2].get("fill") != bars[1].get("fill")


def test_points_lie_on_a_logarithmic_axis() -> None:
    points = [Point("a", 1, 0), Point("b", 10, 0.5), Point("c", 100, 1), Point("none", 0, 1)]
    root = ElementTree.fromstring(scatter("t", points=points, x_label="ms"))
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    xs = [float(circle.get("cx", 0)) for circle in circles]
    ys = [float(circle.get("cy", 0)) for circle in circles]
    assert len(circles) == 3
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2]


def test_an_unknown_model_and_an_empty_table_are_refused(folder: Path) -> None:
    judgements = read_relevance(folder / "r.csv")
    with pytest.raises(ModelError):
        compare(["no-such-model"], judgements=judgements)
    with pytest.raises(UsageError):
        compare(["fake"], judgements=[])
    with pytest.raises(UsageError) as raised:
        compare(["fake"], judgements=[j for j in judgements if j.direction[1] == "audio"])
    assert raised.value.code == "no_files"
