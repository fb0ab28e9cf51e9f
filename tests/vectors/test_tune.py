"""Search parameters that reach a recall, no dearer than needed, and the truth where none do."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.synthetic import make_set
from index import ExactIndex, SearchParameters
from index.derived import load_index, save_index
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.recall import recall_at_k
from index.tune import _margin, tune

DIM, N = 32, 4_000


@pytest.fixture(scope="module")
def data():
    return make_set(N, dim=DIM, n_queries=400, seed=3)


@pytest.fixture(scope="module")
def exact(data):
    ix = ExactIndex(DIM)
    ix.add(data.pictures, ids=np.arange(N))
    return ix


def _filled(data, **parameters):
    ix = FaissIndex(DIM, **parameters)
    ix.add(data.pictures, ids=np.arange(N))
    return ix


def test_the_set_is_unit_length_seeded_and_has_a_gap(data):
    again = make_set(N, dim=DIM, n_queries=400, seed=3)
    assert np.array_equal(again.pictures, data.pictures)
    assert not np.array_equal(make_set(N, dim=DIM, seed=4).pictures, data.pictures)
    for rows in (data.pictures, data.picture_queries, data.text_queries):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    among = float((data.picture_queries @ data.pictures.T).mean())
    across = float((data.text_queries @ data.pictures.T).mean())
    assert across < among - 0.2
    about = np.einsum("qd,qd->q", data.text_queries, data.pictures[data.targets]).mean()
    assert about > across + 0.15


def test_a_graph_that_is_good_for_pictures_is_worse_for_texts(data, exact):
    graph = _filled(data, kind="hnsw", m=4, ef_search=10)
    recall = {
        name: recall_at_k(graph.search(queries, k=10), exact.search(queries, k=10), k=10)
        for name, queries in (("picture", data.picture_queries), ("text", data.text_queries))
    }
    assert recall["picture"] > recall["text"] + 0.1


@pytest.mark.parametrize(
    ("kind", "name", "given"),
    [
        ("hnsw", "ef_search", {"m": 8}),
        ("ivf", "n_probes", {"n_lists": 64}),
        ("fastscan", "k_factor", {}),
        ("ivf_fastscan", "n_probes", {"n_lists": 64}),
    ],
)
def test_the_target_is_kept_for_texts_it_was_not_tuned_on(data, exact, kind, name, given):
    ix = _filled(data, kind=kind, **given)
    tuning, held_out = data.text_queries[:200], data.text_queries[200:]
    tuned = tune(ix, queries=tuning, truth=exact.search(tuning, k=10), target=0.9)
    assert tuned.reached
    assert tuned.n_queries == 200
    assert tuned.recall >= 0.9 + tuned.margin
    assert getattr(tuned.parameters, name) is not None
    found = ix.search(held_out, k=10, parameters=tuned.parameters)
    assert recall_at_k(found, exact.search(held_out, k=10), k=10) >= 0.89
    assert list(tuned.tried) == sorted(tuned.tried)


def test_no_cheaper_rung_of_the_ladder_would_have_done(data, exact):
    ix = _filled(data, kind="ivf", n_lists=64)
    queries = data.text_queries
    truth = exact.search(queries, k=10)
    tuned = tune(ix, queries=queries, truth=truth, target=0.8)
    probes = tuned.parameters.n_probes
    assert probes is not None
    assert probes > 1
    cheaper = ix.search(queries, k=10, parameters=SearchParameters(n_probes=round(probes / 2**0.5)))
    assert recall_at_k(cheaper, truth, k=10) < 0.8 + tuned.margin


def test_what_cannot_be_reached_is_said(data, exact):
    """Most vectors of the reference are missing here, whatever the effort."""
    few = FaissIndex(DIM, kind="hnsw", m=4)
    few.add(data.pictures[:1_000], ids=np.arange(1_000))
    queries = data.text_queries[:100]
    tuned = tune(few, queries=queries, truth=exact.search(queries, k=10), target=0.95)
    assert not tuned.reached
    assert tuned.recall < 0.6


def test_tuned_on_its_own_vectors_an_index_promises_texts_too_much(data, exact):
    ix = _filled(data, kind="ivf", n_lists=64)
    own = data.pictures[:200]
    tuned = tune(ix, queries=own, truth=exact.search(own, k=10), target=0.9)
    texts = data.text_queries
    found = ix.search(texts, k=10, parameters=tuned.parameters)
    assert tuned.recall >= 0.9
    assert recall_at_k(found, exact.search(texts, k=10), k=10) < 0.8


@pytest.mark.parametrize(
    ("target", "n", "margin"), [(0.95, 128, 0.00766), (0.9, 128, 0.01431), (0.99, 128, 0.0)]
)
def test_the_margin_keeps_recall_surely_within_a_hundredth(target, n, margin):
    # 2.05 standard errors of a share of n * 10 / 2 answers, less the hundredth
    assert _margin(target, n=n, k=10) == pytest.approx(margin, abs=1e-5)
    shares = np.random.default_rng(1).binomial(n * 5, target - 0.01, 20_000) / (n * 5)
    assert np.mean(shares >= target + margin) < 0.04  # who falls short by more rarely passes


@pytest.mark.parametrize(("target", "n"), [(0.0, 5), (1.1, 5), (0.9, 0)])
def test_arguments_outside_their_limits_are_refused(data, exact, target, n):
    queries = data.text_queries[:n]
    with pytest.raises(InputError):
        tune(exact, queries=queries, truth=exact.search(queries, k=10), target=target)


def test_what_was_settled_is_what_is_searched_with_and_is_saved(data, tmp_path):
    lists = _filled(data, kind="ivf", n_lists=64, n_probes=1)
    queries = data.text_queries[:50]
    generous = SearchParameters(n_probes=40)
    asked = lists.search(queries, k=10, parameters=generous)
    assert not np.array_equal(lists.search(queries, k=10).ids, asked.ids)
    lists.settle(generous)
    sha256 = save_index(lists, tmp_path / "a", tmp=tmp_path, fingerprint="ab12")
    loaded = load_index(tmp_path / "a", sha256=sha256)
    for ix in (lists, loaded):
        assert np.array_equal(ix.search(queries, k=10).ids, asked.ids)
    with pytest.raises(InputError, match="no effect"):
        lists.settle(SearchParameters(ef_search=9))
