"""Every fusion rule against its slow textbook form, over random lists and vectors."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from retrieval.errors import InputError
from retrieval.query.fusion import fuse_ranks, fuse_scores, fuse_vectors


def random_lists(rng: random.Random) -> list[dict[int, float]]:
    lists = []
    for _ in range(rng.randint(1, 4)):
        ids = rng.sample(range(12), rng.randint(0, 8))
        lists.append({i: rng.choice([0.1, 0.5, 0.5, 3.0, -2.0, rng.random()]) for i in ids})
    return lists


def textbook(lists: list[dict[int, float]], rule: str, weights: list[float]) -> dict[int, float]:
    """Score one id after the other, one list after the other."""
    fused = {}
    for id_ in sorted(set().union(*lists)):
        total, n_with, weight_with, every = 0.0, 0, 0.0, []
        for scores, weight in zip(lists, weights, strict=True):
            value = 0.0
            if id_ in scores:
                low, high = min(scores.values()), max(scores.values())
                value = 1.0 if low == high else (scores[id_] - low) / (high - low)
                n_with += 1
                weight_with += weight
            total += weight * value
            every.append(weight * value)
        fused[id_] = {
            "sum": total, "mnz": total * n_with, "max": max(every), "min": min(every),
            "average": total / weight_with if weight_with else 0.0,
        }[rule]  # fmt: skip
    return fused


@pytest.mark.parametrize("rule", ["sum", "mnz", "average", "max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_fuse_as_the_textbook_says(rule: str, weighted: bool) -> None:
    rng = random.Random(4)
    for _ in range(300):
        lists = random_lists(rng)
        weights = [rng.choice([0.0, 0.5, 2.0]) if weighted else 1.0 for _ in lists]
        fused = fuse_scores(lists, rule=rule, weights=weights if weighted else None)  # type: ignore[arg-type]
        expected = textbook(lists, rule, weights)
        assert fused.keys() == expected.keys()
        assert all(math.isclose(fused[i], expected[i], abs_tol=1e-12) for i in fused)
        assert list(fused) == sorted(fused, key=lambda i: (-fused[i], i))


def test_ranks_fuse_as_the_textbook_says() -> None:
    rng = random.Random(5)
    for _ in range(300):
        rankings = [rng.sample(range(15), rng.randint(0, 10)) for _ in range(3)]
        weights = [rng.choice([0.0, 1.0, 2.5]) for _ in rankings]
        for used in (None, weights):
            scores = {
                i: sum(
                    (used[n] if used else 1.0) / (60 + r.index(i) + 1)
                    for n, r in enumerate(rankings)
                    if i in r
                )
                for i in set().union(*rankings)
            }
            expected = sorted(scores, key=lambda i: (-scores[i], i))
            assert fuse_ranks(rankings, weights=used) == expected


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("rule", ["sum", "average", "max", "min", "concat"])
def test_vectors_fuse_as_the_textbook_says(rule: str) -> None:
    rng = np.random.default_rng(6)
    parts = {
        n: unit(rng.normal(size=(40, 5))).astype(np.float32) for n in ("text", "audio", "image")
    }
    parts["audio"][rng.random(40) < 0.4] = 0  # missing
    parts["text"][rng.random(40) < 0.4] = 0
    weights = {"text": 0.2, "audio": 1.5, "image": 0.7} if rule in ("sum", "concat") else None
    fused = fuse_vectors(parts, rule=rule, weights=weights)  # type: ignore[arg-type]
    for row in range(40):
        there = [n for n in sorted(parts) if parts[n][row].any()]
        if rule == "concat":
            expected = np.concatenate(
                [math.sqrt(weights[n]) * parts[n][row] for n in sorted(parts)]  # type: ignore[index]
            )
        elif rule == "sum":
            total = sum(weights[n] for n in there)  # type: ignore[index]
            expected = sum(weights[n] / total * parts[n][row] for n in there)  # type: ignore[index]
        else:
            stacked = np.stack([parts[n][row] for n in there])
            expected = {"average": stacked.mean, "max": stacked.max, "min": stacked.min}[rule](
                axis=0
            )
        assert np.allclose(fused[row], expected / np.linalg.norm(expected), atol=1e-5)
    assert fused.dtype == np.float32
    assert np.allclose(np.linalg.norm(fused, axis=1), 1, atol=1e-5)


def test_the_cosine_of_concatenated_vectors_is_the_weighted_mean_of_cosines() -> None:
    rng = np.random.default_rng(7)
    one, other = (
        {n: unit(rng.normal(size=(1, d))).astype(np.float32) for n, d in (("a", 4), ("b", 6))}
        for _ in range(2)
    )
    weights = {"a": 3.0, "b": 1.0}
    cosine = (
        fuse_vectors(one, rule="concat", weights=weights)[0]
        @ fuse_vectors(other, rule="concat", weights=weights)[0]
    )
    expected = sum(w / 4 * float(one[n][0] @ other[n][0]) for n, w in weights.items())
    assert math.isclose(cosine, expected, abs_tol=1e-5)


def test_what_is_not_there_or_cancels_out_is_zero() -> None:
    east = np.array([[1, 0]], np.float32)
    assert not fuse_vectors({"a": east, "b": -east}).any()
    assert not fuse_vectors({"a": east * 0, "b": east * 0}, rule="max").any()
    assert fuse_vectors({"a": east * 0, "b": east}, rule="min").tolist() == [[1, 0]]
    assert fuse_scores([]) == {}
    assert fuse_ranks([]) == []


def test_what_does_not_fit_is_refused() -> None:
    east = np.array([[1, 0]], np.float32)
    for call in (
        lambda: fuse_vectors({}),
        lambda: fuse_vectors({"a": east}, rule="product"),  # type: ignore[arg-type]
        lambda: fuse_vectors({"a": east, "b": np.eye(3, dtype=np.float32)}),
        lambda: fuse_vectors({"a": east}, weights={"b": 1}),
        lambda: fuse_vectors({"a": east}, weights={"a": -1}),
        lambda: fuse_vectors({"a": east}, rule="max", weights={"a": 1}),
        lambda: fuse_scores([{1: 1.0}], rule="product"),  # type: ignore[arg-type]
        lambda: fuse_scores([{1: 1.0}], weights=[1, 2]),
        lambda: fuse_ranks([[1]], weights=[float("nan")]),
    ):
        with pytest.raises(InputError):
            call()
