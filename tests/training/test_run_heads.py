"""From pairs on disk to a model file: the heads mend a base that is wrong, or are not adopted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_worlds import DirectLoader, TurnedEncoder, write_turned_pairs

from retrieval.encoders.base import Encoder
from retrieval.encoders.model_file import read_model_file
from retrieval.encoders.trained import open_trained
from retrieval.errors import ModelError, UsageError
from retrieval.training.features import encode_pairs
from retrieval.training.heads import HeadsModel
from retrieval.training.heads_job import HeadOptions, HeadsJob, HeadsReport
from retrieval.training.heads_plan import head_specs, pair_types, training_objective
from retrieval.training.recipe import Recipe
from retrieval.training.run_heads import run_heads, train_heads
from retrieval.training.trainer import Trainer


def _job(folder: Path, *, force: bool = False, n_epochs: int = 100) -> HeadsJob:
    return HeadsJob(
        source=folder,
        base="turned",
        out=folder / "my.model",
        cache=folder / "cache",
        recipe=Recipe(n_epochs=n_epochs, batch_size=64, learning_rate=1e-2),
        options=HeadOptions(kind="linear", dropout=0.0),
        force=force,
    )


def _train(folder: Path, *, shuffled: bool = False, force: bool = False) -> HeadsReport:
    encoder = TurnedEncoder()
    return train_heads(
        write_turned_pairs(folder, 160, shuffled=shuffled),
        encoder=encoder,
        loader=DirectLoader(encoder.media),
        job=_job(folder, force=force, n_epochs=2 if shuffled else 100),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HeadsReport]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, _train(folder)


def _open(path: Path) -> Encoder:
    return open_trained(path, open_base=lambda _name: TurnedEncoder())


def test_heads_that_mend_the_base_are_adopted(trained: tuple[Path, HeadsReport]) -> None:
    folder, report = trained
    assert report.adoption.adopted
    assert not report.adoption.forced
    assert report.adoption.before.value < 0.45
    assert report.adoption.after.value > 0.9
    assert report.recalls["after"]["text->image"]["hit@1"] > 0.8
    assert report.path == str(folder / "my.model")
    assert report.n_rows == {"train": 112, "validation": 24, "test": 24}
    assert report.n_pairs == {"image-text": 160}


def test_the_model_file_opens_as_an_encoder_that_finds_unseen_pairs(
    trained: tuple[Path, HeadsReport], tmp_path: Path
) -> None:
    encoder = _open(trained[0] / "my.model")
    generator = np.random.default_rng(99)
    numbers = generator.integers(0, 256, size=(50, 2, 2, 3), dtype=np.uint8)
    pictures = [n.repeat(4, axis=0).repeat(4, axis=1) for n in numbers]
    texts = [" ".join(map(str, n.reshape(12))) for n in numbers]
    for model, low, high in ((TurnedEncoder(), 0.0, 0.3), (encoder, 0.9, 1.0)):
        scores = model.encode(texts, modality="text") @ model.encode(pictures, modality="image").T
        assert low <= (scores.argmax(axis=1) == np.arange(50)).mean() <= high


def test_a_trained_model_has_a_space_of_its_own(trained: tuple[Path, HeadsReport]) -> None:
    encoder, base = _open(trained[0] / "my.model"), TurnedEncoder()
    space = encoder.spaces[0]
    assert space.fingerprint not in ("", base.spaces[0].fingerprint)
    assert space.id != base.spaces[0].id
    assert space.dim == 12
    assert space.modalities == ("image", "text")
    assert space.model == str(trained[0] / "my.model")
    texts = ["1 2 3 4 5 6 7 8 9 10 11 12"]
    same = (e.encode(texts, modality="text") for e in (encoder, base))
    np.testing.assert_allclose(*same, atol=1e-6)


def test_the_model_file_carries_its_figures(trained: tuple[Path, HeadsReport]) -> None:
    folder, report = trained
    metrics = read_model_file(folder / "my.model").metrics
    assert metrics["gain.low"] == report.adoption.gain.low
    assert metrics["text->image.hit@1"] == report.recalls["after"]["text->image"]["hit@1"]


def test_a_report_is_json(trained: tuple[Path, HeadsReport]) -> None:
    values = json.loads(trained[1].to_json())
    assert values["adoption"]["gain"]["low"] == trained[1].adoption.gain.low
    assert values["failures"] == []


def test_training_twice_gives_the_same_file_and_encodes_nothing_again(
    trained: tuple[Path, HeadsReport],
) -> None:
    folder, report = trained
    before = (folder / "my.model").read_bytes()
    assert report.n_encoded == 320
    assert _train(folder).n_encoded == 0
    assert (folder / "my.model").read_bytes() == before


def test_heads_that_learnt_nothing_are_not_adopted_unless_forced(tmp_path: Path) -> None:
    report = _train(tmp_path, shuffled=True)
    assert not report.adoption.adopted
    assert report.path is None
    assert not (tmp_path / "my.model").exists()
    forced = _train(tmp_path, shuffled=True, force=True)
    assert forced.adoption.forced
    assert (tmp_path / "my.model").exists()


def test_refitted_heads_learnt_from_all_pairs_for_as_long_as_was_best(
    trained: tuple[Path, HeadsReport], tmp_path: Path
) -> None:
    encoder, judged = TurnedEncoder(), trained[1]
    pairs, loader = write_turned_pairs(tmp_path, 160), DirectLoader(encoder.media)
    job = replace(_job(tmp_path), refit=True)
    report = train_heads(pairs, encoder=encoder, loader=loader, job=job)
    assert report.refitted
    assert not judged.refitted
    assert (report.adoption, report.training) == (judged.adoption, judged.training)
    features = encode_pairs(
        pairs, encoder=encoder, space=encoder.spaces[0], loader=loader, cache=job.cache
    )
    every, types = np.arange(160), pair_types(features, rows=np.arange(160))
    heads = head_specs(types, features=features, options=job.options)
    torch.manual_seed(0)
    model = HeadsModel({str(m): h for m, h in heads.items()}, pairs=[("image", "text")])
    Trainer(
        model,
        objective=training_objective(features, rows=every, types=types, options=job.options),
        recipe=replace(job.recipe, n_epochs=judged.training.best_epoch + 1),
    ).train()
    kept = read_model_file(job.out).tensors
    for name, value in model.head_tensors().items():
        np.testing.assert_array_equal(kept[name], value)
    first = read_model_file(trained[0] / "my.model").tensors
    assert not np.array_equal(kept["image.last.weight"], first["image.last.weight"])


def test_another_base_is_refused(trained: tuple[Path, HeadsReport]) -> None:
    from retrieval.encoders.fake import FakeEncoder

    with pytest.raises(ModelError) as raised:
        open_trained(trained[0] / "my.model", open_base=lambda _name: FakeEncoder())
    assert raised.value.code == "base_mismatch"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda raw: raw[:-5], "unsafe_weights"),
        (lambda raw: raw[:-2] + bytes([raw[-2] ^ 1, raw[-1]]), "model_hash_mismatch"),
        (lambda _raw: b"\x80\x04pickle", "unsafe_weights"),
        (lambda raw: raw.replace(b'\\"linear\\"', b'\\"lineaR\\"'), "not_a_model_file"),
        (lambda raw: raw.replace(b"crossfind-model", b"crossfind-mudel"), "not_a_model_file"),
        (lambda raw: raw.replace(b'\\"version\\": 1', b'\\"version\\": 9'), "model_too_new"),
        (lambda raw: raw.replace(b'\\"dim_out\\": 12', b'\\"dim_out\\": 21'), "model_shape"),
    ],
)
def test_a_model_file_that_is_not_what_was_written_is_refused(
    trained: tuple[Path, HeadsReport], tmp_path: Path, damage: object, code: str
) -> None:
    raw = (trained[0] / "my.model").read_bytes()
    broken = damage(raw)  # type: ignore[operator]
    assert broken != raw
    (tmp_path / "my.model").write_bytes(broken)
    with pytest.raises(ModelError) as raised:
        _open(tmp_path / "my.model")
    assert raised.value.code == code
    assert raised.value.exit_code == 7


def test_an_absent_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.model") as raised:
        _open(tmp_path / "gone.model")
    assert raised.value.code == "model_unavailable"


def test_the_whole_pipeline_runs_from_a_table_with_guarded_decoders(tmp_path: Path) -> None:
    pairs = write_turned_pairs(tmp_path, 60)
    rows = [f"{p.image.name},red {p.id}" for p in pairs if p.image]
    (tmp_path / "pairs.csv").write_text("image,text\n" + "\n".join([*rows, "gone.png,lost"]))
    job = HeadsJob(
        source=tmp_path / "pairs.csv",
        base="fake",
        out=tmp_path / "my.model",
        cache=tmp_path / "cache",
        recipe=Recipe(n_epochs=1),
        force=True,
    )
    report = run_heads(job)
    assert report.base == "fake"
    assert report.n_pairs == {"image-text": 60}
    assert [Path(f.path).name for f in report.failures] == ["gone.png"]
    assert read_model_file(tmp_path / "my.model").base == "fake"


def test_an_output_with_another_suffix_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    job = HeadsJob(tmp_path, "fake", out=tmp_path / "my.bin", cache=tmp_path / "cache")
    with pytest.raises(UsageError) as raised:
        run_heads(job)
    assert raised.value.code == "bad_output"
    assert not (tmp_path / "cache").exists()
