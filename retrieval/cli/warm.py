"""Asking a running server of the same store, so that a search costs milliseconds.

Imports the least that will do: what a cold search needs takes longer to import than this to answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from retrieval.config import Settings
from retrieval.errors import NotFoundError
from retrieval.server.local import connect_local
from retrieval.store import find_store
from retrieval.types import Hit

__all__ = ["Answer", "ask_server", "hits_of"]

Answer = dict[str, Any]  # Any: JSON

_HIT_FIELDS = frozenset(field.name for field in fields(Hit))


def ask_server(settings: Settings, *, route: str, body: Mapping[str, object]) -> Answer | None:
    """Ask the server of a store by the socket in its directory.

    Args:
        settings: say which store.
        route: e.g. `/v1/search`.
        body: its JSON.

    Returns:
        What it answered; None where none runs, or it cannot answer: then the store is opened here,
        which says in full what is wrong.
    """
    try:
        store = find_store(Path.cwd(), explicit=settings.store)
    except NotFoundError:
        return None
    link = connect_local(store)
    if link is None:
        return None
    sent = json.dumps(body).encode("ascii")
    head = (
        f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(sent)}\r\nConnection: close\r\n\r\n"
    )
    received = bytearray()
    with link:
        try:
            link.sendall(head.encode("ascii") + sent)
            while piece := link.recv(1 << 16):
                received += piece
        except OSError:
            return None
    return _read(bytes(received))


def hits_of(answer: Answer) -> list[Hit]:
    """Read the hits of an answer."""
    return [_hit(row) for row in answer["hits"]]


def _read(received: bytes) -> Answer | None:
    head, _, body = received.partition(b"\r\n\r\n")
    if head[9:12] != b"200":
        return None
    try:
        answer = json.loads(body)
    except ValueError:  # it died in the middle
        return None
    return answer if isinstance(answer, dict) else None


def _hit(row: Mapping[str, Any]) -> Hit:  # Any: JSON
    known = {name: value for name, value in row.items() if name in _HIT_FIELDS}
    return Hit(**{**known, "copies": tuple(row.get("copies", ()))})
