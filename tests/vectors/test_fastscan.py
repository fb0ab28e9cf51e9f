"""4-bit codes: what they alone must keep, beyond the contract of every kind."""

from __future__ import annotations

import numpy as np
import pytest

from index import SearchParameters
from index.errors import InputError
from index.faiss_index import FaissIndex

DIM = 16


def test_more_candidates_find_more_and_all_of_them_find_everything(
    unit_vectors, slow_search, answers
):
    rows, queries = unit_vectors(2_000, DIM, seed=1), unit_vectors(50, DIM, seed=2)
    codes = FaissIndex(DIM, kind="fastscan", m=4, n_train=2_000)
    codes.add(rows, ids=np.arange(2_000))
    truth = slow_search(rows, np.arange(2_000), queries, 10)

    def n_right(k_factor: int) -> int:
        found = answers(codes.search(queries, k=10, parameters=SearchParameters(k_factor=k_factor)))
        return sum(len(set(a) & set(b)) for a, b in zip(found, truth, strict=True))

    counts = [n_right(k_factor) for k_factor in (1, 4, 16, 200)]
    assert counts == sorted(counts)
    assert counts[0] < 400
    assert counts[-1] == 500


def test_the_removed_are_made_up_for_where_all_near_ones_are_gone(
    unit_vectors, slow_search, answers
):
    rows, query = unit_vectors(2_000, DIM, seed=1), unit_vectors(1, DIM, seed=2)
    codes = FaissIndex(DIM, kind="fastscan", n_train=500, k_factor=4)
    codes.add(rows, ids=np.arange(2_000))
    nearest = np.array(slow_search(rows, np.arange(2_000), query, 500)[0])
    codes.remove(nearest)
    left = np.setdiff1d(np.arange(2_000), nearest)
    found = codes.search(query, k=10)
    assert found.counts.tolist() == [10]
    assert answers(found) == slow_search(rows[left], left, query, 10)


def test_the_removed_cost_as_many_candidates_more_as_their_share(unit_vectors, monkeypatch):
    codes = FaissIndex(DIM, kind="fastscan", n_train=500, k_factor=16)
    codes.add(unit_vectors(2_000, DIM, seed=1), ids=np.arange(2_000))
    codes.remove(np.arange(0, 2_000, 4))
    asked = []
    nearest = codes._back.nearest

    def spied(queries, *, k, selector, parameters):
        asked.append(k * parameters.k_factor)
        return nearest(queries, k=k, selector=selector, parameters=parameters)

    monkeypatch.setattr(codes._back, "nearest", spied)
    assert codes.search(unit_vectors(3, DIM, seed=2), k=10).counts.tolist() == [10] * 3
    assert 160 / 0.75 <= asked[0] < 1.15 * 160 / 0.75


def test_until_it_is_trained_it_compares_everything(unit_vectors, slow_search, answers):
    rows, queries = unit_vectors(99, DIM, seed=1), unit_vectors(9, DIM, seed=2)
    codes = FaissIndex(DIM, kind="ivf_fastscan", n_lists=3, n_train=100)
    codes.add(rows, ids=np.arange(99))
    assert not codes.is_trained
    assert answers(codes.search(queries, k=5)) == slow_search(rows, np.arange(99), queries, 5)
    codes.add(queries[:1], ids=np.array([99]))
    assert codes.is_trained
    assert codes.search(queries[:1], k=1).ids.tolist() == [[99]]


@pytest.mark.parametrize("dim", [2, 3, 6, 7])
def test_any_dimension_is_cut_into_codes(dim, unit_vectors, slow_search, answers):
    rows, queries = unit_vectors(64, dim, seed=1), unit_vectors(8, dim, seed=2)
    codes = FaissIndex(dim, kind="fastscan", n_train=32, k_factor=64)
    codes.add(rows, ids=np.arange(64))
    assert answers(codes.search(queries, k=5)) == slow_search(rows, np.arange(64), queries, 5)


def test_a_number_of_codes_that_does_not_divide_the_dimension_is_refused():
    with pytest.raises(InputError, match="m is 5; it must divide the dimension, 16"):
        FaissIndex(DIM, kind="fastscan", m=5)


@pytest.mark.parametrize("parameters", [{"k_factor": 0}, {"n_probes": 4}, {"ef_search": 9}])
def test_parameters_without_effect_are_refused(parameters):
    codes = FaissIndex(DIM, kind="fastscan")
    with pytest.raises(InputError) as caught:
        codes.search(np.eye(DIM, dtype=np.float32), k=1, parameters=SearchParameters(**parameters))
    assert caught.value.code == "bad_parameter"
