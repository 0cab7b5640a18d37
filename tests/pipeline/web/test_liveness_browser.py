"""The check in a real browser, with a made person before a made camera."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.liveness.challenge import Challenge
from pipeline.liveness.scene import Errors
from pipeline.liveness.simulation import Actor, live, photo
from pipeline.web.camera_switch import CameraSwitch
from pipeline.web.server import Page
from tests.pipeline.service.films import SCALE, find_points
from tests.pipeline.web.browsing import PATIENCE, choose, press, until, watched
from tests.pipeline.web.fakes import FakeLive
from tests.pipeline.web.test_liveness_check import tick

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RATE = 12.0


class Camera(threading.Thread):
    """Shows an actor who does what the page says."""

    def __init__(self, page: Page) -> None:
        super().__init__(daemon=True)
        self.page, self.actor, self.end = page, living(), threading.Event()

    def run(self) -> None:
        errors = Errors(np.random.default_rng(0), quick=0.01, slow=0.01)
        start, before = time.monotonic(), 0.0
        while not self.end.wait(1 / RATE):
            state = self.page._broadcast.check.state
            asks = "look" if state is None else state["asks"]
            now = time.monotonic() - start
            points = errors.add(self.actor.act(now, now - before, asks), now - before) * SCALE
            self.page.show(tick(time.monotonic(), points))
            before = now


def living() -> Actor:
    actor = live(np.random.default_rng(1))
    actor.turn, actor.haste = math.radians(32), math.radians(60)
    return actor


@pytest.fixture
def camera() -> Iterator[Camera]:
    page = Page(FakeLive("Ada"), CameraSwitch(None), port=0)  # type: ignore[arg-type]
    check = page._broadcast.check
    check._open = lambda: find_points
    check.new_challenge = lambda policy: Challenge.new(random.Random(5), policy)
    with page:
        made = Camera(page)
        made.start()
        yield made
        made.end.set()
        made.join(10)


def test_a_person_passes_and_a_photo_does_not(camera, chromium):
    page = chromium.new_page(viewport={"width": 360, "height": 760})
    problems = watched(page)
    page.goto(camera.page.url)

    def begin() -> None:
        choose(page, "Ada")
        press(page, "Check that this is a live person")
        page.wait_for_selector("#check:not([hidden])", timeout=PATIENCE)

    def text() -> str:
        return page.inner_text("#check-text")

    seen: set[str] = set()

    def over() -> bool:
        seen.add(text())
        return page.locator("#check").get_attribute("data-status") != "waiting"

    begin()
    until(over, "a verdict", page)
    assert text() == "A live person: Ada. The check was passed."
    assert any("Look straight at the camera" in one for one in seen), seen
    assert any("Turn your head slowly" in one for one in seen), seen
    assert page.is_hidden("#check-bar")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 360, "nothing sticks out on a phone"
    page.get_by_role("button", name="Close").click()
    page.wait_for_selector("#check", state="hidden", timeout=PATIENCE)

    camera.actor = photo(np.random.default_rng(0), turn=(30, 45), sway=(0.1, 3))
    time.sleep(0.5)
    begin()
    until(over, "a verdict", page)
    assert text().startswith("Not passed: ")
    page.get_by_role("button", name="Close").click()

    begin()
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector("#check", state="hidden", timeout=PATIENCE)
    assert problems == []
    page.close()
