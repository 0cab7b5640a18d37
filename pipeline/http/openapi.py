"""What FastAPI cannot know for its OpenAPI document: the endpoints read their bodies themselves,
within limits of size and time, and never onto the disk."""

from __future__ import annotations

from typing import Any

from pipeline.service.errors import CODES, ErrorResponse
from pipeline.service.operations import Operation

DESCRIPTION = """Find faces, say who they are, and learn people.

Images are sent as multipart/form-data, each as a file in a field `image`; the other fields are the
options. Names are never part of an address, so that no proxy's log holds them. See docs/serve.md.
"""

WATCHING = ("forbidden", "overloaded")
"""Codes that every address can answer with; ``forbidden`` goes to web pages."""

ALWAYS = (*WATCHING, "invalid_request", "rate_limited")
WITH_KEY = ("unauthorized", "storage_failed", "deadline_exceeded", "shutting_down")
WITH_BODY = ("request_timeout", "too_large", "unsupported_media_type")


def describe(operation: Operation) -> dict[str, Any]:
    """Arguments of FastAPI's ``add_api_route`` for an operation."""
    codes = {*ALWAYS, *operation.errors}
    if operation.scope is not None:
        codes.update(WITH_KEY)
    if not operation.reads:
        codes.update(WITH_BODY)
    scope = operation.scope if operation.scope != "any" else None
    return {
        "response_model": operation.response,
        "operation_id": operation.name.replace("/", "_"),
        "summary": operation.summary,
        "description": scope and f"Needs a key with the scope `{scope}`.",
        "tags": [operation.scope or "watching"],
        "responses": refusals(*codes),
        "openapi_extra": _request(operation),
    }


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The answers of these error codes, by status."""
    answers: dict[int | str, dict[str, Any]] = {}
    for code in sorted(codes):
        entry = CODES[code]
        answer = answers.setdefault(entry.status, {"model": ErrorResponse, "description": ""})
        answer["description"] += f"{'; ' * bool(answer['description'])}`{code}`: {entry.meaning}"
        if entry.again:
            seconds = {"type": "integer", "minimum": 1}
            answer["headers"] = {"Retry-After": {"description": "seconds", "schema": seconds}}
    return dict(sorted(answers.items(), key=lambda item: str(item[0])))


def _request(operation: Operation) -> dict[str, Any]:
    schema = operation.request.model_json_schema()
    fields, required = schema.setdefault("properties", {}), schema.get("required", [])
    if operation.reads:
        return {
            "parameters": [
                {"name": name, "in": "query", "required": name in required, "schema": field}
                for name, field in fields.items()
            ]
        }
    if not operation.takes_images:
        content = {"application/json": {"schema": schema}}
        return {"requestBody": {"required": bool(required), "content": content}}
    least, most = operation.images
    images: dict[str, Any] = {
        "type": "array", "items": {"type": "string", "format": "binary"}, "minItems": least,
        "description": "JPEG, PNG or WebP",
    }  # fmt: skip
    if most is not None:
        images["maxItems"] = most
    schema["properties"] = {"image": images, **fields}
    schema["required"] = ["image", *required]
    types = {"image": {"contentType": "image/jpeg, image/png, image/webp"}}
    content = {"multipart/form-data": {"schema": schema, "encoding": types}}
    return {"requestBody": {"required": True, "content": content}}
