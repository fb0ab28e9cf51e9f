"""`crossfind train heads` from a shell: what it prints, writes and exits with."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.numpy import save_file

from retrieval.cli.train import command
from retrieval.encoders.registry import open_encoder
from retrieval.errors import CrossfindError

COLOURS = ("red", "yellow", "green", "cyan", "blue", "violet", "white", "black")
RGB = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (128, 0, 255),
       (255, 255, 255), (0, 0, 0))  # fmt: skip


def _pairs(folder: Path, *, shift: int, n: int = 120) -> Path:
    """Pictures whose captions call each colour by another one's name: heads can learn that."""
    generator = np.random.default_rng(0)
    rows = ["image,text"]
    for number in range(n):
        rgb = np.clip(np.array(RGB[number % 8]) + generator.integers(-40, 40, 3), 0, 255)
        noise = generator.integers(-25, 25, (16, 16, 3))
        pixels = np.clip(rgb + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        caption = COLOURS[(number + shift) % 8] if shift else COLOURS[generator.integers(8)]
        rows.append(f"{number}.png,{caption}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder / "pairs.csv"


def _train(folder: Path, pairs: Path, *more: str) -> Result:
    files = ["--pairs", pairs, "--out", folder / "my.model", "--cache", folder / "cache"]
    small = ["--base", "fake", "--batch-size", "64", "--threads", "1", "--workers", "1"]
    arguments = ["heads", *map(str, files), *small, *more]
    return CliRunner().invoke(command, arguments)


def test_heads_are_trained_written_and_usable_as_a_model_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    result = _train(tmp_path, _pairs(tmp_path, shift=3), "--json", "--epochs", "40",
                    "--learning-rate", "0.005", "--step-log", str(log))  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["adoption"]["gain"]["low"] > 0
    assert report["path"] == str(tmp_path / "my.model")
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == report["training"]["n_steps"]
    monkeypatch.chdir(tmp_path)
    encoder = open_encoder("./my.model", threads=1)
    assert encoder.name == os.path.join(os.getcwd(), "my.model")
    assert encoder.spaces[0].fingerprint != open_encoder("fake", threads=1).spaces[0].fingerprint


def test_a_result_that_could_be_chance_is_not_written(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, shift=0)
    result = _train(tmp_path, pairs, "--epochs", "2")
    assert result.exit_code == 1
    assert "not adopted" in result.stdout
    assert "--force" in result.stderr
    assert not (tmp_path / "my.model").exists()
    forced = _train(tmp_path, pairs, "--epochs", "2", "--force")
    assert forced.exit_code == 0
    assert (tmp_path / "my.model").exists()


def test_every_lesson_is_reachable_and_told(tmp_path: Path) -> None:
    names = [f"{c} {n}" for c in COLOURS for n in range(8)]
    fake = open_encoder("fake", threads=1)
    weights = fake.encode(names, modality="text")
    classes = tmp_path / "classes.safetensors"
    save_file({"weights": weights}, classes, metadata={"names": json.dumps(names)})
    (tmp_path / "words.txt").write_text("\n".join(COLOURS))
    result = _train(
        tmp_path, _pairs(tmp_path, shift=3, n=80), "--json", "--force", "--epochs", "2",
        "--teacher", "fake", "--teacher-labels", str(tmp_path / "words.txt"),
        "--classes", f"image={classes}", "--label-weight", "0.1", "--weight", "image-text=2",
        "--dims", "16,32", "--gap", "0.1", "--hard", "2", "--loss", "siglip", "--ema", "0.9",
        "--patience", "3", "--precision", "bf16",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["lessons"] == [
        "image by 64 classes", "image by label space", "image by probabilities of fake"
    ]  # fmt: skip
    assert list(report["prefixes"]) == ["16", "32"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--dims", "64,x"), "no list of numbers"),
        (("--weight", "image-tex=2"), "of the form image-text=2"),
        (("--weight", "image-text=much"), "no weight"),
        (("--classes", "text=a.safetensors"), "one of image, audio"),
        (("--gap", "-1"), "x>=0"),
        (("--precision", "half"), "auto"),
        (("--ema", "1"), "0<=x<1"),
        (("--learning-rate", "0"), "x>0"),
        (("--hard", "65"), "0<=x<=64"),
        (("--loss", "triplet"), "infonce"),
    ],
)
def test_a_wrong_value_is_refused_with_its_form(
    tmp_path: Path, wrong: tuple[str, ...], told: str
) -> None:
    result = _train(tmp_path, tmp_path / "pairs.csv", *wrong)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("--dims", "64"), "bad_dims"),
        (("--weight", "audio-text=2"), "bad_weights"),
        (("--label-weight", "1"), "no_classes"),
        (("--teacher-weight", "2"), "no_teacher"),
        (("--teacher", "nobody"), "unknown_model"),
        (("--precision", "fp16"), "bad_precision"),
    ],
)
def test_an_option_without_effect_on_these_pairs_is_refused(
    encoded: Path, wrong: tuple[str, ...], code: str
) -> None:
    if code == "bad_precision" and torch.cuda.is_available():
        pytest.skip("fp16 is fine on a GPU")
    result = _train(encoded, encoded / "pairs.csv", *wrong)
    assert isinstance(result.exception, CrossfindError)
    assert result.exception.code == code
    assert not (encoded / "my.model").exists()


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    _pairs(folder, shift=3, n=60)
    return folder


def test_a_checkpoint_of_other_options_is_refused_naming_them(encoded: Path) -> None:
    files = ("--checkpoint", str(encoded / "at.checkpoint"), "--epochs", "1", "--force")
    assert _train(encoded, encoded / "pairs.csv", *files).exit_code == 0
    (encoded / "my.model").unlink()
    result = _train(encoded, encoded / "pairs.csv", *files, "--gap", "0.5")
    assert isinstance(result.exception, CrossfindError)
    assert "(gap_weight: 0.0 then, 0.5 now)" in str(result.exception)


@pytest.mark.parametrize("form", ["jsonl", "folder", "tar", "tsv"])
def test_every_form_of_pairs_can_be_trained_on(encoded: Path, tmp_path: Path, form: str) -> None:
    rows = [row.split(",") for row in (encoded / "pairs.csv").read_text().splitlines()[1:]]
    source = tmp_path / f"pairs.{form}"
    if form == "jsonl":
        lines = [json.dumps({"image": str(encoded / i), "text": t}) for i, t in rows]
        source.write_text("\n".join(lines))
    elif form == "tsv":
        lines = [f"{encoded / i}\t{t}" for i, t in rows]
        source.write_text("\n".join(["image\ttext", *lines]))
    else:
        folder = tmp_path / "pairs.folder"
        folder.mkdir()
        for image, text in rows:
            (folder / image).write_bytes((encoded / image).read_bytes())
            (folder / image).with_suffix(".txt").write_text(text)
        if form == "tar":
            with tarfile.open(source, "w") as shard:
                for path in sorted(folder.iterdir()):
                    shard.add(path, arcname=path.name)
    result = _train(encoded, source, "--epochs", "1", "--force", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_pairs"] == {"image-text": 60}
    (encoded / "my.model").unlink()
