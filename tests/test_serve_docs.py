"""The commands and programs in docs/serve.md do what they say, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.http.options import HttpOptions
from tests.pipeline.http.live import Live, live
from tests.pipeline.service.fakes import photo

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Live]:
    (tmp_path / "photo.jpg").write_bytes(photo(1, 2, kind="JPEG"))
    for i, size in enumerate((64, 80), 1):
        (tmp_path / f"ada{i}.jpg").write_bytes(photo(1, size=size, kind="JPEG"))
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n", encoding="utf-8")
    with live(tmp_path / "people", HttpOptions()) as running:
        yield running


def run(server: Live, folder: Path, command: list[str], source: str) -> str:
    assert HERE in source
    result = subprocess.run(
        [*command, source.replace(HERE, server.url)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "CURL_HOME": str(folder), "FACES_KEY": "faces_x_y"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.skipif(None in (shutil.which("curl"), shutil.which("sh")), reason="no curl here")
def test_curl(server, tmp_path):
    first, second = blocks("sh")
    out = run(server, tmp_path, ["sh", "-ec"], first)
    assert '"added":2' in out
    assert '"name":"Ada","similarity"' in out
    assert '"same":true' in out
    assert '"people":[{"name":"Ada","photos":2}]' in out
    assert server.get("/v1/people").json()["people"] == []  # renamed, then forgotten
    assert '"score"' in run(server, tmp_path, ["sh", "-ec"], second)


def test_python(server, tmp_path):
    pytest.importorskip("requests")
    (source,) = blocks("python")
    out = run(server, tmp_path, [sys.executable, "-c"], source)
    assert len(out.splitlines()) == 2


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node here")
def test_node(server, tmp_path):
    (source,) = blocks("js")
    out = run(server, tmp_path, ["node", "--input-type=module", "-e"], source)
    assert len(out.splitlines()) == 2
