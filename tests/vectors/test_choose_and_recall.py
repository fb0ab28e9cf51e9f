"""The table that chooses an index, and recall that counts ties fairly."""

from __future__ import annotations

import numpy as np
import pytest

from index import ExactIndex, Neighbors
from index.choose import choose, choose_factory, make_index
from index.errors import InputError
from index.faiss_index import FaissIndex
from index.recall import measure_recall, recall_at_k


@pytest.mark.parametrize(
    ("n_vectors", "kind"),
    [
        (0, "exact"),
        (10_000, "exact"),
        (10_001, "flat"),
        (50_000, "flat"),
        (50_001, "fastscan"),
        (80_000, "fastscan"),
        (80_001, "ivf_fastscan"),
        (10**9, "ivf_fastscan"),
    ],
)
def test_the_count_chooses_the_kind(n_vectors, kind):
    plan = choose(n_vectors, dim=512)
    assert plan.kind == kind
    assert plan.reason
    made = make_index(plan, dim=512)
    assert made.kind == kind
    assert not isinstance(made, FaissIndex) or made.factory == plan.factory


def test_recall_one_means_every_vector_is_compared():
    assert choose(500_000, dim=512, recall=1.0).kind == "flat"
    assert choose(20_000, dim=512, recall=1.0).kind == "flat"
    assert choose(5_000, dim=512, recall=1.0).kind == "exact"


@pytest.mark.parametrize(
    ("n_vectors", "kind"), [(1_999, "exact"), (2_000, "fastscan"), (50_000, "fastscan")]
)
def test_who_asks_for_less_than_all_gets_codes_from_two_thousand_on(n_vectors, kind):
    plan = choose(n_vectors, dim=512, recall=0.95)
    assert plan.kind == kind
    assert ("recall 0.95" in plan.reason) == (kind == "fastscan")
    unasked = choose(n_vectors, dim=512)
    assert unasked.kind in ("exact", "flat")
    assert "recall 0.95" not in unasked.reason
    assert choose(n_vectors, dim=512, recall=0.95, batch_size=64).kind in ("exact", "flat")


def test_unasked_many_vectors_are_searched_as_if_for_recall_095():
    assert choose(500_000, dim=512) == choose(500_000, dim=512, recall=0.95)


def test_large_batches_are_multiplied_while_there_are_not_too_many_vectors():
    assert choose(100_000, dim=512, batch_size=256).kind == "flat"
    assert choose(100_000, dim=512, batch_size=1).kind == "ivf_fastscan"
    assert choose(400_000, dim=512, batch_size=256).kind == "ivf_fastscan"


def test_a_gpu_compares_everything_in_float16():
    plan = choose(10**7, dim=768, device="gpu", memory_bytes=20 * 10**9)
    assert (plan.kind, plan.memory_bytes) == ("torch_exact", 10**7 * 2 * 768)
    with pytest.raises(InputError, match="need 15,360,000,000 bytes"):
        choose(10**7, dim=768, device="gpu", memory_bytes=15 * 10**9)


def test_a_higher_target_makes_more_effort():
    efforts = [choose(500_000, dim=64, recall=r).parameters["k_factor"] for r in (0.9, 0.95, 0.99)]
    assert efforts == sorted(set(efforts))
    probes = [choose(5 * 10**6, dim=64, recall=r).parameters["n_probes"] for r in (0.9, 0.95, 0.99)]
    assert probes == sorted(set(probes))


REFUSED = "too_little_memory"


def _narrowing(n: int) -> list[object]:
    """What is chosen as the memory shrinks a byte below what the plan before would take."""
    chosen, limit = [], None
    while True:
        try:
            plan = choose(n, dim=512, memory_bytes=limit)
        except InputError as error:
            return [*chosen, error.code]
        chosen.append((plan.kind, plan.parameters.get("rows") or plan.parameters.get("dtype")))
        limit = plan.memory_bytes - 1


def test_less_memory_gives_up_rows_in_memory_then_codes_then_says_no():
    assert _narrowing(5_000) == [
        ("exact", "float32"),
        ("exact", "float16"),
        REFUSED,
    ]
    assert _narrowing(20_000) == [
        ("flat", "float32"),
        ("flat", "float16"),
        REFUSED,
    ]
    assert _narrowing(70_000) == [
        ("fastscan", "float32"),
        ("fastscan", "float16"),
        ("fastscan", "mapped"),
        ("ivf", "float16"),
        REFUSED,
    ]
    assert _narrowing(2_000_000) == [
        ("ivf_fastscan", "float32"),
        ("ivf_fastscan", "float16"),
        ("ivf_fastscan", "mapped"),
        ("ivf_rabitq", "mapped"),
        ("ivf", "float16"),
        REFUSED,
    ]


