"""Calibration: z, evidence and confidence against numpy; order of mixed lists; when it is off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import media_files
import numpy as np
import pytest
from colour_media import make_media

from index.segments import open_segment
from retrieval.config import load_settings
from retrieval.engine import Engine
from retrieval.errors import UsageError
from retrieval.query.bank import TEXTS
from retrieval.query.calibrate import Calibrator
from retrieval.query.grammar import make_query
from retrieval.query.parse import parse
from retrieval.query.search import search


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """72 pictures, 40 texts, 2 sounds."""
    folder = tmp_path_factory.mktemp("calibrated")
    make_media(folder / "media", n_files=80)
    rows = [f"word{n} {'red' if n % 3 else 'blue'} word{n // 2}" for n in range(32)]
    (folder / "media" / "rows.csv").write_text("text\n" + "\n".join(rows) + "\n")
    for name, hz in (("low", 100.0), ("high", 6400.0)):
        media_files.wav(folder / "media" / f"{name}.wav", samples=media_files.tone(hz=hz))
    settings = load_settings({"workers": 1}, environment={}, file=folder / "none")
    with Engine.open(folder / "store", create=True, model="fake", settings=settings) as opened:
        opened.add(folder / "media")
        yield opened


def vectors(engine: Engine, modality: str) -> np.ndarray:
    with engine._catalog.reading() as reader:
        wanted = set(reader.part_ids(part_modalities=[modality]).tolist())  # type: ignore[list-item]
        rows = []
        for entry in reader.segments():
            segment = open_segment(engine.store.segments / entry.info.name)
            known = zip(segment.ids.tolist(), segment.vectors(0, len(segment.ids)), strict=True)
            rows += [vector for id_, vector in known if id_ in wanted]
    return np.array(rows)


def slow(engine: Engine, query: np.ndarray, modality: str) -> tuple[np.ndarray, float, float]:
    """Give z of every part, and median and robust spread of the best z of the bank."""
    parts = vectors(engine, modality)
    bank = engine.encoder.encode(list(TEXTS), modality="text")
    scores = bank @ parts.T
    good = scores.std(axis=1) > 1e-4
    scores = scores[good]
    best = (scores.max(axis=1) - scores.mean(axis=1)) / scores.std(axis=1)
    own = parts @ query
    middle = float(np.median(best))
    spread = max(1.4826 * float(np.median(np.abs(best - middle))), 0.05)
    return (own - own.mean()) / own.std(), middle, spread


@pytest.mark.parametrize("modality", ["image", "text"])
def test_z_and_confidence_are_those_of_the_formula(engine: Engine, modality: str) -> None:
    query = engine.encoder.encode(["red"], modality="text")[0]
    z, middle, spread = slow(engine, query, modality)
    hits = engine.search("red", k=20, modality=modality)
    expected = np.sort(z)[::-1][:20]
    assert np.allclose([h.z for h in hits], expected, atol=1e-3)
    assert middle > 0
    assert spread >= 0.05


@pytest.mark.parametrize(("text", "modality"), [("red", "image"), ("zanzibar lamp", "text")])
def test_confidence_compares_with_the_best_scores_of_the_bank(
    engine: Engine, text: str, modality: str
) -> None:
    parts = vectors(engine, modality)
    bank = engine.encoder.encode(list(TEXTS), modality="text") @ parts.T
    best = bank.max(axis=1)[bank.std(axis=1) > 1e-4]
    middle = float(np.median(best))
    spread = max(1.4826 * float(np.median(np.abs(best - middle))), 0.01)
    hits = engine.search(text, k=15, modality=modality)
    steps = np.array([(h.score - middle) / spread for h in hits])
    sure = 1 / (1 + np.exp(-1.702 * np.clip(steps, -40, 40)))
    assert np.allclose([h.confidence for h in hits], sure, atol=2e-3)


def test_a_mixed_list_is_ordered_by_confidence_and_each_kind_by_cosine(engine: Engine) -> None:
    hits = engine.search("red", k=110, where="modality != 'audio'")
    confidences = [h.confidence for h in hits if h.confidence is not None]
    assert len(confidences) == len(hits)
    assert confidences == sorted(confidences, reverse=True)
    for modality in ("image", "text"):
        scores = [h.score for h in hits if h.modality == modality]
        assert len(scores) > 30
        assert scores == sorted(scores, reverse=True)


def test_kinds_with_too_few_parts_are_not_calibrated(engine: Engine) -> None:
    sounds = engine.search("red", k=5, modality="audio")
    assert [h.confidence for h in sounds] == [None, None]
    assert [h.z for h in sounds] == [None, None]
    with pytest.raises(UsageError, match="at least 30") as caught:
        engine.search("red", modality="audio", min_confidence=0.5)
    assert caught.value.code == "not_calibrated"


def test_min_confidence_keeps_what_reaches_it_with_its_rank(engine: Engine) -> None:
    everything = engine.search("zanzibar lamp", k=30, modality="text")
    limit = everything[4].confidence
    assert limit is not None
    kept = engine.search("zanzibar lamp", k=30, modality="text", min_confidence=limit)
    assert kept == [h for h in everything if (h.confidence or 0) >= limit]
    assert 5 <= len(kept) < 30
    assert engine.search("zanzibar lamp", k=30, modality="text", min_confidence=1.0) == []


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "much", None, True])
def test_a_min_confidence_outside_its_limits_is_refused(engine: Engine, value: object) -> None:
    with pytest.raises(UsageError, match="from 0 to 1") as caught:
        engine.search("red", min_confidence=value)  # type: ignore[arg-type]
    assert caught.value.code == "bad_confidence"


def test_centring_ranks_by_the_query_less_the_mean_query(engine: Engine) -> None:
    with engine.serving.reading() as (reader, generation):
        calibrator = Calibrator(
            reader=reader,
            generation=generation,
            encoder=engine.encoder,
            centred=frozenset({("text", "image")}),
        )
        hits = search(
            make_query("red", k=72, modality="image"),
            reader=reader,
            generation=generation,
            encoder=engine.encoder,
            loader=engine.serving.loader,
            calibrator=calibrator,
        )
    query = engine.encoder.encode(["red"], modality="text")[0]
    shift = engine.encoder.encode(list(TEXTS), modality="text").mean(axis=0)
    pictures = vectors(engine, "image")
    expected = pictures[np.argsort(-(pictures @ (query - shift)), kind="stable")] @ query
    # The score stays the cosine with the query itself.
    assert np.allclose([h.score for h in hits], expected, atol=1e-4)


def test_and_or_use_evidence_where_all_is_calibrated(engine: Engine) -> None:
    hits = engine.search(parse('"red" AND "blue"'), k=10, modality="image")
    one, other = (engine.encoder.encode([word], modality="text")[0] for word in ("red", "blue"))
    z_one, z_other = slow(engine, one, "image")[0], slow(engine, other, "image")[0]
    expected = np.sort(np.minimum(z_one, z_other))[::-1][:10]
    assert np.allclose([h.z for h in hits], expected, atol=1e-3)
    assert all(h.confidence is not None for h in hits)


def test_the_bank_is_wide_and_has_no_text_twice() -> None:
    assert len(TEXTS) > 250
    assert len(set(TEXTS)) == len(TEXTS)
    assert all(1 <= len(text.split()) <= 6 for text in TEXTS)


def test_two_engines_calibrate_alike(engine: Engine) -> None:
    with Engine.open(Path(engine.store.root)) as other:
        one, two = engine.search("red", k=50), other.search("red", k=50)
    assert [(h.id, h.z, h.confidence) for h in one] == [(h.id, h.z, h.confidence) for h in two]


def test_what_is_the_same_as_the_query_comes_before_all_that_suits_it(engine: Engine) -> None:
    n_led = 0
    for hit in engine.search("red", k=72, modality="image")[::6]:
        found = engine.search(Path(hit.path), k=110)
        same = [h.score >= 0.999 for h in found]
        assert found[0].score >= 0.999
        assert same == sorted(same, reverse=True)
        sure = [h.confidence or 0.0 for h in found]
        n_led += sure != sorted(sure, reverse=True)
        assert engine.search(Path(hit.path), k=3) == found[:3]
    assert n_led  # confidence alone would have ordered some of them otherwise
