"""What teaches besides pairs, from option to effect: classes, label spaces, teachers, prefixes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file
from training_worlds import DirectLoader, TurnedEncoder, write_turned_pairs

from retrieval.encoders.trained import open_trained
from retrieval.errors import UsageError
from retrieval.training.classes import class_rows, conse_vectors, read_classifier
from retrieval.training.features import Features, encode_pairs
from retrieval.training.guides import Guide
from retrieval.training.heads_job import HeadOptions, HeadsJob, HeadsReport
from retrieval.training.heads_plan import head_specs, training_objective
from retrieval.training.lessons import Teacher, prepare_lessons, teacher_guides
from retrieval.training.recipe import Recipe
from retrieval.training.run_heads import train_heads
from retrieval.types import Modality, Payload, Space

Floats = npt.NDArray[np.float32]
TYPES: tuple[tuple[Modality, Modality], ...] = (("image", "text"),)
PLAIN = HeadOptions(kind="linear", dropout=0.0)


class StraightEncoder(TurnedEncoder):
    """The same world without the fault: pictures lie where their texts do."""

    def __init__(self, *, flipped: bool = False) -> None:
        super().__init__()
        self._turn = np.eye(12)
        self._flipped = flipped
        self.name = "straight"
        mark = "ef" if flipped else "cd"
        self.spaces = (Space("straight", "straight", mark * 32, 12, ("image", "text")),)

    def _encode_batch(
        self, inputs: Sequence[Payload], *, modality: Modality, space: Space
    ) -> Floats:
        vectors = super()._encode_batch(inputs, modality=modality, space=space)
        return vectors[:, ::-1].copy() if self._flipped else vectors


def _classes(folder: Path, n: int = 300) -> Path:
    """What pictures of some texts would be for the turned encoder, as a classifier's weights."""
    generator = np.random.default_rng(8)
    names = [" ".join(map(str, row)) for row in generator.integers(0, 256, (n, 12))]
    texts = TurnedEncoder().encode(names, modality="text")
    weights = (texts @ TurnedEncoder()._turn.T * 7).astype(np.float32)
    path = folder / "classes.safetensors"
    save_file({"weights": weights}, path, metadata={"names": json.dumps(names)})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lessons")


def _train(
    folder: Path,
    options: HeadOptions,
    *,
    n: int = 48,
    n_epochs: int = 120,
    teacher: TurnedEncoder | None = None,
) -> HeadsReport:
    encoder = TurnedEncoder()
    job = HeadsJob(
        source=folder,
        base="turned",
        out=folder / "my.model",
        cache=folder / "cache",
        recipe=Recipe(
            n_epochs=n_epochs,
            batch_size=64,
            learning_rate=2e-2,
            patience_epochs=200,
            average_decay=0.9,
        ),
        options=replace(options, teacher="straight" if teacher else ""),
        force=True,
    )
    pairs = write_turned_pairs(folder, n)
    return train_heads(
        pairs,
        encoder=encoder,
        loader=DirectLoader(encoder.media),
        job=job,
        teacher=Teacher(teacher, DirectLoader(teacher.media)) if teacher else None,
    )


def _unseen(folder: Path) -> tuple[Floats, Floats]:
    """Vectors of 50 new pictures by the model just trained, and of their texts."""
    made = open_trained(folder / "my.model", open_base=lambda _name: TurnedEncoder())
    numbers = np.random.default_rng(99).integers(0, 256, size=(50, 2, 2, 3), dtype=np.uint8)
    pictures = [n.repeat(4, axis=0).repeat(4, axis=1) for n in numbers]
    texts = [" ".join(map(str, n.reshape(12))) for n in numbers]
    return made.encode(pictures, modality="image"), made.encode(texts, modality="text")


def _cosine(folder: Path) -> float:
    images, texts = _unseen(folder)
    return float((images * texts).sum(axis=1).mean())


def _features(folder: Path) -> Features:
    encoder = TurnedEncoder()
    pairs = write_turned_pairs(folder, 80)
    return encode_pairs(pairs, encoder=encoder, space=encoder.spaces[0],
                        loader=DirectLoader(encoder.media), cache=folder / "cache")  # fmt: skip


def test_classes_teach_what_too_few_pairs_cannot(folder: Path) -> None:
    alone = _train(folder, PLAIN, n_epochs=12)
    before = _cosine(folder)
    helped = _train(folder, replace(PLAIN, classes={"image": _classes(folder)}), n_epochs=12)
    assert _cosine(folder) > before + 0.3
    assert (alone.lessons, helped.lessons) == ((), ("image by 300 classes",))


