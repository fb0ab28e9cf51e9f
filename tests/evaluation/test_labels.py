"""A model measured as a classifier on labelled files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.encoders.fake import FakeEncoder
from retrieval.errors import UsageError
from retrieval.evaluation.labels import evaluate_labels, read_labels
from retrieval.media import Loader

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures; every fifth says another colour than it shows, and one is broken."""
    folder = tmp_path_factory.mktemp("labels")
    generator = np.random.default_rng(0)
    rows = ["path,label,group"]
    names = list(COLOURS)
    for number in range(30):
        shown, said = names[number % 3], names[(number + (number % 5 == 4)) % 3]
        rgb = np.clip(np.array(COLOURS[shown]) + generator.integers(-60, 60, 3), 0, 255)
        Image.new("RGB", (16, 16), tuple(int(c) for c in rgb)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{said},camera{number % 2}")
    (folder / "30.png").write_bytes(b"nothing")
    rows.append("30.png,red,camera0")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_zero_shot_and_probe_find_the_true_labels(table: Path) -> None:
    encoder = FakeEncoder()
    with Loader(spec=encoder.media) as loader:
        report = evaluate_labels(read_labels(table), encoder=encoder, loader=loader)
    assert report.classes == ("blue", "green", "red")
    assert report.zero_shot.accuracy == pytest.approx(24 / 30)
    assert report.zero_shot_accuracy.low < 0.8 < report.zero_shot_accuracy.high
    assert report.probe.accuracy > 0.7
    assert report.probe_folds == "leave-one-group-out"
    assert [Path(failure.path).name for failure in report.failures] == ["30.png"]


def test_without_groups_the_probe_is_cut_into_folds(table: Path) -> None:
    encoder = FakeEncoder()
    lines = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    plain = table.parent / "plain.csv"
    plain.write_text("\n".join(lines))
    with Loader(spec=encoder.media) as loader:
        report = evaluate_labels(
            read_labels(plain), encoder=encoder, loader=loader, n_folds=3, prompt="{} {}"
        )
    assert report.probe_folds == "3-fold"
    assert report.probe.n_rows == 30


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("path,class\na,b\n", "bad_labels"),
        ("", "bad_labels"),
        ("path,label\na,x\nb,x\n", "one_class"),
    ],
)
def test_a_table_without_labels_or_classes_is_refused(
    tmp_path: Path, content: str, code: str
) -> None:
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(UsageError) as raised:
        read_labels(tmp_path / "l.csv")
    assert raised.value.code == code


def test_a_table_named_by_a_roundabout_path_names_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "l.csv").write_text("path,label\nsub/../a.png,x\nb.png,y\n")
    labels = read_labels(tmp_path / "deep" / ".." / "l.csv")
    assert [label.path for label in labels] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
