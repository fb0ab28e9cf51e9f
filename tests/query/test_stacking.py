"""Stacking against plain gradient descent, and the projection of concatenated vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.errors import InputError
from retrieval.query.fusion import project_vectors
from retrieval.query.stacking import fit_stack, fold_of, stack_features, stack_loss


def random_queries(
    n: int, *, seed: int
) -> tuple[list[dict[str, dict[int, float]]], list[set[int]]]:
    """Make sources of which `good` knows the right item, `noise` nothing."""
    rng = np.random.default_rng(seed)
    queries, right = [], []
    for _ in range(n):
        wanted = set(rng.choice(12, size=rng.integers(1, 3), replace=False).tolist())
        good = {i: float(rng.normal() + 1.5 * (i in wanted)) for i in range(12)}
        noise = {i: float(rng.normal()) for i in rng.choice(12, size=6, replace=False).tolist()}
        queries.append({"good": good, "noise": noise})
        right.append(wanted)
    return queries, right


def slow_loss(weights, tables, targets, penalty) -> float:
    total = 0.0
    for table, target in zip(tables, targets, strict=True):
        scores = [
            sum(float(w) * float(f) for w, f in zip(weights, row, strict=True)) for row in table
        ]
        norm = sum(math.exp(s) for s in scores)
        total -= sum(t * math.log(math.exp(s) / norm) for s, t in zip(scores, target, strict=True))
    return total / len(tables) + penalty / 2 * sum(float(w) ** 2 for w in weights)


def test_the_loss_its_gradient_and_hessian_are_the_textbook_ones() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(n, 3)) for n in (2, 5, 4)]
    targets = [np.eye(len(t))[0] for t in tables[:2]] + [np.array([0.5, 0, 0.5, 0])]
    weights = rng.normal(size=3)
    loss, gradient, hessian = stack_loss(weights, tables, targets, 0.3)
    assert math.isclose(loss, slow_loss(weights, tables, targets, 0.3), abs_tol=1e-10)
    for at in range(3):
        step = 1e-5 * np.eye(3)[at]
        up, down = (slow_loss(weights + s * step, tables, targets, 0.3) for s in (1, -1))
        assert math.isclose(gradient[at], (up - down) / 2e-5, abs_tol=1e-6)
        ups, downs = (stack_loss(weights + s * step, tables, targets, 0.3)[1] for s in (1, -1))
        assert np.allclose(hessian[at], (ups - downs) / 2e-5, atol=1e-5)


def test_newton_ends_where_slow_gradient_descent_ends() -> None:
    queries, right = random_queries(15, seed=1)
    sources = ["good", "noise"]
    stack = fit_stack(queries, right=right, sources=sources, penalty=0.1)
    tables, targets = [], []
    for lists, wanted in zip(queries, right, strict=True):
        ids, features = stack_features(lists, sources=sources)
        tables.append((features - stack.mean) / stack.scale)
        target = np.array([id_ in wanted for id_ in ids], dtype=float)
        targets.append(target / target.sum())
    weights = np.zeros(8)
    for _ in range(4000):
        weights -= 0.3 * stack_loss(weights, tables, targets, 0.1)[1]
    assert np.allclose(weights, stack.weights, atol=1e-3)


def test_features_are_as_written() -> None:
    lists = {"a": {5: 3.0, 6: 1.0, 7: 2.0}, "b": {9: -4.0}}
    ids, table = stack_features(lists, sources=["a", "b"])
    assert ids == [5, 6, 7, 9]
    assert table[0].tolist() == [1.0, 3.0, 1.0, 1.0, 0.0, -4.0, 0.0, 0.0]
    assert table[1].tolist() == [0.0, 1.0, 61 / 63, 1.0, 0.0, -4.0, 0.0, 0.0]
    assert table[3].tolist() == [0.0, 1.0, 0.0, 0.0, 1.0, -4.0, 1.0, 1.0]


def test_a_source_that_knows_outweighs_noise_on_queries_it_has_not_seen() -> None:
    queries, right = random_queries(80, seed=2)
    stack = fit_stack(queries[:40], right=right[:40], sources=["good", "noise"])
    firsts = [next(iter(stack.fuse(lists))) for lists in queries[40:]]
    hits = sum(first in wanted for first, wanted in zip(firsts, right[40:], strict=True))
    by_noise = sum(
        max(lists["noise"], key=lambda i: lists["noise"][i]) in wanted
        for lists, wanted in zip(queries[40:], right[40:], strict=True)
    )
    assert hits >= 20 > by_noise
    assert stack.weights[:4].sum() > 4 * abs(stack.weights[4:].sum())


def test_what_teaches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no query has a right") as error:
        fit_stack([{"a": {1: 1.0, 2: 0.5}}], right=[{9}], sources=["a"])
    assert error.value.code == "nothing_to_learn"
    with pytest.raises(InputError):
        fit_stack([{"a": {1: 1.0}}], right=[{1}], sources=["a"], penalty=0.0)


def test_folds_keep_a_query_together_and_are_even() -> None:
    groups = [f"q{n % 11}" for n in range(40)]
    folds = fold_of(groups, n_folds=5, seed=3)
    assert len({(g, f) for g, f in zip(groups, folds.tolist(), strict=True)}) == 11
    sizes = np.bincount([folds[groups.index(f"q{n}")] for n in range(11)])
    assert sizes.tolist() == [3, 2, 2, 2, 2]
    assert fold_of(groups, n_folds=5, seed=3).tolist() == folds.tolist()
    with pytest.raises(InputError):
        fold_of(["a", "a"], n_folds=2)


def test_the_projection_is_the_textbook_gram_schmidt_and_keeps_cosines() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(60, 96)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[7] = 0
    projected = project_vectors(rows, dim=48, seed=9)
    columns: list[np.ndarray] = []
    for drawn in np.random.default_rng(9).normal(size=(96, 48)).T:
        rest = drawn - sum((drawn @ before) * before for before in columns)
        columns.append(rest / np.linalg.norm(rest))
    expected = rows @ np.stack(columns, axis=1)
    norms = np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(projected, expected / np.maximum(norms, 1e-9), atol=1e-5)
    assert not projected[7].any()
    assert np.abs(projected @ projected.T - rows @ rows.T).mean() < 1 / math.sqrt(48)
    assert np.allclose(np.abs(project_vectors(rows, dim=96) @ project_vectors(rows, dim=96).T),
                       np.abs(rows @ rows.T), atol=1e-5)  # fmt: skip
    with pytest.raises(InputError):
        project_vectors(rows, dim=97)
