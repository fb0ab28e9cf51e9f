"""Reading hits in tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from retrieval.types import Hit


def names(hits: Iterable[Hit]) -> list[str]:
    """List the file names of hits, in their order."""
    return [Path(hit.path).name for hit in hits]
