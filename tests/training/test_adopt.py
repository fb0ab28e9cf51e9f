"""Held-out recall with several right answers, and the verdict on a gain."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import UsageError
from retrieval.training import adopt
from retrieval.training.adopt import held_out_recalls, judge_adoption, mean_recall
from retrieval.training.features import Features

DIM = 6


def _features(n: int = 40, *, seed: int = 0) -> Features:
    generator = np.random.default_rng(seed)
    vectors, present, groups = {}, {}, {}
    for side in ("image", "audio", "text"):
        raw = generator.standard_normal((n, DIM)).astype(np.float32)
        vectors[side] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        present[side] = np.ones(n, dtype=np.bool_)
        groups[side] = np.arange(n)
    groups["text"] = np.arange(n) // 3  # each caption three times
    vectors["text"] = vectors["text"][groups["text"]]
    groups["image"][5] = groups["image"][4]  # one picture with two captions: 4//3 and 5//3 agree
    groups["image"][6] = groups["image"][4]  # and a third row with another caption
    vectors["image"][5] = vectors["image"][6] = vectors["image"][4]
    present["audio"][:] = False
    return Features(vectors, present, groups, (), 0)


def _slow(features: Features, query: str, item: str) -> list[list[float]]:
    """Per distinct query: is a right item among the first 1, 5, 10 distinct items?"""
    q, t = features.groups[query].tolist(), features.groups[item].tolist()
    out = []
    for group in sorted(set(q)):
        row = q.index(group)
        right = {t[i] for i in range(len(q)) if q[i] == group}
        ranked = sorted(
            set(t),
            key=lambda g: -float(features.vectors[query][row] @ features.vectors[item][t.index(g)]),
        )
        out.append([float(bool(right & set(ranked[:k]))) for k in (1, 5, 10)])
    return out


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_recalls_equal_a_slow_search_among_distinct_items(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopt, "_BLOCK", block)
    features = _features()
    rows = np.arange(40)
    found = held_out_recalls(
        features, rows=rows, vectors=features.vectors, pairs=[("image", "text"), ("audio", "text")]
    )
    assert set(found) == {("image", "text"), ("text", "image")}
    for (query, item), hits in found.items():
        assert hits.tolist() == _slow(features, query, item)
    assert 0 < mean_recall(found) < 1


def test_held_out_rows_are_searched_among_themselves_only() -> None:
    features = _features()
    rows = np.array([0, 7, 20, 33])
    vectors = {side: values[rows] for side, values in features.vectors.items()}
    found = held_out_recalls(features, rows=rows, vectors=vectors, pairs=[("image", "text")])
    assert found["image", "text"].shape == (4, 3)
    assert found["image", "text"][:, 1].all()  # four items: the first five hold them all


def test_a_model_that_gives_all_items_one_vector_scores_nothing() -> None:
    features = _features()
    flat = {side: np.ones_like(values) for side, values in features.vectors.items()}
    found = held_out_recalls(features, rows=np.arange(40), vectors=flat, pairs=[("image", "text")])
    assert found["image", "text"].sum() == 0


def test_no_held_out_pair_is_an_error() -> None:
    features = _features()
    with pytest.raises(UsageError) as raised:
        held_out_recalls(
            features, rows=np.arange(9), vectors=features.vectors, pairs=[("audio", "text")]
        )
    assert raised.value.code == "too_few_pairs"


def _hits(share: float, *, n: int = 200, seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    draw = (np.random.default_rng(seed).random((n, 1)) < share).astype(np.float64)
    return {("text", "image"): np.repeat(draw, 3, axis=1)}


def test_a_clear_gain_is_adopted_with_its_interval() -> None:
    verdict = judge_adoption(_hits(0.3), after=_hits(0.5))
    assert verdict.adopted
    assert not verdict.forced
    assert 0 < verdict.gain.low < verdict.gain.value < verdict.gain.high
    assert verdict.gain.value == pytest.approx(verdict.after.value - verdict.before.value)


def test_a_gain_within_its_interval_is_not_adopted_unless_forced() -> None:
    before = _hits(0.5)
    after = {key: values.copy() for key, values in before.items()}
    hits = before["text", "image"][:, 0]
    after["text", "image"][np.flatnonzero(hits == 0)[:9]] = 1
    after["text", "image"][np.flatnonzero(hits == 1)[:6]] = 0
    verdict = judge_adoption(before, after=after)
    assert verdict.gain.value == pytest.approx(3 / 200)
    assert verdict.gain.low < 0 < verdict.gain.high
    assert not verdict.adopted
    forced = judge_adoption(before, after=after, force=True)
    assert forced.adopted
    assert forced.forced
    assert forced.gain == verdict.gain


def test_the_interval_of_one_direction_matches_the_normal_approximation() -> None:
    after = _hits(0.4, n=1000)
    verdict = judge_adoption(_hits(0.0, n=1000), after=after)
    values = after["text", "image"].mean(axis=1)
    error = 1.96 * values.std() / np.sqrt(1000)
    assert verdict.gain.low == pytest.approx(values.mean() - error, abs=0.004)
    assert verdict.gain.high == pytest.approx(values.mean() + error, abs=0.004)
