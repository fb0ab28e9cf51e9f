"""Bootstrap intervals against the normal approximation and against loops."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import InputError
from retrieval.evaluation.bootstrap import bootstrap, bootstrap_difference


def test_interval_of_a_large_sample_matches_the_normal_approximation() -> None:
    values = (np.random.default_rng(0).random(2000) < 0.3).astype(np.float64)
    interval = bootstrap(values, seed=1, n_resamples=4000)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(values.mean() - error, abs=0.003)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.003)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        interval = bootstrap(generator.normal(1.0, 1.0, size=60), seed=trial, n_resamples=400)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)


def test_a_difference_over_the_same_queries_is_sharper_than_two_intervals() -> None:
    generator = np.random.default_rng(0)
    before = (generator.random(300) < 0.5).astype(np.float64)
    after = np.maximum(before, generator.random(300) < 0.1)
    difference = bootstrap_difference(after, before=before)
    assert difference.low > 0
    assert bootstrap(after).low < bootstrap(before).high


def test_a_difference_needs_the_same_queries() -> None:
    with pytest.raises(InputError) as raised:
        bootstrap_difference(np.ones(3), before=np.ones(4))
    assert raised.value.code == "bad_shape"


@pytest.mark.parametrize(("n", "level"), [(0, 0.95), (3, 1.0), (3, 0.0)])
def test_no_values_or_a_senseless_level_is_refused(n: int, level: float) -> None:
    with pytest.raises(InputError):
        bootstrap(np.ones(n), level=level)
