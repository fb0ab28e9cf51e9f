"""GET and DELETE /v1/items/{id}, POST /v1/items."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as InPath

from retrieval.errors import CrossfindError, StorageError
from retrieval.server.answers import Json, item_answer, scrubbed
from retrieval.server.bodies import Incoming, read_incoming
from retrieval.server.limits import RequestError
from retrieval.server.openapi import answers, file_body
from retrieval.server.state import State

router = APIRouter(tags=["items"])

ItemId = Annotated[int, InPath(ge=0, le=2**63 - 1, description="Of the item.")]

_KEPT = re.compile(r"[^\w .()\[\]-]", re.ASCII)
_MAX_NAME = 80


@router.get(
    "/v1/items/{item_id}",
    summary="Say what is known of an item.",
    responses=answers({"id": 7, "path": "/p/parrot.jpg", "modality": "image", "format": "jpeg"}),
)
async def get_item(request: Request, item_id: ItemId) -> Json:
    """Look an item up."""
    state: State = request.app.state.shared
    found = await state.looks.run(lambda: state.stored(item_id))
    said = {name: value for name, value in asdict(found.details).items() if value}
    return Json({**item_answer(found.item), "details": said})


@router.delete(
    "/v1/items/{item_id}",
    summary="Take an item out of the store; its file stays.",
    responses=answers({"removed": 1}),
)
async def delete_item(request: Request, item_id: ItemId) -> Json:
    """Remove an item."""
    state: State = request.app.state.shared
    check_writable(state)

    def work() -> int:
        state.stored(item_id)
        n_removed = state.engine.remove(item_id)
        state.engine.reload()
        return n_removed

    return Json({"removed": await state.writes.run(work)})


@router.post(
    "/v1/items",
    summary="Upload files and add them to the store.",
    status_code=201,
    openapi_extra=file_body(),
    responses=answers({"items": [{"id": 7, "name": "parrot.jpg"}], "failures": []}, status=201),
)
async def add_items(request: Request) -> Json:
    """Keep uploaded files in a folder of the store and add them."""
    state: State = request.app.state.shared
    check_writable(state)
    async with read_incoming(request) as incoming:
        if not incoming.paths:
            raise RequestError("send files as parts of a form", code="no_files", status=422)
        added, failures = await state.writes.run(lambda: _add(state, incoming))
    if not added:
        first = failures[0]
        raise RequestError(f"{first['name']}: {first['message']}", code=first["code"], status=422)
    return Json({"items": added, "failures": failures}, status_code=201)


def check_writable(state: State) -> None:
    """Refuse a change where the server only reads.

    Raises:
        RequestError: `read_only`, 403.
    """
    if state.options.read_only:
        raise RequestError(
            "this server only reads; start it without --read-only", code="read_only", status=403
        )


def _add(state: State, incoming: Incoming) -> tuple[list[dict[str, object]], list[dict[str, str]]]:
    kept: dict[str, str] = {}
    for path in incoming.paths:
        name = incoming.names[str(path)]
        kept[str(_keep(path, name, state.uploads))] = name
    try:
        state.engine.add(*kept)
    except CrossfindError:
        for target in kept:  # nothing was acknowledged, so nothing is kept
            os.unlink(target)
        raise
    bad = {failure.path: failure for failure in state.engine.failures()}
    added: list[dict[str, object]] = []
    failures: list[dict[str, str]] = []
    for target, name in kept.items():
        if target in bad:
            message = scrubbed(bad[target].reason, {target: name})
            failures.append({"name": name, "code": bad[target].code, "message": message})
            state.engine.remove(target)
            os.unlink(target)
        else:
            added += _items_of(state, target)
    state.engine.reload()
    return added, failures


def _items_of(state: State, path: str) -> list[dict[str, object]]:
    item = state.engine.item(path) or state.engine.item(f"{path}#1")
    return [] if item is None else [item_answer(item)]


def _keep(path: Path, name: str, folder: Path) -> Path:
    """Move an uploaded file into the folder, named by its contents and what it was called."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    plain = _KEPT.sub("_", os.path.basename(name.replace("\\", "/"))).strip(". ") or "file"
    stem, suffix = os.path.splitext(plain)
    target = folder / f"{digest}-{stem[:_MAX_NAME]}{suffix[:9]}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another server of the store may be taking the same file.
        partial = folder / f".{digest}-{os.urandom(4).hex()}.part"
        with partial.open("wb") as file:
            file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise StorageError(f"the upload cannot be kept: {error.strerror}") from error
    return target
