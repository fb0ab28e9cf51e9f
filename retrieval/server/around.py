"""Classify, explain, moments, map, facets and status: what stands around a search."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request

import retrieval
from index.types import Vectors
from retrieval.around.classify import Classified, classify_by_names
from retrieval.around.moments import item_moments
from retrieval.contents import read_contents, stored_vectors
from retrieval.explain.explain import explain
from retrieval.query.json_form import read_expression
from retrieval.server.answers import Json, scrubbed
from retrieval.server.bodies import Incoming, read_incoming, read_model
from retrieval.server.limits import RequestError
from retrieval.server.openapi import answers, body_of
from retrieval.server.payloads import ClassifyBody, ExplainBody, MomentsBody
from retrieval.server.state import State
from retrieval.types import Space, Term
from retrieval.visualize.map import StoreMap, make_map

router = APIRouter(tags=["around"])

_MAX_DOTS = 20_000


@router.post(
    "/v1/classify",
    summary="Say of items or files which of some classes they show.",
    openapi_extra=body_of(ClassifyBody, files=True),
    responses=answers(
        {
            "model": "starter", "method": "zero-shot", "classes": ["dog", "cat"],
            "predictions": [{"id": 7, "label": "dog", "confidence": 0.9,
                             "scores": {"dog": 0.9, "cat": 0.1}}],
            "failures": [],
        }
    ),
)  # fmt: skip
async def classify(request: Request) -> Json:
    """Name items and files zero-shot."""
    state: State = request.app.state.shared
    async with read_incoming(request) as incoming:
        body = read_model(incoming.value, ClassifyBody)
        if not body.ids and not incoming.paths:
            raise RequestError("give ids, or files in a form", code="no_files", status=422)
        told = await state.slow.run(
            lambda: _classify(state, body, incoming), receive=request.receive
        )
    return Json(told)


@router.post(
    "/v1/explain",
    summary="Say why an item is a hit: which place, which second, which word.",
    openapi_extra=body_of(ExplainBody),
    responses=answers({"id": 7, "score": 0.31, "query_words": [{"word": "red", "drop": 0.1}]}),
)
async def explain_hit(request: Request) -> Json:
    """Cover pieces of an item one at a time."""
    state: State = request.app.state.shared
    async with read_incoming(request) as incoming:
        body = read_model(incoming.value, ExplainBody)
    query = _one_part(body)

    def work() -> dict[str, object]:
        state.stored(body.id)
        found = explain(state.engine, query=query, hit=body.id, loader=state.loader)
        return found.to_plain()

    return Json(await state.slow.run(work, receive=request.receive))


@router.post(
    "/v1/moments",
    summary="Say when in a stored sound or video a text is answered.",
    openapi_extra=body_of(MomentsBody),
    responses=answers({"id": 7, "moments": [{"start_s": 3.0, "end_s": 8.0, "score": 0.4}]}),
)
async def moments(request: Request) -> Json:
    """Find moments, the best first."""
    state: State = request.app.state.shared
    async with read_incoming(request) as incoming:
        body = read_model(incoming.value, MomentsBody)

    def work() -> dict[str, object]:
        state.stored(body.id)
        item, found = item_moments(
            state.engine, query=body.query, hit=body.id, loader=state.loader, n=body.n,
            catalog_url=state.settings.catalog,
        )  # fmt: skip
        return {"id": item.id, "moments": [asdict(moment) for moment in found]}

    return Json(await state.slow.run(work, receive=request.receive))


@router.get(
    "/v1/map",
    summary="The store in the plane.",
    responses=answers({"dots": [{"id": 7, "x": 0.1, "y": -0.4}], "kept": 0.3, "total": 1}),
)
async def store_map(
    request: Request,
    gap: Annotated[bool, Query(description="Leave the modalities apart.")] = False,
    limit: Annotated[int, Query(ge=1, le=_MAX_DOTS, description="Most dots.")] = 5000,
) -> Json:
    """Place items by their two principal components."""
    state: State = request.app.state.shared
    generation, found = await state.slow.run(lambda: _map(state, gap), receive=request.receive)
    step = max(1, -(-len(found.dots) // limit))  # every n-th item stands for its neighbours
    dots = [{**asdict(dot), "name": os.path.basename(dot.path)} for dot in found.dots[::step]]
    return Json(
        {
            "dots": dots,
            "total": len(found.dots),
            "kept": found.kept,
            "model": found.model,
            "generation": generation,
        }
    )


@router.get(
    "/v1/facets",
    summary="Count the items that fit a condition.",
    responses=answers({"total": 3, "modality": {"image": 3}, "format": {"jpeg": 3}}),
)
async def facets(request: Request, where: Annotated[str, Query(max_length=10_000)] = "") -> Json:
    """Count by modality and format."""
    state: State = request.app.state.shared
    found = await state.looks.run(lambda: state.facets(where))
    total = sum(found["modality"].values())
    return Json({"total": total, **found, "generation": state.engine.generation})


@router.get(
    "/v1/status",
    summary="What the store holds and how it is searched.",
    responses=answers(
        {"model": "starter", "ready": True, "n_items": {"image": 3}, "read_only": False}
    ),
)
async def status(request: Request) -> Json:
    """Tell the state of the store, without where it lies."""
    state: State = request.app.state.shared
    found, model = await state.looks.run(
        lambda: (state.engine.status(), state.engine.serving.model_name())
    )
    return Json(
        {
            "version": retrieval.__version__,
            "model": model,
            "ready": state.is_ready,
            "generation": found.generation,
            "n_items": found.n_items,
            "n_bad": found.n_bad,
            "n_parts": found.n_parts,
            "read_only": state.options.read_only,
            "spaces": [
                {"id": s.id, "kind": s.kind, "n_vectors": s.n_vectors, "recall": s.recall}
                for s in found.spaces
            ],
        }
    )


def _classify(state: State, body: ClassifyBody, incoming: Incoming) -> dict[str, object]:
    names: dict[str, dict[str, object]] = {}
    for item_id in body.ids:
        held = state.stored(item_id)
        if not held.files:
            raise RequestError(f"the file of item {item_id} is gone", code="gone", status=410)
        names[held.files[0].path] = {"id": item_id}
    names |= {path: {"name": name} for path, name in incoming.names.items()}

    def stored(paths: Sequence[str], space: Space, /) -> Mapping[str, Vectors]:
        url = state.settings.catalog
        return stored_vectors(state.engine, paths=paths, space=space, catalog_url=url)

    found = classify_by_names(
        list(names), labels=body.labels, encoder=state.engine.encoder, loader=state.loader,
        temperature=body.temperature, stored=stored,
    )  # fmt: skip
    return _plain(found, names, incoming)


def _plain(
    found: Classified, names: dict[str, dict[str, object]], incoming: Incoming
) -> dict[str, object]:
    return {
        "model": found.model,
        "method": found.method,
        "classes": list(found.classes),
        "predictions": [
            {**names[p.path], "label": p.label, "confidence": p.confidence, "scores": p.scores}
            for p in found.predictions
        ],
        "failures": [
            {**names[f.path], "code": f.code, "message": scrubbed(f.reason, incoming.names)}
            for f in found.failures
        ],
    }


def _one_part(body: ExplainBody) -> str | Path | int:
    if isinstance(body.query, str):
        return body.query
    read = read_expression(body.query)
    if isinstance(read, Term) and read.kind == "text":
        return read.value
    if isinstance(read, Term) and read.kind == "item":
        return int(read.value)
    raise RequestError(
        "the query must be one text or one item; explain its parts one at a time",
        code="bad_query", status=422,
    )  # fmt: skip


def _map(state: State, gap: bool) -> tuple[int, StoreMap]:
    generation = state.generation()
    cached = state.map_cache.get((generation, gap))
    if cached is None:
        contents = read_contents(state.engine, catalog_url=state.settings.catalog)
        cached = make_map(contents, with_gap=gap)
        for key in [key for key in state.map_cache if key[0] != generation]:
            state.map_cache.pop(key, None)
        state.map_cache[generation, gap] = cached
    return generation, cached
