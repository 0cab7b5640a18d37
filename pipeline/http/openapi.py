"""The OpenAPI document: what FastAPI cannot know because the endpoints read their bodies alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pipeline.http.examples import ERROR, REQUESTS, RESPONSES
from pipeline.service import types as t
from pipeline.service.errors import CODES
from pipeline.service.operations import OPERATIONS, Operation

DESCRIPTION = """Find faces, say who they are, and learn people.

Images are sent as multipart/form-data, each as a file in a field `image`; the other fields are the
options. Names are never part of an address, so that no proxy's log holds them. See docs/serve.md.
"""

ALWAYS = ("invalid_request", "rate_limited", "overloaded", "deadline_exceeded", "shutting_down")
WITH_KEY = ("unauthorized", "forbidden")
WITH_BODY = ("request_timeout", "too_large", "unsupported_media_type")
STORED = ("storage_failed",)


def describe(app: FastAPI) -> None:
    """Have the application give the document at ``/openapi.json``."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = make_document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def make_document(app: FastAPI) -> dict[str, Any]:
    """The document of an application with one route for each operation."""
    document = get_openapi(
        title="faces", version=app.version, description=DESCRIPTION, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["ErrorResponse"] = _inlined(t.ErrorResponse.model_json_schema())
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of `faces keys create`, unless the server runs without keys.",
        }
    }
    for operation in OPERATIONS.values():
        method = "get" if operation.reads else "post"
        _describe(document["paths"][f"/v1/{operation.name}"][method], operation)
    for path, text in (
        ("/healthz", "The process is alive"),
        ("/readyz", "Requests can be answered"),
        ("/metrics", "Figures for Prometheus; needs the scope metrics"),
    ):
        _describe_watching(document["paths"][path]["get"], path, text)
    return document


def _describe(entry: dict[str, Any], operation: Operation) -> None:
    entry["operationId"] = operation.name.replace("/", "_")
    entry["summary"] = operation.summary
    entry["tags"] = [operation.scope or "watching"]
    if operation.scope is not None:
        entry["security"] = [{"key": []}]
        if operation.scope != "any":
            entry["description"] = f"Needs a key with the scope `{operation.scope}`."
    schema = _inlined(operation.request.model_json_schema())
    entry["parameters"] = [_DEADLINE]
    if operation.reads:
        required = schema.get("required", ())
        entry["parameters"] += [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in schema["properties"].items()
        ]
    else:
        entry["requestBody"] = (
            _form(schema, operation) if operation.takes_images else _json(schema, operation)
        )
    answer = entry["responses"]["200"]
    answer["description"] = "Done"
    answer["content"]["application/json"]["example"] = RESPONSES[operation.name]
    entry["responses"] = {"200": answer, **_refusals(operation)}


def _form(schema: dict[str, Any], operation: Operation) -> dict[str, Any]:
    least, most = operation.images
    images: dict[str, Any] = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": least,
        "description": "JPEG, PNG or WebP",
    }
    if most is not None:
        images["maxItems"] = most
    schema["properties"] = {"image": images, **schema.get("properties", {})}
    schema["required"] = ["image", *schema.get("required", ())]
    types = {"image": {"contentType": "image/jpeg, image/png, image/webp"}}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": schema, "encoding": types}},
    }


def _json(schema: dict[str, Any], operation: Operation) -> dict[str, Any]:
    return {
        "required": bool(schema.get("required")),
        "content": {"application/json": {"schema": schema, "example": REQUESTS[operation.name]}},
    }


def _refusals(operation: Operation) -> dict[str, Any]:
    codes = {*ALWAYS, *operation.errors}
    if operation.scope is None:
        codes -= {"overloaded", "deadline_exceeded", "shutting_down"}
        codes |= {"overloaded"}
    else:
        codes |= set(WITH_KEY)
    codes.add("forbidden")  # of web pages
    if not operation.reads:
        codes |= set(WITH_BODY)
    if "unavailable" in operation.errors:
        codes |= set(STORED)
    by_status = defaultdict(list)
    for code in sorted(codes):
        by_status[CODES[code].status].append(code)
    return {str(status): _refusal(by_status[status]) for status in sorted(by_status)}


def _refusal(codes: list[str]) -> dict[str, Any]:
    example = {**ERROR, "error": {**ERROR["error"], "code": codes[0], "details": {}}}
    example["error"]["message"] = CODES[codes[0]].meaning
    entry: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {CODES[code].meaning}" for code in codes),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ErrorResponse"},
                "example": example,
            }
        },
    }
    if any(CODES[code].again for code in codes):
        entry["headers"] = {
            "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}
        }
    return entry


def _describe_watching(entry: dict[str, Any], path: str, text: str) -> None:
    entry["operationId"] = path[1:]
    entry["summary"] = text
    entry["tags"] = ["watching"]
    body: dict[str, Any]
    if path == "/metrics":
        entry["security"] = [{"key": []}]
        body = {"text/plain": {"schema": {"type": "string"}}}
        more = {"401": _refusal(["unauthorized"]), "429": _refusal(["rate_limited"])}
    elif path == "/readyz":
        schema: dict[str, Any] = {"$ref": "#/components/schemas/HealthResponse"}
        body = {"application/json": {"schema": schema, "example": RESPONSES["health"]}}
        either = {"oneOf": [schema, {"$ref": "#/components/schemas/ErrorResponse"}]}
        more = {
            "503": {"description": "Not now", "content": {"application/json": {"schema": either}}}
        }
    else:
        schema = {"type": "object", "properties": {"alive": {"const": True}}, "required": ["alive"]}
        body = {"application/json": {"schema": schema, "example": {"alive": True}}}
        more = {}
    entry["responses"] = {
        "200": {"description": "Yes", "content": body},
        "403": _refusal(["forbidden"]),
        "503": _refusal(["overloaded"]),
        **more,
    }


_DEADLINE = {
    "name": "X-Deadline-Seconds",
    "in": "header",
    "required": False,
    "description": "give up after so many seconds; at most the server's own limit",
    "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1_000_000},
}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without ``$defs``: request types are flat, but one type may name another."""
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return resolve(definitions[value["$ref"].rpartition("/")[2]])
            return {key: resolve(part) for key, part in value.items()}
        return [resolve(part) for part in value] if isinstance(value, list) else value

    return resolve(schema)
