"""The OpenAPI document is what is checked in, and what the server does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.http.examples import ERROR, REQUESTS, RESPONSES
from pipeline.service.errors import CODES
from pipeline.service.operations import OPERATIONS
from pipeline.service.types import ErrorResponse
from scripts.serve import openapi_text

ROOT = Path(__file__).parents[3]


def test_the_document_is_checked_in():
    """After a change: faces serve --openapi > docs/openapi.json, and look at the difference."""
    assert (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8") == openapi_text() + "\n"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_the_examples_are_real(operation):
    response = operation.response.model_validate_json(json.dumps(RESPONSES[operation.name]))
    assert isinstance(response, BaseModel)
    if operation.name in REQUESTS:
        operation.parse(REQUESTS[operation.name])


def test_the_example_of_a_refusal_is_real():
    assert ErrorResponse.model_validate(ERROR).error.code in CODES


def test_every_code_is_documented():
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    for code, entry in CODES.items():
        assert f"| `{code}` | {entry.status} |" in text, code
