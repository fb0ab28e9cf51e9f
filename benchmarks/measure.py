"""Timing two systems fairly: by turns in one process, ratios within a round, the load noted.

A ratio taken within a round survives a machine that speeds up and slows down; two medians from
different minutes do not. What ran beside other work is marked void, never left out.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from benchmarks.report import Value

Modality = Literal["image", "text"]

MAX_LOAD = 3.0
"""A run that saw a higher one-minute load is void: something else was using the cores."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says, the goal's own defaults filled in.

    Attributes:
        n: stored vectors.
        dim: length of a vector.
        seed: of all data.
        rounds: turns of each system, at least 1.
        min_s: least time of one turn.
        vectors: path of a .npz from `benchmarks.real_set`, or empty for the synthetic set.
        plot: whether points will be drawn.
        rest: `name=value` arguments of a single goal.
    """

    n: int
    dim: int
    seed: int = 7
    rounds: int = 5
    min_s: float = 0.3
    vectors: str = ""
    plot: bool = False
    rest: Mapping[str, str] = field(default_factory=dict)


def sized(options: Options) -> Options:
    """Give the options the size of the vectors they name."""
    with np.load(options.vectors) as held:
        n, dim = held["pictures"].shape
    return replace(options, n=n, dim=dim)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the recall/QPS plot."""

    system: str
    queries: Modality
    recall: float
    queries_per_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a goal.

    Attributes:
        name: what was measured, for people, e.g. `batch 1, ids and scores`.
        value: the median; None where it could not be measured, and `note` says why.
        target: what it must reach; None for a figure that is told beside others.
        at_most: True where lower is better.
        unit: of value and target; `x` is a ratio.
        spread: quartiles of the rounds, where there were some.
        details: whatever else belongs to it: recall, parameters, absolute times.
        note: why it is missing or to be taken with care.
        points: for `--plot`.
    """

    name: str
    value: float | None
    target: float | None = None
    at_most: bool = False
    unit: str = "x"
    spread: tuple[float, float] | None = None
    details: Mapping[str, Value] = field(default_factory=dict)
    note: str = ""
    points: tuple[Point, ...] = ()

    @property
    def met(self) -> bool | None:
        """Tell whether the target is reached; None where there is none to compare."""
        if self.target is None or self.value is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Task = Callable[[], object]
Times = dict[str, list[float]]


def race(tasks: Mapping[str, Task], *, rounds: int = 5, min_s: float = 0.3) -> Times:
    """Time tasks by turns, A B A B; each turn repeats its task for at least `min_s`.

    Args:
        tasks: what to time, by name; each is called once before, to warm up.
        rounds: turns of each.
        min_s: least time of one turn.

    Returns:
        Seconds per call, by name, one for each round.

    Example:
        >>> times = race({"a": lambda: sum(range(10)), "b": lambda: None}, rounds=2, min_s=0.001)
        >>> sorted(times), len(times["a"])
        (['a', 'b'], 2)
    """
    repeats = {name: _repeats(task, min_s) for name, task in tasks.items()}
    times: Times = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            started_s = time.perf_counter()
            for _ in range(repeats[name]):
                task()
            times[name].append((time.perf_counter() - started_s) / repeats[name])
    return times


def _repeats(task: Task, min_s: float) -> int:
    task()
    n, taken_s = 1, 0.0
    while True:
        started_s = time.perf_counter()
        for _ in range(n):
            task()
        taken_s = time.perf_counter() - started_s
        if taken_s >= min_s / 4:
            return max(1, round(n * min_s / taken_s))
        n *= 2


def ratios(times: Times, subject: str, peer: str) -> list[float]:
    """Divide the times of one by those of the other, round by round.

    Example:
        >>> ratios({"a": [2.0, 6.0], "b": [1.0, 2.0]}, "a", "b")
        [2.0, 3.0]
    """
    return [mine / its for mine, its in zip(times[subject], times[peer], strict=True)]


def ratio_row(
    name: str,
    times: Times,
    *,
    subject: str,
    peer: str,
    target: float | None,
    at_most: bool = False,
    details: Mapping[str, Value] | None = None,
    note: str = "",
) -> Row:
    """Make the row of a ratio of times, the subject's over the peer's.

    Args:
        name: of the figure.
        times: from `race`.
        subject: whose time is above the line.
        peer: whose time is below.
        target, at_most, details, note: see `Row`.

    Returns:
        Median and quartiles of the ratios within rounds, the medians in milliseconds beside.

    Example:
        >>> row = ratio_row("a over b", {"a": [2.0, 6.0], "b": [1.0, 2.0]}, subject="a", peer="b",
        ...                 target=3.0, at_most=True)
        >>> row.value, row.met
        (2.5, True)
    """
    values = ratios(times, subject, peer)
    whole = {f"{who}_ms": round(1000 * statistics.median(times[who]), 4) for who in (subject, peer)}
    return Row(
        name,
        statistics.median(values),
        target=target,
        at_most=at_most,
        spread=quartiles(values),
        details={**whole, **(details or {})},
        note=note,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Give the first and third quartile.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 4.0)
    """
    low, high = np.percentile(np.asarray(values), [25, 75])
    return float(low), float(high)


def pin_threads(n: int) -> bool:
    """Keep this process on n cores, and tell the libraries to use as many threads.

    Returns:
        Whether anything changed: libraries read the variables when they are loaded.
    """
    wanted = {name: str(n) for name in _THREAD_VARIABLES} | {"OMP_WAIT_POLICY": "PASSIVE"}
    changed = any(os.environ.get(name) != value for name, value in wanted.items())
    os.environ.update(wanted)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
    return changed
