"""Ranking metrics by hand for several right answers, and against slow definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.errors import InputError
from retrieval.evaluation import metrics

# Worked by hand. Query 1 has right answers b (grade 3), d (grade 1), z (grade 2, never returned);
# it gets a b c d e. Query 2 has one right answer, at the first place; it got only two items.
RANKINGS = [list("abcde"), list("qr")]
RELEVANCE = [{"b": 3.0, "d": 1.0, "z": 2.0}, {"q": 1.0}]


@pytest.fixture
def judged() -> metrics.Judged:
    return metrics.judge(RANKINGS, relevance=RELEVANCE)


def test_grades_and_ideal_are_read_off_the_relevance(judged: metrics.Judged) -> None:
    assert judged.grades.tolist() == [[0, 3, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert judged.ideal.tolist() == [[3, 2, 1], [1, 0, 0]]


def test_recall_counts_the_share_of_all_right_answers(judged: metrics.Judged) -> None:
    assert metrics.recall(judged, k=1).tolist() == [0, 1]
    assert metrics.recall(judged, k=2).tolist() == [1 / 3, 1]
    assert metrics.recall(judged, k=5).tolist() == [2 / 3, 1]
    assert metrics.recall(judged, k=99).tolist() == [2 / 3, 1]


def test_hit_needs_one_right_answer_of_several(judged: metrics.Judged) -> None:
    assert metrics.hit(judged, k=1).tolist() == [0, 1]
    assert metrics.hit(judged, k=2).tolist() == [1, 1]


def test_precision_counts_missing_places_as_wrong(judged: metrics.Judged) -> None:
    assert metrics.precision(judged, k=4).tolist() == [2 / 4, 1 / 4]
    assert metrics.precision(judged, k=10).tolist() == [2 / 10, 1 / 10]


def test_reciprocal_rank_is_that_of_the_first_right_answer(judged: metrics.Judged) -> None:
    assert metrics.reciprocal_rank(judged).tolist() == [1 / 2, 1]
    assert metrics.first_rank(judged).tolist() == [2, 1]


def test_average_precision_counts_what_was_not_found_as_zero(judged: metrics.Judged) -> None:
    assert metrics.average_precision(judged).tolist() == [(1 / 2 + 2 / 4) / 3, 1]


def test_graded_ndcg_weighs_grades_by_place(judged: metrics.Judged) -> None:
    found = 3 / math.log2(3) + 1 / math.log2(5)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg(judged, k=5).tolist() == pytest.approx([found / ideal, 1])
    best_two = 3 + 2 / math.log2(3)
    assert metrics.ndcg(judged, k=2)[0] == pytest.approx(3 / math.log2(3) / best_two)


def test_binary_ndcg_ignores_grades(judged: metrics.Judged) -> None:
    found = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert metrics.ndcg(judged, k=5, graded=False)[0] == pytest.approx(found / ideal)


def test_summary_averages_over_queries(judged: metrics.Judged) -> None:
    summary = metrics.summarize(judged, ks=(2,))
    assert summary["r@2"] == pytest.approx((1 / 3 + 1) / 2)
    assert summary["mrr"] == 0.75
    assert summary["map"] == pytest.approx((1 / 3 + 1) / 2)
    assert summary["median_rank"] == 1.5


def test_an_answer_never_found_ranks_one_behind_the_last_place() -> None:
    judged = metrics.judge([["a", "b"], []], relevance=[{"x": 1}, {"x": 1}])
    assert metrics.first_rank(judged).tolist() == [3, 3]
    assert metrics.reciprocal_rank(judged).tolist() == [0, 0]


def test_a_search_that_returned_nothing_scores_zero() -> None:
    judged = metrics.judge([[]], relevance=[{"x": 1}])
    summary = metrics.summarize(judged, ks=(1,))
    assert summary.pop("median_rank") == 1
    assert set(summary.values()) == {0.0}


@pytest.mark.parametrize(
    ("rankings", "relevance", "code"),
    [
        ([["a"]], [], "bad_shape"),
        ([["a"]], [{}], "bad_relevance"),
        ([["a"]], [{"a": 0.0}], "bad_relevance"),
        ([["a", "a"]], [{"a": 1.0}], "duplicate_ids"),
    ],
)
def test_judging_refuses_what_would_give_wrong_figures(
    rankings: list[list[str]], relevance: list[dict[str, float]], code: str
) -> None:
    with pytest.raises(InputError) as raised:
        metrics.judge(rankings, relevance=relevance)
    assert raised.value.code == code


def test_k_below_one_is_refused(judged: metrics.Judged) -> None:
    with pytest.raises(InputError, match="k is 0"):
        metrics.recall(judged, k=0)


def _slow(ranking: list[int], right: dict[int, float], k: int) -> dict[str, float]:
    """Every metric of one query, straight from its definition."""
    found, ap, rr, dcg, dcg_binary = 0, 0.0, 0.0, 0.0, 0.0
    for place, item in enumerate(ranking, start=1):
        if item in right:
            ap += sum(1 for x in ranking[:place] if x in right) / place
            rr = rr or 1 / place
            if place <= k:
                found += 1
                dcg += right[item] / math.log2(1 + place)
                dcg_binary += 1 / math.log2(1 + place)
    best = sorted(right.values(), reverse=True)[:k]
    ideal = sum(g / math.log2(2 + i) for i, g in enumerate(best))
    ideal_binary = sum(1 / math.log2(2 + i) for i in range(len(best)))
    return {
        f"r@{k}": found / len(right),
        f"hit@{k}": float(found > 0),
        f"p@{k}": found / k,
        "mrr": rr,
        "map": ap / len(right),
        f"ndcg@{k}": dcg / ideal,
        f"ndcg_binary@{k}": dcg_binary / ideal_binary,
    }


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_equals_its_slow_definition_on_random_rankings(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rankings, relevance = [], []
    for _ in range(40):
        order = generator.permutation(30)[: generator.integers(0, 30)]
        rankings.append([int(i) for i in order])
        right = generator.choice(30, size=generator.integers(1, 8), replace=False)
        relevance.append({int(i): float(generator.integers(1, 4)) for i in right})
    judged = metrics.judge(rankings, relevance=relevance)
    for k in (1, 3, 10):
        slow = [_slow(r, right, k) for r, right in zip(rankings, relevance, strict=True)]
        summary = metrics.summarize(judged, ks=(k,))
        for name in slow[0]:
            assert summary[name] == pytest.approx(np.mean([s[name] for s in slow])), name


def test_equal_scores_are_ranked_by_position() -> None:
    scores = np.array([[0.1, 0.7, 0.7, 0.9], [0.5, 0.5, 0.5, 0.5]])
    assert metrics.top_positions(scores, k=3).tolist() == [[3, 1, 2], [0, 1, 2]]
    assert metrics.top_positions(scores, k=9).shape == (2, 4)
