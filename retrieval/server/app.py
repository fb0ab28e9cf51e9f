"""Puts the application together: routes, errors, metrics, the OpenAPI document."""

from __future__ import annotations

import logging
import time

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import retrieval
from retrieval.errors import CrossfindError
from retrieval.server import around, embeddings, items, media, pages, search
from retrieval.server.answers import Json, error_answer
from retrieval.server.limits import RequestError
from retrieval.server.openapi import describe
from retrieval.server.pages import WEB_FOLDER, read_pages
from retrieval.server.payloads import (
    ClassifyBody,
    EmbeddingsBody,
    ExplainBody,
    MomentsBody,
    SearchBatch,
    SearchBody,
)
from retrieval.server.state import State

__all__ = ["make_app"]

_log = logging.getLogger(__name__)
_MODELS = (SearchBody, SearchBatch, EmbeddingsBody, ClassifyBody, ExplainBody, MomentsBody)


def make_app(state: State) -> FastAPI:
    """Make the application of a store; a `Boundary` belongs around it.

    Args:
        state: with the engine; the caller closes it.
    """
    app = FastAPI(
        title="crossfind",
        version=retrieval.__version__,
        description="Find pictures, sounds, videos and texts by each other.",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.shared = state
    app.state.pages = read_pages(state.options.web or WEB_FOLDER)
    for router in (r.router for r in (search, items, media, embeddings, around, pages)):
        app.include_router(router)
    _add_plain_routes(app, state)
    app.add_exception_handler(CrossfindError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _theirs)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unknown)
    app.add_middleware(_Counting, state=state)
    return app


def _add_plain_routes(app: FastAPI, state: State) -> None:
    document = describe(app, models=_MODELS)

    @app.get("/health", include_in_schema=False)
    async def health() -> Json:
        return Json({"status": "ok"})

    @app.get("/ready", include_in_schema=False)
    async def ready() -> Json:
        told = {"ready": state.is_ready, "generation": state.engine.generation}
        return Json(told, status_code=200 if state.is_ready else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        state.metrics.serving(state.engine.generation)
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/docs.json", include_in_schema=False)
    async def docs() -> Json:
        return Json(document)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, CrossfindError)  # as registered
    answer = error_answer(request, error)
    if answer.status_code >= 500 and answer.status_code != 503:
        _log.error("request %s: %s", request.scope.get("request_id"), error)
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # as registered
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"][1:])
    made = RequestError(f"{place}: {first['msg']}", code="bad_request", status=422)
    return error_answer(request, made)


async def _theirs(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # as registered
    codes = {404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "bad_request")
    answer = error_answer(
        request, RequestError(str(error.detail), code=code, status=error.status_code)
    )
    answer.headers.update(error.headers or {})
    return answer


async def _gone(request: Request, _error: Exception) -> Response:
    return error_answer(request, RequestError("the client has gone", code="gone", status=499))


async def _unknown(request: Request, error: Exception) -> Response:
    _log.error("request %s", request.scope.get("request_id"), exc_info=error)
    told = RequestError("internal error", code="internal_error", status=500)
    return error_answer(request, told)


class _Counting:
    """Counts answers and times them, by route rather than by path."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            seconds = time.perf_counter() - started_s
            self._state.metrics.count(route, status=status, seconds=seconds)
