"""A short turn of the fuzzers; `python -m tests.fuzz` runs them as long as you like."""

from __future__ import annotations

import pytest

from retrieval.errors import CrossfindError
from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_answers_or_refuses_in_our_words(name: str) -> None:
    assert fuzz(name, seconds=0.4, seed=1) >= 1


@pytest.mark.parametrize("name", ["query", "query_json", "segment"])
def test_the_inputs_that_are_changed_are_good_ones(name: str) -> None:
    n_good = 0
    for data in seeds(name):
        try:
            TARGETS[name](data)
        except CrossfindError:
            continue
        n_good += 1
    assert n_good >= 1
