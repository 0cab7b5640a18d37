"""The check on the page: a turning head passes, a photo does not, and what else can happen."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.liveness.challenge import Challenge
from pipeline.liveness.scene import FACE, NECK, Errors, Pose, project
from pipeline.liveness.simulation import Actor, live, photo
from pipeline.types import Face, FrameFaces, Picture, Tick
from pipeline.web.liveness_check import LEAST_PAUSE, LivenessCheck
from recognizer.types import Match
from tests.fake_embedder import FakeEmbedder
from tests.pipeline.service.films import SCALE, box_of, find_points, picture

STRAIGHT = project(FACE, Pose(), NECK) * SCALE
STEP = 1 / 12


def tick(time: float, points: Any, track: int = 7, name: str | None = "Ada", who: int = 1) -> Tick:
    """What the loop gives out: one face, or none where there are no points."""
    image = picture(points, who)
    size = image.shape[0], image.shape[1]
    match = Match(name, 0.9, None, "gallery", name) if name else Match(None)
    faces = ()
    if points is not None:
        x1, y1, x2, y2 = box_of(points).tolist()
        faces = (Face((x1, y1, x2, y2), 0.9, track, match, 1.0),)
    return Tick(Picture(0, time, image, time), FrameFaces(0, time, size, faces, 1))


@pytest.fixture
def check() -> Iterator[LivenessCheck]:
    made = LivenessCheck(
        FakeEmbedder(), lambda: find_points, lambda policy: Challenge.new(random.Random(5), policy)
    )
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.close()
    thread.join(5)
    assert not thread.is_alive()


def show(check: LivenessCheck, one: Tick) -> dict[str, Any]:
    """Show a tick and wait until it was looked at."""
    running = check._running
    check.show(one)
    end = time.monotonic() + 60
    while running is not None and running.last != one.picture.captured:
        assert time.monotonic() < end
        if check._running is not running:
            break
        time.sleep(0.001)
    assert check.state is not None
    return check.state


def play(check: LivenessCheck, actor: Actor, seed: int = 0) -> dict[str, Any]:
    """To the end; the track changes now and then, as it does when a face is lost for a moment."""
    errors = Errors(np.random.default_rng(seed), quick=0.01, slow=0.01)
    check.show(tick(0.0, STRAIGHT))
    check.begin(7)
    now = 0.0
    state = check.state
    assert state is not None
    while state["status"] == "waiting":
        now += STEP
        points = errors.add(actor.act(now, STEP, state["asks"]), STEP) * SCALE
        state = show(check, tick(now, points, track=7 + int(now / 4)))
    return state


def test_a_turning_head_passes(check):
    actor = live(np.random.default_rng(1))
    actor.turn, actor.haste = math.radians(32), math.radians(70)
    assert check.state is None
    state = play(check, actor)
    assert (state["status"], state["name"], state["step"]) == ("passed", "Ada", 4)
    assert check._running is None
    check.show(tick(1000.0, STRAIGHT))
    assert check.state == state, "the verdict stays"
    check.stop()
    assert check.state is None


def test_a_photo_held_up_and_moved_about_fails(check):
    state = play(check, photo(np.random.default_rng(0), turn=(30, 45), sway=(0.1, 3)))
    assert (state["status"], state["name"]) == ("failed", None)
    assert state["message"]


def test_another_person_who_goes_on_is_noticed(check):
    check.show(tick(0.0, STRAIGHT))
    check.begin(7)
    state: dict[str, Any] = {}
    for i in range(1, 20):
        state = show(check, tick(0.1 * i, STRAIGHT, who=1 if i < 10 else 8))
    assert (state["status"], state["reason"]) == ("failed", "another-person")


def test_a_mirrored_camera(check):
    actor = live(np.random.default_rng(1))
    actor.turn, actor.haste = math.radians(32), math.radians(70)
    check.show(tick(0.0, STRAIGHT))
    began = check.begin
    check.begin = lambda track: began(track, lambda camera: True)
    assert play(check, actor)["reason"] == "wrong-movement"


def test_a_face_that_has_gone(check):
    with pytest.raises(UserError, match="not in the picture"):
        check.begin(7)
    check.show(tick(0.0, STRAIGHT))
    with pytest.raises(UserError, match="not in the picture"):
        check.begin(8)
    check.begin(7)
    state = show(check, tick(1.0, None))
    assert (state["status"], state["hint"]) == ("waiting", "No face can be seen.")
    far = STRAIGHT + np.array([200, 0])
    assert show(check, tick(1.1, far, track=9))["hint"] == "No face can be seen."
    assert show(check, tick(1.2, STRAIGHT, track=9))["hint"] is None  # where it was before
    assert show(check, tick(70.0, None))["status"] == "expired"


def test_not_every_picture_is_looked_at(check):
    check.show(tick(0.0, STRAIGHT))
    check.begin(7)
    show(check, tick(1.0, STRAIGHT))
    running = check._running
    check.show(tick(1.0 + LEAST_PAUSE / 2, STRAIGHT))
    time.sleep(0.05)
    assert running is not None
    assert running.last == 1.0


def test_a_bug_ends_the_check_and_not_the_picture(check, caplog):
    check.show(tick(0.0, STRAIGHT))
    check.begin(7)
    check._finder = lambda image, boxes: 1 / 0
    check.show(tick(1.0, STRAIGHT))
    end = time.monotonic() + 60
    while check.state["status"] == "waiting":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert check.state["status"] == "expired"
    assert "the check of a face has failed" in caplog.text
    check.begin(7)
    assert check.state["status"] == "waiting"


def test_the_shipped_landmarks_are_opened_when_first_wanted():
    check = LivenessCheck(FakeEmbedder())
    check.show(tick(0.0, STRAIGHT))
    assert check._finder is None
    check.begin(7)
    assert check._finder is not None
