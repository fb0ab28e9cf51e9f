"""Splits keep what belongs together on one side, and say when there is too little."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import UsageError
from retrieval.training.split import split_rows


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_share_a_group_are_never_torn_apart(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first = generator.integers(-20, 60, size=200)
    second = generator.integers(-400, 40, size=200)
    split = split_rows([first, second], seed=seed)
    parts = (split.train, split.validation, split.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    for grouping in (first, second):
        for group in range(60):
            rows = set(np.flatnonzero(grouping == group).tolist())
            assert sum(bool(rows & set(part.tolist())) for part in parts) <= 1


def test_groups_bind_through_each_other() -> None:
    # 0-1 share a picture, 1-2 a sound: 0, 1 and 2 are one cluster.
    images, sounds = np.arange(60), np.arange(60)
    images[1], sounds[2] = images[0], sounds[1]
    split = split_rows([images, sounds], seed=1)
    homes = [
        next(p for p in ("train", "validation", "test") if row in getattr(split, p))
        for row in (0, 1, 2)
    ]
    assert len(set(homes)) == 1


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    rows = np.arange(100)
    one, two, three = (split_rows([rows], seed=s) for s in (3, 3, 4))
    assert one.test.tolist() == two.test.tolist()
    assert one.test.tolist() != three.test.tolist()
    assert (len(one.train), len(one.validation), len(one.test)) == (70, 15, 15)


@pytest.mark.parametrize("groups", [np.arange(20), np.zeros(500, dtype=np.int64)])
def test_too_few_pairs_or_groups_are_refused(groups: np.ndarray) -> None:
    with pytest.raises(UsageError) as raised:
        split_rows([groups], seed=0)
    assert raised.value.code == "too_few_pairs"
