"""What the caller's environment holds changes no result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CALLER = {
    "PYTEST_ARGS": "-q",  # as `make test PYTEST_ARGS=-q` passes it on
    "MAKEFLAGS": " -- PYTEST_ARGS=-q",
    "PYTEST_ADDOPTS": "-q",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONIOENCODING": "ascii",
    "LC_ALL": "C",
    "COLUMNS": "40",
    "FORCE_COLOR": "1",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "MPLBACKEND": "nonsense",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "CI": "true",
    "TZ": "Asia/Kathmandu",
}


@pytest.mark.slow
def test_tests_do_not_depend_on_the_callers_environment() -> None:
    """A few files that such variables made fail."""
    files = ["tests/test_make.py", "tests/scripts/options/test_command_line.py"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files],
        cwd=ROOT, env={**os.environ, **CALLER}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
