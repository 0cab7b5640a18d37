"""A real browser with a film in place of its camera, started once for all tests that want it.

Chromium is the system's (Debian: ``apt-get install chromium``); nothing is downloaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks import moving_scene
from benchmarks.moving_scene import MovingScene, photo_background, portrait_actors
from tests.conftest import Keep
from tests.pipeline.web.browsing import Server

SECONDS, FPS, REPEATS = 40, 10, 3
"""Slow, so that a busy machine, which looks once in two seconds, can follow the faces. Chromium
plays a film of JPEGs with 30 frames a second; each is there three times."""

APART = 14
"""A seed with which the two never meet."""


@pytest.fixture(scope="session")
def film(keep: Keep) -> Path:
    """Eileen Collins and Grace Hopper, moving, from the beginning again without a jump."""

    def make(folder: Path) -> None:
        scene = MovingScene(portrait_actors(), photo_background(), SECONDS, (105, 135), seed=APART)
        with (folder / "camera.mjpeg").open("wb") as file:
            for i in range(SECONDS * FPS):
                image, _ = scene.frame(i / FPS)
                file.write(cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes() * REPEATS)

    sources = (Path(__file__), Path(moving_scene.__file__))
    return keep("camera_film", sources, make) / "camera.mjpeg"


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The browser; its camera shows the film."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    film = request.getfixturevalue("film")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={film}",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts `faces webcam SOURCE --web` with people of its own."""
    servers = []

    def start(source: str, *more: str) -> Server:
        server = Server(source, tmp_path / "people.db", *more)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
