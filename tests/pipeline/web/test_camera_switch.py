"""One source out of the machine's camera and browsers' cameras."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from pipeline.types import Picture
from pipeline.web.camera_switch import WAITING, CameraSwitch

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Camera:
    """Gives every second of its frames."""

    def __init__(self) -> None:
        self.dropped, self.count = 0, -1
        self.status: str | None = "camera 0 is gone"
        self.ended = False

    def read(self, timeout: float) -> Picture | None:
        self.count += 2
        self.dropped += 1
        return Picture(self.count, self.count / 30, IMAGE, time.monotonic())


def read(switch: CameraSwitch) -> Picture:
    picture = switch.read(0.01)
    assert picture is not None
    return picture


def test_without_a_camera_it_waits_for_a_browser():
    switch = CameraSwitch(None)
    assert (switch.read(0.01), switch.status, switch.ended) == (None, WAITING, False)
    assert switch.push("me", IMAGE, time.monotonic()) is None, "was not asked"
    switch.claim("me")
    index = switch.push("me", IMAGE, time.monotonic())
    picture = read(switch)
    assert (picture.index, switch.status, switch.dropped) == (index, None, 0)
    assert switch.read(0.01) is None, "each frame once"
    switch.release("me")
    assert switch.status == WAITING


def test_only_the_newest_frame_of_a_browser_counts():
    switch = CameraSwitch(None)
    switch.claim("me")
    indices = [switch.push("me", IMAGE, time.monotonic()) for _ in range(3)]
    assert read(switch).index == indices[-1]
    assert switch.dropped == 2


def test_the_browser_that_asked_last_has_precedence():
    switch = CameraSwitch(Camera())  # type: ignore[arg-type]
    switch.claim("first")
    switch.push("first", IMAGE, time.monotonic())
    switch.claim("second")
    assert switch.read(0.01) is None, "nothing of the first is left"
    assert switch.push("first", IMAGE, time.monotonic()) is None
    switch.release("first")
    assert switch.owner == "second"


def test_index_and_time_only_grow_whatever_is_looked_at():
    camera = Camera()
    switch = CameraSwitch(camera)  # type: ignore[arg-type]
    assert switch.status == "camera 0 is gone"
    pictures = [read(switch), read(switch)]
    assert [picture.index for picture in pictures] == [1, 3], "dropped ones are counted"
    switch.claim("me")
    assert switch.status is None
    switch.push("me", IMAGE, pictures[-1].captured - 1)
    pictures.append(read(switch))
    switch.release("me")
    pictures.append(read(switch))
    assert all(a.index < b.index for a, b in pairwise(pictures))
    assert all(a.time < b.time for a, b in pairwise(pictures))


@pytest.mark.parametrize("claimed", [False, True])
def test_the_end_of_the_camera_is_the_end_unless_a_browser_is_looked_at(claimed):
    camera = Camera()
    camera.ended = True
    switch = CameraSwitch(camera)  # type: ignore[arg-type]
    if claimed:
        switch.claim("me")
    assert switch.ended is not claimed
