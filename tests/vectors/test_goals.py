"""The benchmark that judges the goals must itself be right: ratios, verdicts, filters, records."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import goal
from benchmarks.goals import goal_01, goal_08, goal_12
from benchmarks.goals.goal_02 import Peer
from benchmarks.measure import Options, Point, Row, race, ratio_row, ratios
from benchmarks.synthetic import make_set


def test_a_race_takes_turns_and_times_each_task(monkeypatch):
    order: list[str] = []
    now_s = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])

    def task(name: str, seconds: float) -> None:
        order.append(name)
        now_s[0] += seconds

    times = race(
        {"slow": lambda: task("slow", 0.02), "fast": lambda: task("fast", 0.005)},
        rounds=3,
        min_s=0.005,
    )
    assert order[-6:] == ["slow", "fast"] * 3
    assert ratios(times, "slow", "fast") == pytest.approx([4.0] * 3)


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(0.9, True, True), (1.1, True, False), (1.1, False, True)]
)
def test_a_row_says_whether_its_target_is_met(value, at_most, met):
    assert Row("x", value, target=1.0, at_most=at_most).met is met


def test_a_row_without_a_value_or_a_target_has_no_verdict():
    assert Row("x", None, target=1.0).met is None
    assert Row("x", 1.0).met is None


def test_a_ratio_is_the_median_of_the_ratios_within_rounds():
    times = {"a": [1.0, 8.0, 3.0], "b": [1.0, 2.0, 1.0]}
    row = ratio_row("a / b", times, subject="a", peer="b", target=3.0)
    assert (row.value, row.spread) == (3.0, (2.0, 3.5))


def test_a_line_of_the_plot_joins_what_nothing_beats():
    given = [(0.9, 50.0), (0.8, 90.0), (0.9, 40.0), (0.95, 10.0), (0.7, 60.0)]
    front = goal._front([Point("x", "text", recall, rate) for recall, rate in given])
    assert [(p.recall, p.queries_per_s) for p in front] == [(0.95, 10.0), (0.9, 50.0), (0.8, 90.0)]


@pytest.mark.parametrize("by_cluster", [False, True])
def test_filters_have_the_share_asked_for_and_whole_clusters_where_wanted(by_cluster):
    data = make_set(4_000, dim=16, n_queries=10)
    ids = goal_08.pick(data, 0.1, by_cluster=by_cluster, seed=7)
    assert 0.1 <= len(ids) / 4_000 <= (0.3 if by_cluster else 0.1)
    if by_cluster:
        inside = set(data.clusters[ids].tolist())
        outside = set(np.delete(data.clusters, ids).tolist())
        assert not inside & outside


def test_a_goal_appends_one_record_a_row_and_voids_a_run_under_load(tmp_path, monkeypatch):
    rows = [Row("a", 2.0, target=1.0, details={"k": 10}), Row("b", None, note="no peer")]
    monkeypatch.setattr(goal_01, "run", lambda _: rows)
    monkeypatch.setattr(goal, "pin_threads", lambda _: False)
    for load in (0.5, 9.0):
        monkeypatch.setattr(goal.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        goal.main(["1", "--results", str(tmp_path / "r.jsonl"), "--seed", "3"])
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["name"] for r in records] == ["a", "b", "a", "b"]
    assert [r["void"] for r in records] == [False, False, True, True]
    assert (records[0]["met"], records[1]["met"]) == (True, None)
    assert (records[0]["seed"], records[0]["n"]) == (3, 100_000)
    assert str(tmp_path) not in lines[0]


def test_the_cost_over_raw_faiss_has_four_rows():
    rows = goal_01.run(Options(n=600, dim=16, rounds=1, min_s=0.001))
    assert [row.target for row in rows] == [1.10, 1.50, 1.03, 1.12]
    assert all(row.value is not None and row.value > 0.5 for row in rows)


def test_a_peer_answers_in_a_process_of_its_own(tmp_path: Path):
    data = make_set(500, dim=16, n_queries=20)
    np.save(tmp_path / "pictures.npy", data.pictures)
    np.save(tmp_path / "queries.npy", data.picture_queries)
    peer = Peer("faiss", tmp_path, python=sys.executable)
    try:
        assert peer.begun["build_s"] > 0
        peer.ask("recall")
        assert peer.ask("turn 4 0.01")["queries_per_s"] > 0
    finally:
        peer.close()
    truth = np.argsort(-(data.picture_queries @ data.pictures.T), axis=1)[:, :10]
    found = np.load(tmp_path / "faiss.npy")
    assert np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)]) > 0.95


def test_goal_12_says_in_one_line_that_there_is_no_gpu():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit, match=r"^goal 12 cannot run here: torch sees no GPU[^\n]+$"):
        goal_12.run(Options(n=1_000, dim=16))


def test_goal_12_finds_what_the_cpu_finds():
    small = {"device": "cpu", "side": "32", "copied": "1000"}
    rows = goal_12.run(Options(n=2_000, dim=16, rounds=1, min_s=0.001, rest=small))
    named = {row.name: row for row in rows}
    assert named["answers that GPU and CPU agree on"].value == 1.0
    assert all(row.value is None or row.value > 0 for row in rows)
