"""Exact answers by matrix multiplication, and efforts counted from ranks, against searching."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.synthetic import make_set
from index import SearchParameters
from index.faiss_index import FaissIndex
from index.truth import exact_answers

DIM, N, K = 32, 3_000, 10


@pytest.fixture(scope="module")
def data():
    return make_set(N, dim=DIM, n_queries=60, seed=5)


def test_pieces_give_what_sorting_everything_gives(data, slow_search, answers):
    ids = np.random.default_rng(1).permutation(9 * N)[:N]
    counts = np.random.default_rng(2).random(N) < 0.7
    pieces = [
        (data.pictures[start : start + 700], ids[start : start + 700], counts[start : start + 700])
        for start in range(0, N, 700)
    ]
    found = exact_answers(pieces, data.text_queries, k=K)
    assert answers(found) == slow_search(data.pictures[counts], ids[counts], data.text_queries, K)


def test_float16_rows_are_read_as_unit_vectors(data):
    half = data.pictures.astype(np.float16)
    found = exact_answers([(half, np.arange(N), None)], data.pictures[:20], k=1)
    assert found.ids[:, 0].tolist() == list(range(20))
    assert np.abs(found.scores - 1).max() < 1e-3


def test_fewer_rows_than_asked_for_are_told_by_counts(data):
    found = exact_answers([(data.pictures[:3], np.arange(3), None)], data.text_queries, k=K)
    assert found.counts.tolist() == [3] * 60
    assert not found.ids[:, 3:].any()
    nothing = exact_answers([], data.text_queries, k=K)
    assert nothing.counts.tolist() == [0] * 60


@pytest.mark.parametrize(
    ("kind", "effort", "given"),
    [
        ("ivf", "n_probes", {"n_lists": 32}),
        ("fastscan", "k_factor", {"n_train": 2_000}),
        ("ivf_fastscan", "n_probes", {"n_lists": 32, "n_train": 2_000}),
        ("ivf_fastscan", "k_factor", {"n_lists": 32, "n_train": 2_000}),
        ("factory", "n_probes", {"factory": "IVF32,SQ4", "n_train": 2_000}),
    ],
)
def test_counted_efforts_are_those_with_which_a_search_finds_an_answer(kind, effort, given, data):
    ix = FaissIndex(DIM, kind=kind, **given)
    ix.add(data.pictures, ids=np.arange(N) * 3)
    truth = exact_answers([(data.pictures, np.arange(N) * 3, None)], data.text_queries, k=K)
    other = {"n_probes": "k_factor", "k_factor": "n_probes"}[effort]
    fixed = {other: 300 if other == "k_factor" else 20} if other in ix.efforts else {}
    needed = ix.needed(effort, data.text_queries, truth=truth, k=K, given=SearchParameters(**fixed))
    assert needed is not None
    for value in (2, 4, 9):
        asked = SearchParameters(**fixed, **{effort: value})
        found = ix.search(data.text_queries, k=K, parameters=asked).ids
        is_found = (found[:, None, :] == truth.ids[:, :, None]).any(axis=2)
        assert np.mean(is_found == (needed <= value)) > 0.99
        assert 0.02 < is_found.mean() < 1 or effort == "k_factor"
