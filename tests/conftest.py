"""Let every test folder import the builders in tests/support, and keep decoders warm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))


@pytest.fixture(scope="session", autouse=True)
def _warm_decoders() -> Iterator[None]:
    """Keep one fork server for all tests: it ends with its last loader, and starts in 0.2 s."""
    from retrieval.media.forks import FORKS

    FORKS.join()
    yield
    FORKS.leave()
