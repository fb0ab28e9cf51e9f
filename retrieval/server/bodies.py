"""Reading what comes in: strict JSON, or a form with files that are kept for one request."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from retrieval.errors import BadMediaError, UsageError
from retrieval.server.answers import scrubbed
from retrieval.server.limits import MAX_BATCH, MAX_BODY_BYTES, RequestError, read_json

__all__ = ["Incoming", "read_incoming", "read_model"]

M = TypeVar("M", bound=BaseModel)

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Incoming:
    """A request's body.

    Attributes:
        value: its JSON; None where a form has no field `body`.
        files: uploaded files by field name, each in a folder of its own.
        names: what the client calls each of them, by path.
    """

    value: object = None
    files: dict[str, list[Path]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """All uploaded files, in the order of their fields."""
        return [path for paths in self.files.values() for path in paths]


@asynccontextmanager
async def read_incoming(request: Request) -> AsyncIterator[Incoming]:
    """Read a body; uploaded files are gone when the block ends.

    Raises:
        RequestError: it is no JSON or no form (`bad_json`, `bad_form`), or too much.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        yield Incoming(read_json(await _body(request)))
        return
    folder = Path(tempfile.mkdtemp(prefix="crossfind-"))
    incoming = Incoming()
    try:
        incoming = await _read_form(request, folder)
        yield incoming
    except (BadMediaError, UsageError) as error:
        if isinstance(error, RequestError):
            raise
        message = scrubbed(str(error), incoming.names)
        raise RequestError(message, code=error.code, status=error.http_status) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_model(value: object, model: type[M]) -> M:
    """Check a body against its model.

    Raises:
        RequestError: it does not fit (`bad_request`, 422); the message names the field and its
            limits.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the body"
        why = str(first["msg"]).removeprefix("Value error, ")
        raise RequestError(f"{place[:100]}: {why}", code="bad_request", status=422) from error


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise _gone() from error


async def _read_form(request: Request, folder: Path) -> Incoming:
    try:
        form = await request.form(max_files=MAX_BATCH, max_fields=8, max_part_size=MAX_BODY_BYTES)
    except MultiPartException as error:
        raise RequestError(
            f"the form cannot be read: {error}", code="bad_form", status=400
        ) from error
    except ClientDisconnect as error:
        raise _gone() from error
    incoming = Incoming()
    value: object = None
    try:
        for name, part in form.multi_items():
            if isinstance(part, UploadFile):
                path = await _keep(part, folder / str(len(incoming.names)))
                incoming.files.setdefault(name, []).append(path)
                incoming.names[str(path)] = part.filename or name
            elif name == "body":
                value = read_json(part.encode("utf-8", "surrogatepass"))
            else:
                raise RequestError(
                    f"the form has a text field {name[:80]!r}; give the JSON in 'body'",
                    code="bad_form",
                    status=422,
                )
    finally:
        await form.close()
    return Incoming(value, incoming.files, incoming.names)


async def _keep(part: UploadFile, folder: Path) -> Path:
    """Write an uploaded file where decoders can read it; its name gives the suffix at most."""
    suffix = os.path.splitext(part.filename or "")[1]
    os.mkdir(folder, 0o700)
    path = folder / f"upload{suffix.lower() if _SUFFIX.fullmatch(suffix) else ''}"
    with path.open("xb") as file:
        while chunk := await part.read(_CHUNK_BYTES):
            file.write(chunk)
    return path


def _gone() -> RequestError:
    return RequestError("the client has gone", code="gone", status=499)
