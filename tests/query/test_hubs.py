"""Hub correction against loops, and that it stays off where it does not surely help."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import InputError
from retrieval.query.hubs import choose_alpha, hub_bias, with_alpha, with_bias


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_the_bias_is_the_mean_of_the_nearest_queries(k: int) -> None:
    rng = np.random.default_rng(0)
    items, bank = unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(20, 8)))
    for item, found in zip(items, hub_bias(items, bank=bank, k=k), strict=True):
        nearest = sorted((float(item @ query) for query in bank), reverse=True)[:k]
        assert found == pytest.approx(sum(nearest) / len(nearest), abs=1e-6)


def test_one_more_component_gives_the_corrected_score() -> None:
    rng = np.random.default_rng(1)
    items, queries = unit(rng.normal(size=(30, 8))), unit(rng.normal(size=(5, 8)))
    bias = hub_bias(items, bank=unit(rng.normal(size=(20, 8))))
    longer = with_alpha(queries, alpha=0.75) @ with_bias(items, bias=bias).T
    assert np.allclose(longer, queries @ items.T - 0.75 * bias, atol=1e-6)


def test_a_planted_hub_no_longer_comes_first() -> None:
    rng = np.random.default_rng(2)
    queries = unit(rng.normal(size=(40, 64)) + 1.5)  # all lean to one side
    items = unit(queries + 0.35 * rng.normal(size=queries.shape))
    items[0] = unit(queries.mean(axis=0, keepdims=True))[0]  # near to every query
    bias = hub_bias(items, bank=queries)
    plain, corrected = queries @ items.T, queries @ items.T - bias

    def n_hub(scores: np.ndarray) -> int:
        return int((scores.argmax(axis=1) == 0).sum())

    assert n_hub(plain) > 5
    assert n_hub(corrected) <= 1
    right = np.arange(40)
    assert (corrected.argmax(axis=1) == right).sum() > (plain.argmax(axis=1) == right).sum()


def test_the_correction_is_on_only_where_the_gain_is_no_chance() -> None:
    ones = np.repeat([1.0, 0.0], 10)
    assert choose_alpha({0.0: ones, 0.5: ones}).alpha == 0.0
    one_more = ones.copy()
    one_more[15] = 1.0
    assert choose_alpha({0.0: ones, 0.5: one_more}).alpha == 0.0  # one query of twenty
    many = ones.copy()
    many[10:16] = 1.0
    choice = choose_alpha({0.0: ones, 0.25: one_more, 0.5: many, 1.0: many})
    assert choice.alpha == 0.5
    assert choice.gain == pytest.approx(0.3)
    worse = choose_alpha({0.0: ones, 1.0: np.zeros(20)})
    assert (worse.alpha, worse.gain) == (0.0, 0.0)


def test_what_does_not_fit_is_refused() -> None:
    items = np.eye(3, dtype=np.float32)
    for bank, k in ((items[:0], 2), (np.eye(2, dtype=np.float32), 2), (items, 0)):
        with pytest.raises(InputError):
            hub_bias(items, bank=bank, k=k)
    for quality in ({0.5: [1.0]}, {0.0: []}, {0.0: [1.0], 0.5: [1.0, 0.0]}):
        with pytest.raises(InputError):
            choose_alpha(quality)
