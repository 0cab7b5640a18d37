"""The commands and programs in docs/serve.md do what they say, against a real server."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.http.options import HttpOptions
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.scene import FACE, NECK, Pose, project
from pipeline.liveness.simulation import live as living
from tests.pipeline.http.live import Live, live
from tests.pipeline.service.fakes import encode, photo
from tests.pipeline.service.films import (
    SCALE,
    Clock,
    FilmDetector,
    find_points,
    picture,
    play,
)

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
LIVENESS = (ROOT / "docs" / "liveness.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8000"


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Live]:
    (tmp_path / "photo.jpg").write_bytes(photo(1, 2, kind="JPEG"))
    for i, size in enumerate((64, 80), 1):
        (tmp_path / f"ada{i}.jpg").write_bytes(photo(1, size=size, kind="JPEG"))
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n", encoding="utf-8")
    (tmp_path / "frame.png").write_bytes(encode(picture(project(FACE, Pose(), NECK) * SCALE)))
    options = HttpOptions(rate_per_address="none")
    with live(tmp_path / "people", options, FilmDetector(), landmarks=find_points) as running:
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


@pytest.mark.slow
@pytest.mark.skipif(None in (shutil.which("curl"), shutil.which("sh")), reason="no curl here")
def test_curl(server, tmp_path):
    first, second, third = blocks("sh")
    out = run(server, tmp_path, ["sh", "-ec"], first)
    assert '"added":2' in out
    assert '"name":"Ada","similarity"' in out
    assert '"same":true' in out
    assert '"people":[{"name":"Ada","photos":2}]' in out
    assert server.get("/v1/people").json()["people"] == []  # renamed, then forgotten
    assert '"score"' in run(server, tmp_path, ["sh", "-ec"], second)
    out = run(server, tmp_path, ["sh", "-ec"], third)
    assert out.count('"status":"waiting"') == 2
    assert '"faces":1' in out
    assert len(server.service.liveness.sessions) == 0


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


CAMERA = """
import numpy as np
from pathlib import Path

frames = iter(sorted(Path("film").iterdir()))

class VideoCapture:
    def __init__(self, number):
        assert number == 0

    def read(self):
        frame = next(frames, None)
        return frame is not None, frame

def imencode(suffix, frame):
    return True, np.frombuffer(frame.read_bytes(), np.uint8)
"""


@pytest.mark.slow
def test_the_camera_client_of_liveness_md(server, tmp_path):
    """With a film in place of the camera: made beforehand for a known sequence."""
    pytest.importorskip("requests")
    liveness, clock = server.service.liveness, Clock()
    liveness.sessions.clock = clock
    liveness.new_challenge = lambda policy: Challenge.new(random.Random(5), policy)
    film: list[bytes] = []

    def ask(op: str, image: bytes | None, fields: dict[str, Any]) -> Any:
        if image is None:
            return server.client.post(f"/v1/{op}", json=fields).json()
        film.append(image)
        return server.post(op, image, **fields).json()

    actor = living(np.random.default_rng(1))
    actor.turn, actor.haste = math.radians(32), math.radians(70)
    assert play(ask, actor, clock)[-1]["status"] == "passed"
    (tmp_path / "film").mkdir()
    for i, frame in enumerate(film):
        (tmp_path / "film" / f"{i:04d}.png").write_bytes(frame)
    (tmp_path / "cv2.py").write_text(CAMERA, encoding="utf-8")
    detect = server.detector.detect_batch

    def tick(images: Any) -> Any:
        clock.now += 1 / 12  # the next picture comes so much later
        return detect(images)

    server.detector.detect_batch = tick
    (source,) = (block for block in blocks("python", LIVENESS) if "import requests" in block)
    out = run(server, tmp_path, [sys.executable, "-c"], source)
    assert out.splitlines()[0] == "0/4 Look straight at the camera and hold still."
    assert len(out.splitlines()) > 5
    assert out.splitlines()[-1].split() == ["passed"]
