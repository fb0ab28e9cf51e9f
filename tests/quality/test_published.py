"""The published-number benchmark on tiny folders laid out like the real data sets."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import media_files
import numpy as np
import pytest
from PIL import Image

from benchmarks.quality import published
from retrieval.encoders.fake import FakeEncoder

ROOT = Path(__file__).parents[2]
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
HZ = {"red": 100.0, "green": 635.0, "violet": 6400.0}


def table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def tones(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, hz in HZ.items():
        samples = 0.5 * np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000)
        media_files.wav(folder / f"{name}.wav", samples=samples[:, None].astype(np.float32),
                        rate_hz=16_000)  # fmt: skip


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    for place in ("flickr30k/images", "coco/val2017"):
        (tmp_path / place).mkdir(parents=True)
        for name, rgb in RGB.items():
            Image.new("RGB", (40, 30), rgb).save(tmp_path / place / f"{name}.jpg")
    captions = [[f"{name}.jpg", f"{name}"] for name in RGB]
    captions += [["red.jpg", "blue"]]  # a caption that fits another picture better
    table(tmp_path / "flickr30k" / "captions.csv", ["image", "caption"], captions)
    (tmp_path / "coco" / "annotations").mkdir()
    raw = {
        "images": [{"id": n, "file_name": f"{name}.jpg"} for n, name in enumerate(RGB)],
        "annotations": [{"image_id": n, "caption": name} for n, name in enumerate(RGB)],
    }
    (tmp_path / "coco" / "annotations" / "captions_val2017.json").write_text(json.dumps(raw))
    (tmp_path / "coco" / "karpathy.txt").write_text("red.jpg\ngreen.jpg\n")
    for name, place in (("audiocaps", "audio"), ("esc50", "audio")):
        tones(tmp_path / name / place)
    rows = [[f"{name}.wav", name] for name in HZ]
    table(tmp_path / "audiocaps" / "captions.csv", ["audio", "caption"], rows)
    classes = [[f"{name}.wav", "1", "0", name] for name in HZ]
    table(tmp_path / "esc50" / "meta" / "esc50.csv", ["filename", "fold", "target", "category"],
          classes)  # fmt: skip
    return {name: tmp_path / name for name in ("flickr30k", "coco", "audiocaps", "esc50")}


def test_the_sets_are_read_and_measured_as_documented(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "PROMPT", "{}")  # the fake model knows colours only
    figures = published.measure(FakeEncoder(), folders=folders, limit=100)
    # Four of five captions find their picture; the blue one meets an equal caption of the red one.
    assert figures["flickr30k text->image R@1"] == pytest.approx(0.8)
    assert figures["flickr30k image->text R@1"] == 0.75
    assert figures["flickr30k files"] == 4
    assert figures["coco files"] == 2, "only the Karpathy split counts"
    assert figures["coco text->image R@1"] == 1.0
    assert figures["audiocaps text->audio R@1"] == 1.0
    assert figures["esc50 accuracy"] == 1.0
    assert figures["esc50 chance"] == pytest.approx(1 / 3)


def test_recall_of_files_with_several_captions_is_hand_computed() -> None:
    media = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.5, 0.62], [0.9, 0.2, 0.1]], np.float32)
    owners = np.array([0, 1, 1, 2])
    out = published.recalls(media, texts=texts, owners=owners, ks=(1, 2))
    assert out["text->media R@1"] == 0.5
    assert out["media->text R@1"] == pytest.approx(2 / 3)
    assert out["text->media R@2"] == 0.5
    assert out["media->text R@2"] == 1.0


def test_the_command_runs_with_a_models_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    import tiny_models

    tiny_models.make_clip(tmp_path / "models")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality.published", "--model", tiny_models.CLIP_NAME,
         "--models-dir", str(tmp_path / "models"), "--flickr30k", str(folders["flickr30k"])],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["model"] == tiny_models.CLIP_NAME
    assert 0 <= told["flickr30k text->image R@1"] <= 1
