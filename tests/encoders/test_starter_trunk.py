"""Threads take shares of a batch side by side; what comes out is what one run gives."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from retrieval.encoders import starter_trunk
from retrieval.encoders.starter_trunk import Threads, Trunk


class Doubling:
    """Stands for an ONNX session: gives twice its input, and the number of rows it was given."""

    def __init__(self, threads: int, log: list[tuple[int, int]]) -> None:
        self.threads, self._log = threads, log

    def run(self, wanted, given):
        assert wanted == ["twice", "rows"]
        (batch,) = given.values()
        self._log.append((self.threads, len(batch)))
        return [2 * batch, np.full(len(batch), len(batch))]


@pytest.fixture
def log(monkeypatch):
    """Threads and rows of each run."""
    runs: list[tuple[int, int]] = []
    monkeypatch.setattr(starter_trunk, "session", lambda _, *, threads: Doubling(threads, runs))
    return runs


def _trunk(threads: int) -> Trunk:
    return Trunk(b"", given="x", wanted=("twice", "rows"), threads=Threads(threads))


@pytest.mark.parametrize(
    ("threads", "n", "runs"),
    [
        (1, 5, [(1, 5)]),
        (2, 1, [(2, 1)]),
        (2, 2, [(1, 1), (1, 1)]),
        (2, 17, [(1, 8), (1, 9)]),
        (4, 3, [(4, 3)]),
        (4, 16, [(1, 4)] * 4),
    ],
)
def test_a_batch_is_shared_among_threads_and_a_lone_input_is_run_by_all(log, threads, n, runs):
    batch = np.arange(3 * n).reshape(n, 3)
    twice, rows = _trunk(threads).run(batch)
    assert np.array_equal(twice, 2 * batch)
    assert len(rows) == n
    assert sorted(log) == runs


def test_inputs_of_several_shapes_keep_their_order(log):
    given = [np.full((1, length), length) for length in (3, 1, 4, 1, 5)]
    found = _trunk(2).run_each(given)
    assert [part[0].tolist() for part in found] == [(2 * one).tolist() for one in given]
    assert log == [(1, 1)] * 5


def test_shares_run_at_the_same_time(monkeypatch):
    both = threading.Barrier(2, timeout=5)

    class Meeting:
        def run(self, _wanted, given):
            both.wait()  # breaks unless two runs are inside
            return list(given.values())

    monkeypatch.setattr(starter_trunk, "session", lambda *_, **__: Meeting())
    whole = Trunk(b"", given="x", wanted=("y",), threads=Threads(2)).run(np.arange(4))
    assert whole[0].tolist() == [0, 1, 2, 3]
