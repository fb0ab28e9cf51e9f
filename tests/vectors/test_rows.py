"""Rows that are read again and again: what is kept about them changes no bit of an answer."""

from __future__ import annotations

import numpy as np
import pytest

import index.needed as needed_module
from index import FaissIndex
from index.faiss_index import _n_contenders
from index.faiss_kinds import UNREACHED, import_faiss
from index.ids import IdTable
from index.needed import candidates_needed
from index.rows import KeptScales, read_rows, row_scales, widen


def test_kept_scales_give_the_rows_that_reading_gives(unit_vectors):
    half = unit_vectors(400, 24, seed=1).astype(np.float16)
    kept, rng = KeptScales(), np.random.default_rng(2)
    for n in (100, 250, 400, 400):  # rows are added between searches
        at = rng.integers(0, n, 30)
        some = half[at]
        for _ in range(2):  # computed, then remembered
            assert np.array_equal(kept.read(some, at=at, n=n), read_rows(some))
            assert np.array_equal(kept.bring_to_one(widen(some), at=at, n=n), read_rows(some))


def test_a_row_without_length_or_with_nan_has_no_scale():
    half = np.zeros((4, 3), np.float16)
    half[1], half[2, 0], half[3, 2] = 2, np.inf, np.nan
    scales = row_scales(half)
    assert np.isinf(scales[0])
    assert scales[1] == pytest.approx(1 / np.sqrt(12))
    assert np.isnan(scales[2:]).all()


def test_contenders_are_all_whose_score_may_reach_the_last_place():
    rng = np.random.default_rng(3)
    for n_rows in (1, 5):
        for _ in range(50):
            scores = -np.sort(-rng.random((n_rows, 12)).round(1).astype(np.float32), axis=1)
            slow = max(int((row >= row[3] - 0.05).sum()) for row in scores)
            assert _n_contenders(scores, k=4, error=0.05) == slow
    assert _n_contenders(scores[:, :4], k=4, error=1) == 4


def test_ranks_beyond_the_first_search_are_those_of_sorting(unit_vectors, monkeypatch):
    monkeypatch.setattr(needed_module, "RANKED", (8, 64))
    faiss = import_faiss()
    rows, queries = unit_vectors(300, 16, seed=4), unit_vectors(20, 16, seed=5)
    flat = faiss.IndexFlatIP(16)
    flat.add(rows)
    order = np.argsort(-(queries @ rows.T), axis=1)
    wanted = order[:, [0, 5, 20, 60, 200]]
    wanted[0, 0] = -1
    ranks = candidates_needed(flat, queries, wanted)
    assert ranks[1:].tolist() == [[1, 6, 21, 61, UNREACHED]] * 19
    assert ranks[0].tolist() == [UNREACHED, 6, 21, 61, UNREACHED]


@pytest.mark.parametrize("in_order", [True, False])
def test_a_restored_table_finds_removes_and_grows(in_order):
    ids = np.arange(50) * 2 if in_order else np.random.default_rng(6).permutation(50) * 2
    live = np.arange(50) % 5 > 0
    table = IdTable()
    table.restore(ids.astype(np.int64), live)
    position_of = {int(id_): at for at, id_ in enumerate(ids) if live[at]}
    asked = np.arange(0, 120)
    assert sorted(table.find(asked).tolist()) == sorted(position_of.values())
    gone = int(ids[1])
    assert table.remove(np.array([gone, 1])) == 1
    table.append(np.array([gone, 7]))
    assert table.find(np.array([gone])).tolist() == [50]
    assert table.find(np.array([7])).tolist() == [51]
    assert table.n_live == int(live.sum()) + 1


def test_float16_beside_codes_decides_as_exactly_as_float32(unit_vectors, slow_search):
    rows, queries = unit_vectors(2_000, 32, seed=7), unit_vectors(8, 32, seed=8)
    stored = read_rows(rows.astype(np.float16))
    found = []
    for kept in ("float32", "float16"):
        ix = FaissIndex(32, kind="fastscan", rows=kept, k_factor=100)
        ix.add(stored, ids=np.arange(2_000))
        found.append(ix.search(queries, k=10).ids.tolist())
    assert found[0] == slow_search(stored, np.arange(2_000), queries, 10)
    assert np.mean([a == b for a, b in zip(found[0], found[1], strict=True)]) > 0.8
