"""Naming files: by words, and by what labelled files teach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli import crossfind
from colour_shades import shades

from retrieval.around.classify import (
    class_vectors,
    classify_by_examples,
    classify_by_names,
    probabilities,
)
from retrieval.encoders.fake import FakeEncoder
from retrieval.errors import UsageError
from retrieval.evaluation.labels import Label
from retrieval.media import Loader

FAKE = FakeEncoder()
NAMES = ("red", "green", "blue")


@pytest.fixture
def loader():
    with Loader(spec=FAKE.media) as opened:
        yield opened


def test_probabilities_are_the_textbook_softmax() -> None:
    logits = np.array([[1.0, 2.0, 4.0], [900.0, 0.0, -900.0]])
    slow = [np.exp(v) / sum(np.exp(w) for w in logits[0]) for v in logits[0]]
    assert np.allclose(probabilities(logits)[0], slow)
    assert probabilities(logits)[1].tolist() == [1.0, 0.0, 0.0]


def test_class_vectors_are_the_mean_of_the_wordings() -> None:
    space = FAKE.spaces[0]
    found = class_vectors(["red"], prompts=["{}", "a {} thing"], encoder=FAKE, space=space)[0]
    both = FAKE.encode(["red", "a red thing"], modality="text").mean(axis=0)
    assert np.allclose(found, both / np.linalg.norm(both), atol=1e-6)


def test_zero_shot_names_pictures_and_sounds_by_the_nearest_label(
    world: Path, loader: Loader
) -> None:
    paths = [str(world / name) for name in ("blue.png", "low.wav", "red.png", "day.txt")]
    labels = ["red", "green", "blue"]
    result = classify_by_names(paths, labels=labels, encoder=FAKE, loader=loader, prompts=["{}"])
    assert [p.path for p in result.predictions] == paths
    assert [p.label for p in result.predictions] == ["blue", "red", "red", "red"]
    # By hand: cosine / temperature, then softmax.
    blue = FAKE.encode([np.full((32, 32, 3), (0, 0, 255), np.uint8)], modality="image")[0]
    cosines = FAKE.encode(labels, modality="text") @ blue
    wanted = np.exp(cosines / 0.05) / np.exp(cosines / 0.05).sum()
    scores = [result.predictions[0].scores[name] for name in labels]
    assert np.allclose(scores, wanted, atol=1e-4)
    assert result.predictions[0].confidence == max(scores)


def test_stored_vectors_are_used_and_bad_files_cost_no_other(world: Path, loader: Loader) -> None:
    (world / "bad.png").write_bytes(b"no picture")
    paths = [str(world / name) for name in ("bad.png", "red.png", "green.png")]
    green = FAKE.encode(["green"], modality="text")[0]
    result = classify_by_names(
        paths,
        labels=NAMES,
        encoder=FAKE,
        loader=loader,
        # A lie that only a used vector can tell.
        stored=lambda asked, _space: {p: green for p in asked if p.endswith("red.png")},
    )
    assert {Path(p.path).name: p.label for p in result.predictions} == {
        "red.png": "green", "green.png": "green",
    }  # fmt: skip
    assert [f.code for f in result.failures] == ["not_an_image"]


@pytest.mark.parametrize(
    ("labels", "options", "code"),
    [
        (["red", "red"], {}, "too_few_labels"),
        (NAMES, {"prompts": ["a photo"]}, "bad_prompt"),
        (NAMES, {"temperature": 0.0}, "bad_temperature"),
        (["red", "\x00"], {"prompts": ["{}"]}, None),
    ],
)
def test_wrong_labels_are_refused(world: Path, loader, labels, options, code) -> None:
    call = {"labels": labels, "encoder": FAKE, "loader": loader, **options}
    if code is None:
        assert classify_by_names([str(world / "red.png")], **call).predictions[0].label == "red"
        return
    with pytest.raises(UsageError) as caught:
        classify_by_names([str(world / "red.png")], **call)
    assert caught.value.code == code


def test_a_probe_learns_classes_that_no_word_names(tmp_path: Path, loader: Loader) -> None:
    warm = shades(tmp_path / "m", name="w", colour=(200, 120, 40), n=8, seed=1)
    cold = shades(tmp_path / "m", name="c", colour=(40, 120, 200), n=8, seed=2)
    examples = [Label(str(p), "zig") for p in warm[:6]] + [Label(str(p), "zag") for p in cold[:6]]
    further = [str(p) for p in (*warm[6:], *cold[6:])]
    result = classify_by_examples(
        further, examples=examples, encoder=FAKE, loader=loader, n_folds=3
    )
    assert result.classes == ("zag", "zig")
    assert [p.label for p in result.predictions] == ["zig", "zig", "zag", "zag"]
    assert result.report is not None
    assert (result.report.n_rows, result.report.accuracy, result.report.f1_macro) == (12, 1.0, 1.0)


def test_the_reported_figures_come_from_files_the_fit_had_not_seen(
    tmp_path: Path, loader: Loader
) -> None:
    paths = shades(tmp_path / "m", name="x", colour=(120, 120, 120), n=40, seed=3)
    rng = np.random.default_rng(0)
    examples = [Label(str(p), "ab"[c]) for p, c in zip(paths, rng.permutation(40) % 2, strict=True)]
    result = classify_by_examples([], examples=examples, encoder=FAKE, loader=loader)
    assert result.report is not None
    assert result.predictions == ()
    assert 0.2 < result.report.accuracy < 0.8  # labels by chance cannot be learnt


def test_too_few_or_mixed_examples_are_refused(world: Path, loader: Loader) -> None:
    one = [Label(str(world / "red.png"), "a"), Label(str(world / "blue.png"), "b")]
    with pytest.raises(UsageError, match="too few"):
        classify_by_examples([], examples=one, encoder=FAKE, loader=loader)
    mixed = [Label(str(world / "red.png"), "a"), Label(str(world / "low.wav"), "b")]
    with pytest.raises(UsageError, match="one modality"):
        classify_by_examples([], examples=mixed, encoder=FAKE, loader=loader)


def test_the_command_classifies_a_folder_and_learns_from_a_table(
    world: Path, tmp_path: Path
) -> None:
    done = crossfind("index", "build", world, "--model", "fake", cwd=tmp_path)
    assert done.code == 0, done.err
    done = crossfind("classify", world, "--labels", "red, blue", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = {Path(p["path"]).name: p["label"] for p in json.loads(done.out)["predictions"]}
    assert (found["red.png"], found["blue.png"], found["high.wav"]) == ("red", "blue", "blue")
    rows = [f"{p},{k}" for k, c in (("r", 255), ("g", 90)) for p in shades(
        tmp_path / "t", name=k, colour=(c, 20, 20), n=5, seed=c)]  # fmt: skip
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows))
    done = crossfind("classify", "--train", "labels.csv", "world/red.png", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split()[1:] == ["r", "world/red.png"]
    assert "5-fold accuracy  1.000" in done.out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["classify", "world"], "--labels"),
        (["classify", "world", "--labels", "a,b", "--train", "x.csv"], "--train"),
        (["classify", "--train", "x.csv", "--prompt", "{}"], "no effect"),
        (["classify", "nowhere", "--labels", "a,b"], "path_missing"),
    ],
)
def test_wrong_commands_say_what_to_do(world: Path, tmp_path: Path, args, told) -> None:
    done = crossfind(*args, cwd=tmp_path)
    assert (done.code, told in done.err) == (2, True), done.err
