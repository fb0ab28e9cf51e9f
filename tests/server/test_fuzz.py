"""Thousands of requests made from the OpenAPI document: none may break the server."""

from __future__ import annotations

import contextlib

import pytest
from served import Served, listening

schemathesis = pytest.importorskip("schemathesis")


def fuzz(served: Served, *, n_cases: int) -> int:
    """Make requests from the document; count those answered, none of them with 5xx but 503."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis.errors import Unsatisfiable

    document = served.client().get("/docs.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    n_each = -(-n_cases // len(operations))
    n_done = 0
    with listening(served) as port:
        for operation in operations:
            mode = schemathesis.GenerationMode
            for kind in (mode.POSITIVE, mode.NEGATIVE):

                @seed(7)
                @settings(
                    max_examples=max(1, n_each // 2), deadline=None, database=None,
                    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @given(case=operation.as_strategy(generation_mode=kind))
                def check(case: object) -> None:
                    nonlocal n_done
                    answer = send(port, case)
                    assert answer < 500 or answer == 503, case
                    n_done += 1

                # An operation without parameters has no wrong ones.
                with contextlib.suppress(Unsatisfiable):
                    check()
    return n_done


def send(port: int, case: object) -> int:
    """Send a case; gives the status."""
    answer = case.call(base_url=f"http://127.0.0.1:{port}")  # type: ignore[attr-defined]
    return int(answer.status_code)


@pytest.mark.slow
def test_ten_thousand_requests_never_break_the_server(fresh: Served) -> None:
    assert fuzz(fresh, n_cases=10_000) >= 8_000