def test_a_label_space_pulls_vectors_to_where_the_classes_put_them(folder: Path) -> None:
    features, rows = _features(folder), np.arange(80)
    classifier = read_classifier(_classes(folder), side="image")
    texts = TurnedEncoder().encode(classifier.names, modality="text")
    placed = conse_vectors(classifier, texts=texts, features=features, rows=rows)
    encoder = TurnedEncoder()
    lessons = prepare_lessons(
        write_turned_pairs(folder, 80),
        student=encoder,
        space=encoder.spaces[0],
        features=features,
        rows=rows,
        sides=["image"],
        options=replace(PLAIN, classes={"image": _classes(folder)}, label_weight=0.3),
        cache=folder / "cache",
        teacher=None,
    )
    assert lessons.told == ("image by 300 classes", "image by label space")
    (guide,) = lessons.guides
    assert (guide.role, guide.form, guide.weight) == ("image", "vectors", 0.3)
    np.testing.assert_array_equal(guide.teacher.numpy(), placed)


def _guide(folder: Path, teacher: TurnedEncoder, **options: object) -> Guide:
    """What a teacher teaches the first 40 rows."""
    encoder = TurnedEncoder()
    made = teacher_guides(
        write_turned_pairs(folder, 80),
        teacher=Teacher(teacher, DirectLoader(teacher.media)),
        student=encoder,
        space=encoder.spaces[0],
        features=_features(folder),
        rows=np.arange(40),
        sides=["image"],
        options=HeadOptions(teacher_weight=3.0, **options),  # type: ignore[arg-type]
        cache=folder / "cache",
    )
    assert [(g.role, g.weight) for g in made] == [("image", 3.0)]
    return made[0]


def test_a_teacher_of_the_same_text_space_teaches_its_vectors(folder: Path) -> None:
    guide = _guide(folder, StraightEncoder())
    own_texts = _features(folder).vectors["text"][:40]
    assert guide.form == "vectors"
    np.testing.assert_allclose(guide.teacher.numpy(), own_texts, atol=1e-5)
    _train(folder, PLAIN)
    before = _cosine(folder)
    report = _train(folder, replace(PLAIN, teacher_weight=100.0), teacher=StraightEncoder())
    assert report.lessons == ("image by vectors of straight",)
    assert _cosine(folder) > before + 0.04


def test_a_teacher_of_another_space_teaches_relations(folder: Path) -> None:
    guide = _guide(folder, StraightEncoder(flipped=True))
    own_texts = _features(folder).vectors["text"][:40]
    assert guide.form == "relations"
    np.testing.assert_allclose(guide.teacher.numpy(), own_texts[:, ::-1], atol=1e-5)


def test_a_teacher_asked_for_labels_teaches_probabilities(folder: Path) -> None:
    words = [" ".join(map(str, row)) for row in np.random.default_rng(4).integers(0, 256, (9, 12))]
    (folder / "words.txt").write_text("\n".join(words))
    teacher = StraightEncoder(flipped=True)
    guide = _guide(folder, teacher, teacher_labels=folder / "words.txt")
    own = TurnedEncoder().encode(words, modality="text")
    assert guide.form == "probabilities"
    assert guide.labels is not None
    np.testing.assert_array_equal(guide.labels.numpy(), own)
    odds = np.exp(20 * _features(folder).vectors["text"][:40] @ own.T)
    slow = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(guide.teacher.numpy(), slow, rtol=1e-3, atol=1e-6)


def test_class_rows_have_the_length_of_the_features_and_the_groups_of_equal_captions(
    folder: Path,
) -> None:
    features, rows = _features(folder), np.arange(10, 60)
    classifier = read_classifier(_classes(folder), side="image")
    texts = TurnedEncoder().encode(classifier.names, modality="text")
    texts[3] = features.vectors["text"][17]
    made = class_rows(classifier, texts=texts, features=features, rows=rows)
    np.testing.assert_allclose(np.linalg.norm(made.inputs, axis=1), 1.0, rtol=1e-5)
    own = classifier.weights / np.linalg.norm(classifier.weights, axis=1, keepdims=True)
    np.testing.assert_allclose(made.inputs, own, rtol=1e-4, atol=1e-6)
    assert made.groups[3] == features.groups["text"][17]
    others = np.delete(made.groups, 3)
    assert len(set(others)) == 299
    assert not set(others) & set(features.groups["text"])


