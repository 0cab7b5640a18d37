"""Requests made up from the OpenAPI document get documented answers, and no 5xx but 503."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.http.options import HttpOptions
from tests.pipeline.http.live import live
from tests.pipeline.service.fakes import photo

schemathesis = pytest.importorskip("schemathesis")


@pytest.mark.slow
def test_schemathesis(tmp_path: Path) -> None:
    import hypothesis
    from hypothesis import strategies
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
        unsupported_method,
    )

    images = strategies.sampled_from([photo(1), photo(1, 2), photo(), photo(3)[:-9], b"", b"x"])
    schemathesis.openapi.format("binary", images)
    checks = [
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
        response_headers_conformance,
        unsupported_method,
    ]
    answers = set()
    options = HttpOptions(rate_per_address="none", rate_per_key="none")
    with live(tmp_path, options, fit=lambda store, progress: {}) as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        for result in schema.get_all_operations():
            operation = result.ok()

            @hypothesis.settings(
                max_examples=12,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=operation.as_strategy() | operation.as_strategy(
                generation_mode=schemathesis.GenerationMode.NEGATIVE
            ))  # fmt: skip
            def ask(case):
                response = case.call(timeout=30)
                answers.add(response.status_code)
                case.validate_response(response, checks=checks)

            ask()
    assert {200, 422} <= answers
    assert not {status for status in answers if status >= 500} - {503}
