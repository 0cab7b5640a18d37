"""The page in a real browser, with a film in place of its camera and the real networks.

Chromium is the system's (Debian: ``apt-get install chromium``); nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from pipeline.moving_scene import MovingScene, photo_background, portrait_actors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).resolve().parents[3]
SECONDS, FPS = 16, 30
"""Chromium plays a film of JPEGs with 30 frames a second."""

PATIENCE = 120_000
"""Milliseconds; a busy machine takes its time."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eileen Collins and Grace Hopper, moving."""
    scene = MovingScene(portrait_actors(), photo_background(), SECONDS, (105, 135), seed=3)
    path = tmp_path_factory.mktemp("film") / "camera.mjpeg"
    with path.open("wb") as file:
        for i in range(SECONDS * FPS):
            image, _ = scene.frame(i / FPS)
            file.write(cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes())
    return path


@pytest.fixture(scope="module")
def chromium(film: Path) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
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


class Server:
    """`faces webcam browser` as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "scripts.main", "webcam", "browser", "--web", "--port",
                   str(self.port), "--gallery", str(self.folder / "people.db"), "--embedder",
                   "mini", "--threads", "1"]  # fmt: skip
        detector = os.environ.get("FACES_TEST_DETECTOR")
        if detector:
            command += ["--detector", detector]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        told = []
        for line in self.process.stderr:
            told.append(line)
            if self.url in line:
                return
        raise AssertionError(f"it ended with code {self.process.wait()}: {''.join(told)}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=120)
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def names(page: Any) -> list[str]:
    return page.locator("#people .name").all_inner_texts()


def face(page: Any, name: str) -> Any:
    """The button over the face with this name."""
    return page.locator("#faces button", has_text=name)


def wait(page: Any, condition: str, arg: Any = None) -> None:
    """Playwright's own waiting evaluates strings in the page, which its policy forbids."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        time.sleep(0.1)


RECOGNISED = """name => [...document.querySelectorAll('#faces button')]
    .some(button => button.textContent.startsWith(name))"""
LISTED = """name => [...document.querySelectorAll('#people .name')]
    .some(item => item.textContent === name)"""


def test_a_face_is_taught_known_after_reload_and_restart_and_forgotten(chromium, server, tmp_path):
    page = chromium.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text)
            if "Content Security Policy" in message.text else None)  # fmt: skip
    page.goto(server.url)
    page.click("#camera")

    # A face is boxed; from the keyboard it is chosen and named.
    page.wait_for_selector("#faces button", timeout=PATIENCE)
    wait(page, "document.querySelector('#faces button')?.textContent.startsWith('Unknown')")
    for _ in range(20):  # not every moment shows a face that can be learnt from
        page.locator("#faces button").first.focus(timeout=PATIENCE)
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask[open]")
        page.fill("#ask-name", "Ada")
        page.keyboard.press("Enter")
        try:
            page.wait_for_selector("#ask:not([open])", state="attached", timeout=10_000)
            break
        except Exception:
            page.keyboard.press("Escape")
            time.sleep(1)
    wait(page, RECOGNISED, "Ada")
    wait(page, LISTED, "Ada")
    assert "Ada" in page.inner_text("#teaching-text")

    # It survives a reload,
    page.reload()
    wait(page, LISTED, "Ada")
    page.click("#camera")
    wait(page, RECOGNISED, "Ada")

    # and the end of the server: the page comes back by itself.
    server.stop()
    wait(page, "document.querySelector('#connection').dataset.state === 'wait'")
    server.start()
    wait(page, "document.querySelector('#connection').dataset.state === 'good'")
    wait(page, RECOGNISED, "Ada")

    # A click of the mouse where the face is leads to it as well.
    button = face(page, "Ada").first
    for _ in range(20):
        box = button.bounding_box()
        if box is None:
            continue
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        if page.locator("#ask[open]").count():
            break
    page.wait_for_selector("#ask[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#ask:not([open])", state="attached")

    # Forgetting is asked about first.
    page.get_by_role("button", name="Forget Ada").click()
    page.locator("#ask-buttons").get_by_role("button", name="Cancel").click()
    assert names(page) == ["Ada"]
    page.get_by_role("button", name="Forget Ada").click()
    page.locator("#ask-buttons").get_by_role("button", name="Forget").click()
    page.wait_for_selector("#nobody:not([hidden])", timeout=PATIENCE)
    wait(page, "![...document.querySelectorAll('#faces button')]"
               ".some(button => button.textContent.startsWith('Ada'))")  # fmt: skip
    assert b"Ada" not in (tmp_path / "people.db").read_bytes()
    assert problems == []
    page.close()
