"""Filters keep their promise in every kind: all answers there are, none that is not allowed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.synthetic import make_set
from index import ExactIndex, Index
from index.allowed import Allowed
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.filtered import Nominator, scan_cost, search_filtered
from index.types import Ids, Neighbors, Vectors

N, DIM, K = 4_000, 32, 10
SHARES = (0.5, 0.1, 0.01, 0.001)
MAKERS = {
    "exact": lambda: ExactIndex(DIM),
    "flat": lambda: FaissIndex(DIM, kind="flat"),
    "hnsw": lambda: FaissIndex(DIM, kind="hnsw", m=16, ef_search=128),
    "ivf": lambda: FaissIndex(DIM, kind="ivf", n_lists=32, n_probes=8),
    "fastscan": lambda: FaissIndex(DIM, kind="fastscan", n_train=1_000, k_factor=8),
    "ivf_fastscan": lambda: FaissIndex(
        DIM, kind="ivf_fastscan", n_train=1_300, k_factor=8, n_lists=32, n_probes=8
    ),
}


@pytest.fixture(scope="module")
def data():
    return make_set(N, dim=DIM, n_queries=64, seed=3)


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(5).permutation(3 * N)[:N].astype(np.int64)


@pytest.fixture(scope="module")
def removed(ids):
    return np.random.default_rng(6).choice(ids, N // 10, replace=False)


@pytest.fixture(scope="module", params=MAKERS)
def filled(request, data, ids, removed):
    """An index of each kind, a tenth of which was removed again."""
    ix = MAKERS[request.param]()
    ix.add(data.pictures, ids=ids)
    ix.remove(removed)
    return ix


def pick(data, ids: Ids, share: float, *, by_cluster: bool) -> Ids:
    """Allow a share of all ids: any, or whole clusters, which queries of others lie far from."""
    rng = np.random.default_rng(int(1_000 * share) + by_cluster)
    if not by_cluster:
        return rng.choice(ids, max(1, round(share * len(ids))), replace=False)
    order = rng.permutation(int(data.clusters.max()) + 1)
    sizes = np.bincount(data.clusters, minlength=len(order))[order]
    n_clusters = 1 + int(np.searchsorted(np.cumsum(sizes), share * len(ids)))
    return ids[np.isin(data.clusters, order[:n_clusters])]


def slow(vectors: Vectors, ids: Ids, allowed: Ids, removed: Ids, queries: Vectors) -> list[Ids]:
    there = np.isin(ids, allowed) & ~np.isin(ids, removed)
    scores = (queries.astype(np.float64) @ vectors[there].astype(np.float64).T).astype(np.float32)
    return [ids[there][np.lexsort((ids[there], -row))[:K]] for row in scores]


@pytest.mark.parametrize("n_queries", [1, 64])
@pytest.mark.parametrize("by_cluster", [False, True], ids=["random", "clusters"])
@pytest.mark.parametrize("share", SHARES)
def test_a_filter_gives_every_answer_there_is(
    filled, data, ids, removed, share, by_cluster, n_queries
):
    allowed = pick(data, ids, share, by_cluster=by_cluster)
    queries = np.concatenate([data.text_queries[:32], data.picture_queries[:32]])[:n_queries]
    wanted = slow(data.pictures, ids, allowed, removed, queries)
    found = filled.search(queries, k=K, allowed=allowed)
    assert found.counts.tolist() == [len(row) for row in wanted]
    n_right = 0
    for got, count, true in zip(found.ids, found.counts, wanted, strict=True):
        assert np.isin(got[:count], allowed).all()
        assert not np.isin(got[:count], removed).any()
        assert len(set(got[:count].tolist())) == count
        n_right += len(set(got[:count].tolist()) & set(true.tolist()))
    if share <= 0.01 or filled.kind in ("exact", "flat"):
        assert [r[:c].tolist() for r, c in zip(found.ids, found.counts, strict=True)] == [
            row.tolist() for row in wanted
        ]
    else:
        assert n_right >= 0.95 * sum(map(len, wanted)) - 0.5  # one of a single query may miss


def test_scores_of_filtered_answers_are_cosines_in_falling_order_ties_by_id(filled, data, ids):
    allowed = pick(data, ids, 0.5, by_cluster=False)
    row_of = {int(id_): row for row, id_ in enumerate(ids)}
    found = filled.search(data.text_queries, k=K, allowed=allowed)
    for query, got, scores in zip(data.text_queries, found.ids, found.scores, strict=True):
        for id_, score in zip(got, scores, strict=True):
            true = data.pictures[row_of[int(id_)]].astype(np.float64) @ query.astype(np.float64)
            assert score == pytest.approx(true, abs=1e-6)
        assert np.array_equal(np.lexsort((got, -scores)), np.arange(K))


def test_a_filter_kept_for_many_searches_sees_what_is_added_and_removed(filled_again):
    ix, data = filled_again
    allowed = Allowed(np.arange(0, 3 * N + 10, 2))
    query = data.pictures[:1]
    before = ix.search(query, k=K, allowed=allowed)
    new = np.array([3 * N + 2])
    ix.add(query, ids=new)
    after = ix.search(query, k=K, allowed=allowed)
    assert new[0] in after.ids[0]
    assert new[0] not in before.ids[0]
    ix.remove(new)
    assert ix.search(query, k=K, allowed=allowed).ids.tolist() == before.ids.tolist()


@pytest.fixture
def filled_again(data, ids) -> tuple[Index, object]:
    ix = FaissIndex(DIM, kind="hnsw", m=16, ef_search=128)
    ix.add(data.pictures, ids=ids)
    return ix, data


def test_unknown_ids_far_above_all_others_are_ignored(data, ids):
    exact = ExactIndex(DIM)
    exact.add(data.pictures, ids=ids)
    some = np.array([int(ids[3]), 2**62, 2**62 + 1])
    found = exact.search(data.pictures[:1], k=5, allowed=some)
    assert found.ids[0, : found.counts[0]].tolist() == [int(ids[3])]


def test_an_empty_filter_finds_nothing_and_a_full_one_everything(filled, ids, data):
    nothing = filled.search(data.text_queries[:2], k=3, allowed=np.empty(0, np.int64))
    assert nothing.counts.tolist() == [0, 0]
    everything = filled.search(data.text_queries[:2], k=3, allowed=ids)
    assert everything.ids.tolist() == filled.search(data.text_queries[:2], k=3).ids.tolist()


@pytest.mark.parametrize("bad", [np.array([1.0]), np.array([[1]]), np.array([-1]), [1, 2]])
def test_a_filter_of_another_type_is_refused(filled, data, bad):
    with pytest.raises(InputError):
        filled.search(data.text_queries[:1], k=1, allowed=bad)


class _Line(Nominator):
    """Vectors on a line at 0, 1, 2 ...; a query looks for the nearest to its own place."""

    def __init__(self, n: int, wanted: np.ndarray, *, cost: float, first: int) -> None:
        self.n, self.wanted, self.cost, self.first = n, wanted, cost, first
        self.asked: list[tuple[int, int]] = []
        self.scanned = 0

    def n_candidates(self, k: int) -> int:  # noqa: ARG002  # a fixed first guess
        return self.first

    def rows_compared(self, n: int) -> float:
        return self.cost * n

    def nominate(self, queries: Vectors, n: int) -> Ids:
        self.asked.append((len(queries), n))
        return np.argsort(np.abs(np.arange(self.n) - queries), axis=1, kind="stable")[:, :n]

    def decide(self, queries: Vectors, positions: Ids, *, k: int) -> Neighbors:
        kept = np.array([row[row >= 0][:k] for row in positions])
        return Neighbors(kept, -np.abs(kept - queries), np.full(len(queries), k))

    def scan(self, queries: Vectors, *, k: int) -> Neighbors:
        self.scanned += len(queries)
        places = np.flatnonzero(self.wanted)
        order = np.argsort(np.abs(places - queries), axis=1, kind="stable")[:, :k]
        return Neighbors(places[order], np.zeros((len(queries), k)), np.full(len(queries), k))


def test_only_queries_with_too_few_wanted_candidates_ask_for_more():
    wanted = np.arange(1_000) >= 500
    line = _Line(1_000, wanted, cost=0.1, first=8)
    queries = np.array([[700.0], [480.0], [0.0]], np.float32)
    found = search_filtered(queries, k=4, wanted=wanted, by=line)
    assert found.ids[0].tolist() == [700, 699, 701, 698]
    assert found.ids[1].tolist() == [500, 501, 502, 503]
    assert found.ids[2].tolist() == [500, 501, 502, 503]
    assert line.asked == [(3, 8), (2, 32), (2, 128), (1, 512)]
    assert line.scanned == 0


def test_candidates_dearer_than_the_wanted_rows_are_never_nominated():
    wanted = np.arange(1_000) >= 990
    line = _Line(1_000, wanted, cost=5.0, first=8)
    found = search_filtered(np.array([[3.0]], np.float32), k=4, wanted=wanted, by=line)
    assert (line.asked, line.scanned) == ([], 1)
    assert found.ids[0].tolist() == [990, 991, 992, 993]


def test_a_batch_makes_the_scan_of_each_query_cheaper():
    assert scan_cost(1_000, 1) == 1_000
    assert scan_cost(1_000, 256) < 100
