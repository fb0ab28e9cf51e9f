"""Counts and times in the form Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from retrieval.server.lane import Lane
    from retrieval.server.limits import Gate

__all__ = ["Metrics"]

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class Metrics:
    """The figures of one server, apart from those of any other in the process.

    Example:
        >>> metrics = Metrics()
        >>> metrics.count("/v1/search", status=200, seconds=0.004)
        >>> b'crossfind_requests_total{route="/v1/search",status="200"} 1.0' in metrics.text()
        True
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "crossfind_requests", "Requests answered.", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "crossfind_request_seconds", "Time to answer.", ["route"],
            buckets=_BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        self._steps = Histogram(
            "crossfind_step_seconds", "Time of one step of the work.", ["step"],
            buckets=_BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        self._together = Histogram(
            "crossfind_searches_together", "Searches answered by one batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=self._registry,
        )  # fmt: skip
        self._hits = Counter("crossfind_hits", "Hits given.", registry=self._registry)
        self._inside = Gauge(
            "crossfind_work_inside", "Work that runs or waits.", ["gate"], registry=self._registry
        )
        self._shed = Gauge(
            "crossfind_work_shed", "Work refused because too much waited.", ["gate"],
            registry=self._registry,
        )  # fmt: skip
        self._generation = Gauge(
            "crossfind_generation", "Generation that is served.", registry=self._registry
        )

    def watch(self, *gates: Gate | Lane[Any, Any]) -> None:  # Any: whatever they do
        """Report how full gates are."""
        for gate in gates:
            self._inside.labels(gate.name).set_function(partial(getattr, gate, "n_inside"))
            self._shed.labels(gate.name).set_function(partial(getattr, gate, "n_shed"))

    def count(self, route: str, *, status: int, seconds: float) -> None:
        """Note one answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def found(self, n_hits: int) -> None:
        """Note hits given."""
        self._hits.inc(n_hits)

    def together(self, n_searches: int) -> None:
        """Note how many searches a batch answers."""
        self._together.observe(n_searches)

    def serving(self, generation: int) -> None:
        """Note which generation is served."""
        self._generation.set(generation)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.took(name, time.perf_counter() - started_s)

    def took(self, name: str, seconds: float) -> None:
        """Note how long a step took."""
        self._steps.labels(name).observe(seconds)

    def text(self) -> bytes:
        """Write everything, as text/plain; version=0.0.4."""
        return generate_latest(self._registry)
