"""Each call to a server as a value: what to send, and how to read the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from index.types import Vectors
from retrieval.config import expand_home
from retrieval.errors import BusyError, CrossfindError, NotFoundError, UsageError
from retrieval.query.expression import terms
from retrieval.query.json_form import expression_to_json
from retrieval.types import Either, Every, Expression, Hit, Item, Modality, Sum, Term

__all__ = ["Call", "Value", "read_error"]

T = TypeVar("T")
Value = str | Path | int | Expression
Answer = dict[str, Any]  # Any: JSON

_HIT = frozenset(f.name for f in fields(Hit))
_ITEM = frozenset(f.name for f in fields(Item))


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how to read what comes back.

    Attributes:
        method, route: of the request.
        read: turns the JSON into what the caller wants.
        body: JSON, or None.
        files: to send along, by field name.
        params: of the query string.
    """

    method: str
    route: str
    read: Callable[[Answer], T]
    body: Mapping[str, object] | None = None
    files: Sequence[tuple[str, Path]] = ()
    params: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, stack: ExitStack) -> dict[str, Any]:  # Any: what httpx takes
        """Write it as httpx takes it; files stay open as long as the stack."""
        if not self.files:
            sent = {"json": self.body} if self.body is not None else {}
            return {"params": dict(self.params), **sent}
        parts: list[tuple[str, tuple[str | None, object]]] = [
            (name, (path.name, stack.enter_context(path.open("rb")))) for name, path in self.files
        ]
        if self.body is not None:
            parts.insert(0, ("body", (None, json.dumps(self.body))))
        return {"params": dict(self.params), "files": parts}


def search_call(query: Value, **options: object) -> Call[list[Hit]]:
    """Search; see `Engine.search`."""
    files: dict[str, Path] = {}
    body = {"query": _written(query, files), **_renamed(options)}
    return Call("POST", "/v1/search", _hits, body, tuple(files.items()))


def batch_call(queries: Sequence[Value], **options: object) -> Call[list[list[Hit]]]:
    """Search for several at once."""
    files: dict[str, Path] = {}
    bodies = [{"query": _written(query, files), **_renamed(options)} for query in queries]
    return Call(
        "POST", "/v1/search", lambda told: [_hits(one) for one in told["results"]],
        {"queries": bodies}, tuple(files.items()),
    )  # fmt: skip


def item_call(item_id: int) -> Call[Item]:
    """Look an item up."""
    return Call("GET", f"/v1/items/{item_id}", _item)


def remove_call(item_id: int) -> Call[int]:
    """Remove an item."""
    return Call("DELETE", f"/v1/items/{item_id}", lambda told: int(told["removed"]))


def add_call(paths: Sequence[Path]) -> Call[list[Item]]:
    """Upload files."""
    sent = tuple(("file", path) for path in paths)
    return Call("POST", "/v1/items", lambda told: [_item(row) for row in told["items"]], None, sent)


def encode_call(texts: Sequence[str], modality: Modality) -> Call[Vectors]:
    """Encode texts."""
    body = {"input": list(texts), "for": modality}
    return Call("POST", "/v1/embeddings", _vectors, body)


def classify_call(
    targets: Sequence[int | Path], labels: Sequence[str]
) -> Call[list[dict[str, object]]]:
    """Name items and files."""
    ids = [target for target in targets if isinstance(target, int)]
    files = tuple(("file", target) for target in targets if isinstance(target, Path))
    body = {"labels": list(labels), "ids": ids}
    return Call("POST", "/v1/classify", lambda told: list(told["predictions"]), body, files)


def plain_call(
    method: str, route: str, *, body: Mapping[str, object] | None = None, **params: str
) -> Call[Answer]:
    """Ask for JSON and give it as it is."""
    return Call(method, route, lambda told: told, body, params=params)


def read_error(status: int, told: object) -> CrossfindError:
    """Turn an error answer into the error that the Engine would have raised.

    Example:
        >>> read_error(422, {"code": "bad_k", "message": "k is 0"}).code
        'bad_k'
    """
    known = told if isinstance(told, dict) else {}
    message = str(known.get("message") or f"the server answered {status} without a reason")
    code = str(known.get("code") or "server_error")
    kinds: dict[int, type[CrossfindError]] = {
        404: NotFoundError,
        410: NotFoundError,
        503: BusyError,
    }
    kind = kinds.get(status, UsageError if status < 500 else CrossfindError)
    return kind(message, code=code)


def _renamed(options: Mapping[str, object]) -> dict[str, object]:
    """Say `for` where Python says `modality`."""
    return {"for" if name == "modality" else name: value for name, value in options.items()}


def _written(query: Value, files: dict[str, Path]) -> object:
    """Write a query as JSON; its files get names of their own."""
    if isinstance(query, str):
        return {"text": query}
    if isinstance(query, int):
        return {"item": query}
    if isinstance(query, Path):
        return {"file": _named(query, files)}
    names = {t.value: _named(Path(t.value), files) for t in terms(query) if t.kind == "file"}
    return expression_to_json(_placed(query, names))


def _named(path: Path, files: dict[str, Path]) -> str:
    name = f"file{len(files)}"
    files[name] = expand_home(path)
    return name


def _placed(query: Expression, names: Mapping[str, str]) -> Expression:
    if isinstance(query, Term):
        return replace(query, value=names[query.value]) if query.kind == "file" else query
    if isinstance(query, Sum):
        placed = [(weight, _placed(part, names)) for weight, part in query.parts]
        return Sum(tuple((w, part) for w, part in placed if isinstance(part, Term | Sum)))
    parts = tuple(_placed(part, names) for part in query.parts)
    return Every(parts) if isinstance(query, Every) else Either(parts)


def _hits(told: Answer) -> list[Hit]:
    return [Hit(**_kept(row, _HIT)) for row in told["hits"]]


def _item(told: Answer) -> Item:
    return Item(**_kept(told, _ITEM))


def _kept(row: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name in names
    }


def _vectors(told: Answer) -> Vectors:
    return np.array([row["embedding"] for row in told["data"]], dtype=np.float32)
