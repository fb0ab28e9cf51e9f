"""POST /v1/embeddings, in the shape that OpenAI's clients write and read."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastapi import APIRouter, Request

from index.types import Vectors
from retrieval.encoders.text_cache import TEXT_CACHE
from retrieval.media import find_file
from retrieval.server.answers import Json
from retrieval.server.bodies import Incoming, read_incoming, read_model
from retrieval.server.limits import RequestError
from retrieval.server.openapi import answers, body_of
from retrieval.server.payloads import EmbeddingsBody
from retrieval.server.state import State
from retrieval.types import Modality

router = APIRouter(tags=["vectors"])

_SPEAKER: tuple[Modality, ...] = ("image", "audio", "text")


@router.post(
    "/v1/embeddings",
    summary="Encode texts, or uploaded files.",
    openapi_extra=body_of(EmbeddingsBody, files=True),
    responses=answers(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
            "model": "starter",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    ),
)
async def embeddings(request: Request) -> Json:
    """Give vectors: float, unit length."""
    state: State = request.app.state.shared
    async with read_incoming(request) as incoming:
        if incoming.files:
            value = incoming.value if isinstance(incoming.value, dict) else {}
            body = read_model({"input": "files", **value}, EmbeddingsBody)
            vectors = await state.encode(lambda: _of_files(state, body, incoming), request.receive)
            n_words = 0
        else:
            body = read_model(incoming.value, EmbeddingsBody)
            texts = [body.input] if isinstance(body.input, str) else body.input
            vectors = await state.encode(lambda: _of_texts(state, body, texts), request.receive)
            n_words = sum(len(text.split()) for text in texts)
    return Json(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": position, "embedding": _written(row, body)}
                for position, row in enumerate(vectors)
            ],
            "model": state.engine.encoder.name,
            "usage": {"prompt_tokens": n_words, "total_tokens": n_words},
        }
    )


def _of_texts(state: State, body: EmbeddingsBody, texts: Sequence[str]) -> Vectors:
    encoder = state.engine.encoder
    space = encoder.space_for("text", _part(body.for_))
    _check(body, name=encoder.name, dim=space.dim)
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    with state.metrics.step("encode"):
        return TEXT_CACHE.encode(clean, encoder=encoder, space=space)


def _of_files(state: State, body: EmbeddingsBody, incoming: Incoming) -> Vectors:
    encoder = state.engine.encoder
    rows = [_of_file(state, body, path) for path in incoming.paths]
    dims = {len(row) for row in rows}
    _check(body, name=encoder.name, dim=dims.pop())
    if dims:
        raise RequestError(
            "files of different kinds have vectors of different lengths here; send one kind",
            code="mixed_modalities", status=422,
        )  # fmt: skip
    return np.stack(rows)


def _of_file(state: State, body: EmbeddingsBody, path: Path) -> Vectors:
    """Encode a file: the mean of the parts that speak for it. float32 [D], unit length."""
    encoder = state.engine.encoder
    with state.metrics.step("decode"):
        parts = [p for p in state.loader.load(find_file(path)).parts if not p.caption]
    modality = next(m for m in _SPEAKER if any(p.modality == m for p in parts))
    payloads = [p.payload for p in parts if p.modality == modality]
    space = encoder.space_for(modality, _part(body.for_))
    with state.metrics.step("encode"):
        mean = encoder.encode(payloads, modality=modality, space=space).mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), dtype=np.float32)


def _part(modality: Modality) -> Modality:
    return "image" if modality == "video" else modality


def _check(body: EmbeddingsBody, *, name: str, dim: int) -> None:
    if body.model not in (None, name):
        raise RequestError(
            f"this server's model is {name}; leave 'model' out or name it",
            code="model_not_served", status=422,
        )  # fmt: skip
    if body.dimensions not in (None, dim):
        raise RequestError(
            f"vectors of {name} have {dim} dimensions; leave 'dimensions' out",
            code="bad_dimensions", status=422,
        )  # fmt: skip


def _written(row: Vectors, body: EmbeddingsBody) -> list[float] | str:
    if body.encoding_format == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
    return [float(value) for value in row]