def test_rows_left_in_the_segments_bring_a_million_under_180_bytes_each():
    plan = choose(1_000_000, dim=512, memory_bytes=200_000_000)
    assert plan.parameters["rows"] == "mapped"
    assert plan.memory_bytes / 1_000_000 < 180


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PCA64,IVF16,Flat", "subtracts a mean"),
        ("IDMap2,Flat", "leave IDMap out"),
        ("NSG32", "cannot grow"),
        ("IVF16,Nonsense", "not understood"),
        ("", "not understood"),
        ("PQ7x4fs", "PQ7x4fs"),
    ],
)
def test_factory_strings_that_would_answer_wrongly_are_refused_with_the_reason(text, reason):
    with pytest.raises(InputError, match=reason) as caught:
        choose_factory(text, n_vectors=1_000, dim=16)
    assert caught.value.code == "bad_factory"


@pytest.mark.parametrize("text", ["IVF8,SQ8", "RR16,RaBitQfs4,RFlat", "PQ8x4fs,Refine(SQfp16)"])
def test_a_factory_string_becomes_an_index(text):
    plan = choose_factory(text, n_vectors=1_000, dim=16)
    made = make_index(plan, dim=16)
    assert isinstance(made, FaissIndex)
    assert made.factory == text


def test_a_plan_carries_its_parameters_into_the_index():
    codes = make_index(choose(70_000, dim=8, recall=0.9), dim=8)
    assert isinstance(codes, FaissIndex)
    assert codes.parameters == {"m": 4, "k_factor": 8, "n_train": 4096, "rows": "float32"}


@pytest.mark.parametrize(
    "bad",
    [
        {"n_vectors": -1},
        {"recall": 0.0},
        {"recall": 1.1},
        {"dim": 0},
        {"batch_size": 0},
        {"device": "tpu"},
    ],
)
def test_arguments_outside_their_limits_are_refused(bad):
    arguments = {"n_vectors": 10, "dim": 4} | bad
    with pytest.raises(InputError):
        choose(arguments.pop("n_vectors"), **arguments)


def _neighbors(scores: list[list[float]], counts: list[int]) -> Neighbors:
    table = np.array(scores, np.float32)
    return Neighbors(np.zeros(table.shape, np.int64), table, np.array(counts))


def test_recall_by_hand_over_two_queries_of_different_length():
    truth = _neighbors([[0.9, 0.8, 0.7], [0.5, 0.0, 0.0]], [3, 1])
    found = _neighbors([[0.9, 0.7, 0.6], [0.5, 0.0, 0.0]], [3, 1])
    # k=3: query 1 has 2 of 3 right, query 2 has 1 of 1 -> 3 of 4
    assert recall_at_k(found, truth, k=3) == 0.75
    # k=1: both first answers are right
    assert recall_at_k(found, truth, k=1) == 1.0


def test_another_vector_with_the_same_score_is_as_good():
    truth = Neighbors(np.array([[1, 2]]), np.array([[0.9, 0.8]], np.float32), np.array([2]))
    found = Neighbors(np.array([[1, 5]]), np.array([[0.9, 0.8]], np.float32), np.array([2]))
    assert recall_at_k(found, truth, k=2) == 1.0


def test_columns_beyond_the_count_are_no_answers():
    truth = _neighbors([[-0.5, -0.6]], [2])
    found = _neighbors([[-0.5, 0.0]], [1])  # the 0 is padding, though it beats -0.6
    assert recall_at_k(found, truth, k=2) == 0.5


def test_where_nothing_is_to_be_found_recall_is_one():
    nothing = _neighbors([[0.0]], [0])
    assert recall_at_k(nothing, nothing, k=1) == 1.0


def test_tables_that_do_not_fit_are_refused():
    truth = _neighbors([[0.5]], [1])
    with pytest.raises(InputError):
        recall_at_k(truth, truth, k=2)


def test_measured_recall_equals_counting_shared_ids(unit_vectors):
    rows, queries = unit_vectors(3_000, 16, seed=1), unit_vectors(60, 16, seed=2)
    exact, lists = ExactIndex(16), FaissIndex(16, kind="ivf", n_lists=32, n_probes=3)
    for ix in (exact, lists):
        ix.add(rows, ids=np.arange(3_000))
    truth, found = exact.search(queries, k=10).ids, lists.search(queries, k=10).ids
    shared = sum(len(set(a) & set(b)) for a, b in zip(truth, found, strict=True))
    recall = measure_recall(lists, reference=exact, queries=queries, k=10)
    assert 0.3 < recall < 1.0
    assert recall == pytest.approx(shared / 600)


def test_indexes_of_different_vectors_cannot_be_compared(unit_vectors):
    a, b = ExactIndex(4), ExactIndex(4)
    a.add(unit_vectors(2, 4, seed=1), ids=np.array([1, 2]))
    with pytest.raises(InputError, match="2 ids, the reference 0"):
        measure_recall(a, reference=b, queries=unit_vectors(1, 4, seed=1), k=1)
