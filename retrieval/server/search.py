"""POST /v1/search."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastapi import APIRouter, Request

from retrieval.config import expand_home
from retrieval.errors import UsageError
from retrieval.query.expression import refine
from retrieval.query.grammar import make_query, read_query, refined
from retrieval.query.json_form import read_expression
from retrieval.server.answers import Json
from retrieval.server.bodies import Incoming, read_incoming, read_model
from retrieval.server.found import Asked, Sought, query_digest
from retrieval.server.limits import MAX_DEPTH, RequestError
from retrieval.server.openapi import answers, body_of
from retrieval.server.payloads import SearchBatch, SearchBody
from retrieval.server.state import State
from retrieval.types import Either, Every, Expression, Sum, Term

router = APIRouter(tags=["search"])

Value = str | Path | int | Expression


@router.post(
    "/v1/search",
    summary="Find the items nearest to a query, or to each of several.",
    openapi_extra=body_of(SearchBody, SearchBatch, files=True),
    responses=answers(
        {
            "hits": [{"rank": 1, "id": 7, "path": "/p/parrot.jpg", "modality": "image",
                      "score": 0.31, "confidence": 0.98, "media": "/v1/items/7/media"}],
            "next_cursor": None, "generation": 3, "took_ms": 2.9, "warnings": [],
        }
    ),
)  # fmt: skip
async def search(request: Request) -> Json:
    """Answer a search; see `SearchBody`."""
    state: State = request.app.state.shared
    local = bool(request.scope.get("local"))
    async with read_incoming(request) as incoming:
        is_batch = isinstance(incoming.value, dict) and "queries" in incoming.value
        if is_batch:
            bodies = read_model(incoming.value, SearchBatch).queries
        else:
            bodies = [read_model(incoming.value, SearchBody)]
        bodies = [await _found_by_path(body, state, local=local) for body in bodies]
        _check_sum(bodies)
        searches = tuple(ask(body, incoming=incoming, local=local) for body in bodies)
        return Json(await state.search(Sought(searches, is_batch), request.receive))


async def _found_by_path(body: SearchBody, state: State, *, local: bool) -> SearchBody:
    """Turn `like` into a query: the item that is stored under the path, else the file itself."""
    if body.like is None:
        return body
    if not local or body.query is not None:
        why = "give query or like" if local else "only for the store's own socket"
        raise RequestError(f"like: {why}", code="bad_request", status=422)
    path = os.path.join(body.folder or "", body.like)
    item = await state.looks.run(lambda: state.engine.item(path))
    query = {"file": path} if item is None else {"item": item.id}
    return body.model_copy(update={"query": query, "like": None})


def ask(body: SearchBody, *, incoming: Incoming, local: bool) -> Asked:
    """Turn a body into what the engine takes.

    Args:
        body: checked.
        incoming: with the files that came along.
        local: whether the caller may name files of this machine.

    Raises:
        UsageError: the query cannot be carried out.
    """
    query = make_query(
        _read(body, incoming=incoming, local=local),
        k=body.k,
        modality=body.for_,
        where=body.where,
        min_confidence=body.min_confidence,
        offset=_offset(body),
        hybrid=body.hybrid,
    )
    return Asked(query, body)


def _read(body: SearchBody, *, incoming: Incoming, local: bool) -> Value:
    files = {name: paths[0] for name, paths in incoming.files.items()}
    place = _Place(files, Path(body.folder) if local and body.folder else None, local)
    if body.folder and not local:
        raise RequestError(
            "folder: only for the store's own socket", code="bad_request", status=422
        )
    if body.query is None:
        if not body.more_like:
            raise UsageError("the query is empty; say what to look for", code="empty_query")
        return refine(None, more=body.more_like, less=body.less_like)
    if isinstance(body.query, str):
        value: Value = read_query(body.query, syntax=body.syntax)
    else:
        value = read_expression(body.query)
    if isinstance(value, Path):
        value = place.path(str(value)) if local else str(body.query)
    elif isinstance(value, Term) and value.kind == "text":
        value = value.value
    elif isinstance(value, Term) and value.kind == "file" and not (value.crop or value.slice_s):
        value = place.path(value.value)
    elif isinstance(value, Term | Sum | Every | Either):
        value = place.expression(value)
    return refined(value, more=body.more_like, less=body.less_like)


@dataclass(frozen=True)
class _Place:
    """Where the files of a query are: among the uploaded ones; on disk for the owner alone."""

    files: Mapping[str, Path]
    folder: Path | None
    local: bool

    def path(self, name: str) -> Path:
        if name in self.files:
            return self.files[name]
        if self.local:
            path = expand_home(name)
            return path if self.folder is None else self.folder / path
        raise RequestError(
            f"the query names a file {Path(name).name[:80]!r} that was not sent along; send it as "
            "a part of a multipart form and name the part",
            code="file_not_sent",
            status=422,
        )

    def expression(self, value: Expression) -> Expression:
        if isinstance(value, Term):
            is_file = value.kind == "file"
            return replace(value, value=str(self.path(value.value))) if is_file else value
        if isinstance(value, Sum):
            return Sum(tuple((weight, self._addend(part)) for weight, part in value.parts))
        parts = tuple(self.expression(part) for part in value.parts)
        return Every(parts) if isinstance(value, Every) else Either(parts)

    def _addend(self, part: Term | Sum) -> Term | Sum:
        placed = self.expression(part)
        assert isinstance(placed, Term | Sum)  # a sum holds nothing else
        return placed


def _check_sum(bodies: Sequence[SearchBody]) -> None:
    n_hits = sum(body.k for body in bodies)
    if n_hits > MAX_DEPTH:
        raise RequestError(
            f"the batch asks for {n_hits} hits; all k together may be {MAX_DEPTH}",
            code="batch_too_large",
            status=422,
        )


def _offset(body: SearchBody) -> int:
    if body.cursor is None:
        _check_depth(body.offset, body.k)
        return body.offset
    if body.offset:
        raise RequestError("give offset or cursor", code="bad_request", status=422)
    try:
        written = base64.b64decode(body.cursor, altchars=b"-_", validate=True).decode("ascii")
        version, offset, digest = written.split(":")
        good = version == "1" and digest == query_digest(body) and offset.isdecimal()
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor() from error
    if not good or len(offset) > 6:
        raise _bad_cursor()
    _check_depth(int(offset), body.k)
    return int(offset)


def _check_depth(offset: int, k: int) -> None:
    if offset + k > MAX_DEPTH:
        raise RequestError(
            f"a list can be paged {MAX_DEPTH} deep; make the query narrower, e.g. with where",
            code="bad_offset",
            status=422,
        )


def _bad_cursor() -> RequestError:
    return RequestError(
        "the cursor is not one of this search; send next_cursor with the very same query",
        code="bad_cursor",
        status=422,
    )
