"""Client and AsyncClient: the same calls, waited for in two ways."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, TypeVar, Unpack

import httpx

from index.types import Vectors
from retrieval.client import calls
from retrieval.client.calls import Call, Value, read_error
from retrieval.errors import CrossfindError
from retrieval.server.local import SOCKET_NAME, socket_address
from retrieval.store import find_store
from retrieval.types import Hit, Item, Modality

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")
_URL = "http://127.0.0.1:8765"


class Options(TypedDict, total=False):
    """Of a search; see `Engine.search`."""

    k: int
    modality: Modality | None
    where: str
    min_confidence: float
    offset: int
    hybrid: bool


class _Base:
    """Where the server is."""

    def __init__(
        self,
        url: str = _URL,
        *,
        token: str = "",
        store: str | os.PathLike[str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._stack = ExitStack()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._settings = {
            "base_url": "http://localhost" if store is not None else url,
            "headers": headers,
            "timeout": timeout_s,
            "trust_env": False,  # a proxy of the environment has no business with this server
        }
        self._uds: str | None = None
        if store is not None:
            root = find_store(Path.cwd(), explicit=os.fspath(store))
            self._uds = self._stack.enter_context(socket_address(root / SOCKET_NAME))


class Client(_Base):
    """Ask a running server; what comes back are the nouns that the Engine gives.

    Args:
        url: of the server.
        token: its secret, where it has one.
        store: ask the server of this store of your own by its socket instead.
        timeout_s: the longest to wait for one answer.

    Raises:
        CrossfindError: from every call: what the Engine would have raised, with its code;
            `no_server` where nothing answers.

    Example:
        >>> with Client("http://127.0.0.1:1", timeout_s=1) as client:
        ...     try:
        ...         client.search("a red parrot")
        ...     except CrossfindError as error:
        ...         print(error.code)
        no_server
    """

    def __init__(
        self,
        url: str = _URL,
        *,
        token: str = "",
        store: str | os.PathLike[str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        super().__init__(url, token=token, store=store, timeout_s=timeout_s)
        transport = httpx.HTTPTransport(uds=self._uds) if self._uds else None
        self._http = httpx.Client(transport=transport, **self._settings)  # type: ignore[arg-type]

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._stack.close()

    def search(self, query: Value, **options: Unpack[Options]) -> list[Hit]:
        """Find the items nearest to a query; files are sent along. See `Engine.search`."""
        return self._do(calls.search_call(query, **options))

    def search_many(self, queries: Sequence[Value], **options: Unpack[Options]) -> list[list[Hit]]:
        """Search for up to 64 queries in one request."""
        return self._do(calls.batch_call(queries, **options))

    def similar(self, target: int | Path, **options: Unpack[Options]) -> list[Hit]:
        """Find items like a stored item (int) or a file (Path), without itself."""
        return self._do(calls.search_call(target, **options))

    def item(self, item_id: int) -> Item:
        """Look up a stored item."""
        return self._do(calls.item_call(item_id))

    def add(self, *paths: str | os.PathLike[str]) -> list[Item]:
        """Send files to be kept and added."""
        return self._do(calls.add_call([Path(path) for path in paths]))

    def remove(self, item_id: int) -> int:
        """Take an item out of the store; return how many went."""
        return self._do(calls.remove_call(item_id))

    def encode(self, texts: Sequence[str], *, modality: Modality = "image") -> Vectors:
        """Give vectors of texts, to be compared with items of a modality: float32 [N, D]."""
        return self._do(calls.encode_call(texts, modality))

    def classify(
        self, targets: Sequence[int | Path], *, labels: Sequence[str]
    ) -> list[dict[str, object]]:
        """Say of items (int) and files (Path) which of some classes they show."""
        return self._do(calls.classify_call(targets, labels))

    def explain(self, query: str, item_id: int) -> dict[str, object]:
        """Say why an item is a hit."""
        body = {"query": query, "id": item_id}
        return self._do(calls.plain_call("POST", "/v1/explain", body=body))

    def facets(self, where: str = "") -> dict[str, Any]:  # Any: JSON
        """Count the items that fit a condition by modality and format."""
        return self._do(calls.plain_call("GET", "/v1/facets", where=where))

    def status(self) -> dict[str, Any]:  # Any: JSON
        """Tell what the store holds and how it is searched."""
        return self._do(calls.plain_call("GET", "/v1/status"))

    def _do(self, call: Call[T]) -> T:
        with ExitStack() as stack:
            try:
                answer = self._http.request(call.method, call.route, **call.arguments(stack))
            except httpx.HTTPError as error:
                raise _no_server(error) from error
        return _read(call, answer)


class AsyncClient(_Base):
    """As `Client`, for asyncio.

    Example:
        >>> import asyncio
        >>> async def ask():
        ...     async with AsyncClient("http://127.0.0.1:1", timeout_s=1) as client:
        ...         return await client.search("a red parrot")
        >>> try:
        ...     asyncio.run(ask())
        ... except CrossfindError as error:
        ...     print(error.code)
        no_server
    """

    def __init__(
        self,
        url: str = _URL,
        *,
        token: str = "",
        store: str | os.PathLike[str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        super().__init__(url, token=token, store=store, timeout_s=timeout_s)
        transport = httpx.AsyncHTTPTransport(uds=self._uds) if self._uds else None
        self._http = httpx.AsyncClient(transport=transport, **self._settings)  # type: ignore[arg-type]

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        self._stack.close()

    async def search(self, query: Value, **options: Unpack[Options]) -> list[Hit]:
        """As `Client.search`."""
        return await self._do(calls.search_call(query, **options))

    async def search_many(
        self, queries: Sequence[Value], **options: Unpack[Options]
    ) -> list[list[Hit]]:
        """As `Client.search_many`."""
        return await self._do(calls.batch_call(queries, **options))

    async def similar(self, target: int | Path, **options: Unpack[Options]) -> list[Hit]:
        """As `Client.similar`."""
        return await self._do(calls.search_call(target, **options))

    async def item(self, item_id: int) -> Item:
        """As `Client.item`."""
        return await self._do(calls.item_call(item_id))

    async def add(self, *paths: str | os.PathLike[str]) -> list[Item]:
        """As `Client.add`."""
        return await self._do(calls.add_call([Path(path) for path in paths]))

    async def remove(self, item_id: int) -> int:
        """As `Client.remove`."""
        return await self._do(calls.remove_call(item_id))

    async def encode(self, texts: Sequence[str], *, modality: Modality = "image") -> Vectors:
        """As `Client.encode`."""
        return await self._do(calls.encode_call(texts, modality))

    async def classify(
        self, targets: Sequence[int | Path], *, labels: Sequence[str]
    ) -> list[dict[str, object]]:
        """As `Client.classify`."""
        return await self._do(calls.classify_call(targets, labels))

    async def explain(self, query: str, item_id: int) -> dict[str, object]:
        """As `Client.explain`."""
        body = {"query": query, "id": item_id}
        return await self._do(calls.plain_call("POST", "/v1/explain", body=body))

    async def facets(self, where: str = "") -> dict[str, Any]:  # Any: JSON
        """As `Client.facets`."""
        return await self._do(calls.plain_call("GET", "/v1/facets", where=where))

    async def status(self) -> dict[str, Any]:  # Any: JSON
        """As `Client.status`."""
        return await self._do(calls.plain_call("GET", "/v1/status"))

    async def _do(self, call: Call[T]) -> T:
        with ExitStack() as stack:
            try:
                answer = await self._http.request(call.method, call.route, **call.arguments(stack))
            except httpx.HTTPError as error:
                raise _no_server(error) from error
        return _read(call, answer)


def _no_server(error: Exception) -> CrossfindError:
    return CrossfindError(
        f"no server answers ({error}); start one with: crossfind serve", code="no_server"
    )


def _read(call: Call[T], answer: httpx.Response) -> T:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not answer.is_success or not isinstance(told, dict):
        raise read_error(answer.status_code, told)
    return call.read(told)
