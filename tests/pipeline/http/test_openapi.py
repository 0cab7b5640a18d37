"""The OpenAPI document is what is checked in, and what the server does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.service.errors import CODES
from pipeline.service.operations import OPERATIONS
from scripts.serve import openapi_text

ROOT = Path(__file__).parents[3]


def test_the_document_is_checked_in():
    """After a change: faces serve --openapi > docs/openapi.json, and look at the difference."""
    assert (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8") == openapi_text() + "\n"


def test_every_reference_leads_somewhere():
    text = openapi_text()
    document = json.loads(text)
    assert "$defs" not in text
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found = document
        for part in reference.split("/"):
            found = found[part]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_requests_and_keys_are_described(operation):
    method = "get" if operation.reads else "post"
    entry = json.loads(openapi_text())["paths"][f"/v1/{operation.name}"][method]
    assert ("security" in entry) is (operation.scope is not None)
    fields = operation.request.model_json_schema().get("properties", {}).keys()
    header, *query = entry["parameters"]
    assert (header["in"], header["name"]) == ("header", "X-Deadline-Seconds")
    if operation.reads:
        assert [field["name"] for field in query] == list(fields)
        return
    ((kind, content),) = entry["requestBody"]["content"].items()
    form = operation.takes_images
    assert kind == ("multipart/form-data" if form else "application/json")
    assert content["schema"].get("properties", {}).keys() == fields | ({"image"} if form else set())
    answer = entry["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert answer.endswith(f"/{operation.response.__name__}")


def test_every_code_is_documented():
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    for code, entry in CODES.items():
        assert f"| `{code}` | {entry.status} |" in text, code
