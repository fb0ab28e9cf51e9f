"""The OpenAPI document: bodies are read by hand, so they are described by hand, once, here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

__all__ = ["answers", "body_of", "describe", "file_body"]

Schema = dict[str, Any]  # Any: JSON

_ERROR: Schema = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
    },
    "required": ["code", "message", "request_id"],
}
_WHY = {
    400: "not JSON, or not HTTP",
    401: "no token, or a wrong one",
    403: "another site's page, or not allowed here",
    404: "no such item",
    408: "the body came too slowly",
    409: "the file has changed since it was added",
    410: "gone",
    413: "too large",
    416: "no such range",
    421: "another host name",
    422: "a value outside its limits",
    503: "busy, or not ready; Retry-After says when",
}


def body_of(*models: type[BaseModel], files: bool = False) -> Schema:
    """Describe a JSON body that fits one of some models, and the form that carries files."""
    refs = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    schema: Schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    content: Schema = {"application/json": {"schema": schema}}
    if files:
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {"body": {"type": "string", "description": "the JSON"}},
                "additionalProperties": {"type": "string", "format": "binary"},
            }
        }
    return {"requestBody": {"required": True, "content": content}}


def file_body() -> Schema:
    """Describe a form of files alone."""
    file = {"type": "string", "format": "binary"}
    schema = {"type": "object", "properties": {"file": file}, "required": ["file"]}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def answers(example: object, *, status: int = 200) -> dict[int | str, Schema]:
    """Describe what a route answers: an example of the good, and the errors."""
    good: Schema = {"description": "done", "content": {"application/json": {"example": example}}}
    errors: dict[int | str, Schema] = {
        str(code): {
            "description": why,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for code, why in _WHY.items()
    }
    return {str(status): good, **errors}


def describe(app: FastAPI, *, models: tuple[type[BaseModel], ...]) -> Schema:
    """Write the document of an application."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions.get("$defs", {})
    schemas["Error"] = _ERROR
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}, {}]
    return document
