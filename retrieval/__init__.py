"""crossfind: find pictures, sounds and texts by each other.

Example:
    >>> import retrieval
    >>> retrieval.__version__
    '0.1.0'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.errors import CrossfindError
from retrieval.types import Failure, Hit, Item, Modality, Part, Query, Space

if TYPE_CHECKING:
    from retrieval.client import AsyncClient, Client
    from retrieval.engine import Engine

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "CrossfindError",
    "Engine",
    "Failure",
    "Hit",
    "Item",
    "Modality",
    "Part",
    "Query",
    "Space",
]


def __getattr__(name: str) -> object:
    # The Engine brings SQL and more; it arrives on first use.
    if name == "Engine":
        from retrieval.engine import Engine

        return Engine
    if name in ("AsyncClient", "Client"):
        from retrieval import client

        return getattr(client, name)
    raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