def test_classes_on_a_trunk_leave_the_base_vector_empty(folder: Path) -> None:
    features, rows = _features(folder), np.arange(80)
    trunk = np.concatenate([features.vectors["image"] * 3, np.ones((80, 2), np.float32)], axis=1)
    features = replace(features, trunks={"image": trunk})
    weights = np.random.default_rng(0).standard_normal((5, 14)).astype(np.float32)
    path = folder / "trunk.safetensors"
    save_file({"weights": weights, "bias": np.arange(5, dtype=np.float32)}, path,
              metadata={"names": json.dumps(["1 " * 12] * 5)})  # fmt: skip
    classifier = read_classifier(path, side="image")
    texts = np.eye(12, dtype=np.float32)[:5]
    made = class_rows(classifier, texts=texts, features=features, rows=rows)
    assert made.inputs.shape == (5, 26)
    assert not made.inputs[:, :12].any()
    length = np.linalg.norm(trunk, axis=1).mean()
    np.testing.assert_allclose(np.linalg.norm(made.inputs, axis=1), length, rtol=1e-4)
    objective = training_objective(
        features, rows=rows, types=TYPES, options=HeadOptions(), classes=[made]
    )
    assert objective.n_rows == 85
    assert objective.features["image"].shape == (85, 26)
    assert objective.present["text"][80:].all()
    assert len(set(objective.groups["image"].tolist())) == 85
    logits = trunk[:3] @ weights.T + np.arange(5)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    slow = (odds / odds.sum(axis=1, keepdims=True)) @ texts
    slow /= np.linalg.norm(slow, axis=1, keepdims=True)
    placed = conse_vectors(classifier, texts=texts, features=features, rows=rows[:3])
    np.testing.assert_allclose(placed, slow, rtol=1e-4, atol=1e-6)


def test_prefixes_are_trained_and_their_recall_is_told(folder: Path) -> None:
    report = _train(folder, replace(PLAIN, dims=(3, 6)))
    features = _features(folder)
    assert list(report.prefixes) == [3, 6]
    options = replace(PLAIN, dims=(3, 6))
    objective = training_objective(features, rows=np.arange(80), types=TYPES, options=options)
    assert objective.dims == (3, 6, 12)
    assert report.prefixes[6]["after"] > report.prefixes[6]["before"] + 0.2
    assert report.prefixes[6]["after"] >= report.prefixes[3]["after"]


def test_a_gap_penalty_brings_the_means_together(folder: Path) -> None:
    gaps = []
    for weight in (0.0, 100.0):
        _train(folder, replace(PLAIN, gap_weight=weight), n_epochs=12)
        images, texts = _unseen(folder)
        gaps.append(float(((images.mean(axis=0) - texts.mean(axis=0)) ** 2).sum()))
    assert gaps[1] < gaps[0] / 2


def test_weights_reach_the_objective(folder: Path) -> None:
    features = _features(folder)
    options = replace(PLAIN, weights={("image", "text"): 2.5})
    made = training_objective(features, rows=np.arange(80), types=TYPES, options=options)
    assert dict(made.weights) == {("image", "text"): 2.5}
    assert list(head_specs(TYPES, features=features, options=options)) == ["image"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"dims": (12,)}, "bad_dims"),
        ({"dims": (0, 4)}, "bad_dims"),
        ({"weights": {("audio", "text"): 2.0}}, "bad_weights"),
        ({"weights": {("image", "text"): 0.0}}, "bad_weights"),
        ({"classes": {"audio": Path("a.safetensors")}}, "bad_classes"),
        ({"classes": {"image": Path("gone.safetensors")}}, "bad_classes"),
        ({"label_weight": 1.0}, "no_classes"),
        ({"teacher_labels": Path("words.txt")}, "no_teacher"),
        ({"teacher_weight": 2.0}, "no_teacher"),
    ],
)
def test_options_without_effect_are_refused(
    folder: Path, options: dict[str, object], code: str
) -> None:
    with pytest.raises(UsageError) as raised:
        _train(folder, replace(PLAIN, **options))  # type: ignore[arg-type]  # a test's choice
    assert raised.value.code == code


def test_a_teacher_that_knows_no_side_is_refused(folder: Path) -> None:
    class Blind(StraightEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.spaces = (replace(self.spaces[0], fingerprint="01" * 32),)

        def _encode_batch(
            self, inputs: Sequence[Payload], *, modality: Modality, space: Space
        ) -> Floats:
            vectors = super()._encode_batch(inputs, modality=modality, space=space)
            return vectors * (modality == "text")

    with pytest.raises(UsageError) as raised:
        _train(folder, PLAIN, teacher=Blind())
    assert raised.value.code == "teacher_without_sides"


@pytest.mark.parametrize("damage", ["names", "shape", "nan", "junk", "features"])
def test_a_class_file_that_does_not_fit_is_refused(
    tmp_path: Path, folder: Path, damage: str
) -> None:
    weights = np.ones((4, 9 if damage == "features" else 12), np.float32)
    names = ["1 " * 12] * (3 if damage == "names" else 4)
    if damage == "nan":
        weights[0, 0] = np.nan
    path = tmp_path / "classes.safetensors"
    shaped = weights[0] if damage == "shape" else weights
    save_file({"weights": shaped}, path, metadata={"names": json.dumps(names)})
    if damage == "junk":
        path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(UsageError) as raised:
        _train(folder, replace(PLAIN, classes={"image": path}))
    assert raised.value.code == "bad_classes"
