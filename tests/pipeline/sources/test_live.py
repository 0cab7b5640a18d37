"""Sources whose frames come by themselves: cameras, streams, films that are played."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.sources.captures import (
    HOLD,
)
from pipeline.sources.live import MOST_WAITING, LiveSource, Together
from pipeline.sources.open import SourceOptions, open_source
from pipeline.types import Picture
from tests.pipeline.sources.cameras import Camera, everything, gray, video, wait_until

# -- live


def test_only_the_newest_frame_of_a_camera_counts():
    ready, go = threading.Event(), threading.Event()

    def last() -> np.ndarray:
        ready.set()
        go.wait(10)
        return gray(99)

    camera = Camera([gray(1), gray(2), gray(3), last])
    with LiveSource(lambda: camera, "camera 0") as source:
        source.start()
        assert ready.wait(10)
        picture = source.read(1)
        assert (picture.image[0, 0, 0], picture.index) == (3, 2)
        assert source.dropped == 2
        assert source.read(0.01) is None, "and never twice"
        assert not source.ended
        go.set()
        picture = source.read(10)
        assert (picture.image[0, 0, 0], picture.index) == (99, 3)
        assert picture.captured <= time.monotonic()
        assert picture.time > 0
    assert camera.closed


def test_frames_of_a_played_film_wait_while_one_is_looked_at():
    film = Camera([gray(i) for i in range(8)] + [None])
    film.wait = 300.0
    with LiveSource(lambda: film, "film", reopen=False) as source:
        source.start()
        wait_until(lambda: source._over)
        pictures = [source.read(1) for _ in range(8)]
        assert [picture.image[0, 0, 0] for picture in pictures] == list(range(8))
        assert {picture.wait for picture in pictures} == {300.0}
        assert source.dropped == 0
        assert source.ended


def test_frames_of_a_played_film_do_not_wait_for_ever():
    many = Camera([gray(i) for i in range(MOST_WAITING + 3)] + [None])
    many.wait = 300.0
    late = Camera([gray(1), lambda: time.sleep(0.05) or gray(2), None])
    late.wait = 0.01
    for film, dropped in ((many, 3), (late, 1)):
        with LiveSource(lambda film=film: film, "film", reopen=False) as source:
            source.start()
            wait_until(lambda source=source: source._over)
            assert source.dropped == dropped
            assert source.read(1).index == dropped


def test_only_a_film_that_plays_alone_is_waited_for(tmp_path):
    path = video(tmp_path / "film.mp4", 2)
    for together, wait in ((None, HOLD), (Together(), 0.0)):
        with open_source(str(path), SourceOptions(live=True, together=together)) as source:
            assert source.read(30).wait == wait
    raw = io.BytesIO(gray(1).tobytes())
    options = SourceOptions(live=True, size=(32, 24), fps=30)
    with open_source("-", options, raw) as source:
        assert source.read(30).wait == 0


def test_a_camera_that_is_gone_is_waited_for_and_opened_again():
    cameras = [Camera([gray(1), None]), UserError("no"), UserError("no"), Camera([gray(2)])]
    opened: list[float] = []

    def open_camera() -> Camera:
        opened.append(time.monotonic())
        item = cameras.pop(0)
        if isinstance(item, UserError):
            raise item
        return item

    with LiveSource(open_camera, "camera 0", pauses=(0.1, 0.15)) as source:
        source.start()
        wait_until(lambda: source.status)
        assert source.status.startswith("camera 0 is gone; trying again in 0.")
        seen: list[Picture] = []

        def three() -> bool:
            picture = source.read(0.05)
            seen.extend([picture] if picture else [])
            return len(seen) >= 3

        wait_until(three)
        assert source.status is None, "once there are pictures again"
        indices = [picture.index for picture in seen]
        assert indices == sorted(set(indices))
    pauses = np.diff(opened)[1:]
    assert (pauses > [0.09, 0.14, 0.14][: len(pauses)]).all()


def test_a_camera_that_opens_but_gives_nothing_is_tried_less_and_less_often(caplog):
    cameras = [Camera([gray(1), None]), *[Camera([None]) for _ in range(3)]]
    cameras += [Camera([gray(2), None]), Camera([])]
    opened: list[float] = []

    def open_camera() -> Camera:
        opened.append(time.monotonic())
        return cameras.pop(0)

    with LiveSource(open_camera, "camera 0", pauses=(0.05, 0.2)) as source:
        source.start()
        wait_until(lambda: not cameras)
        wait_until(lambda: source.status is None)
        assert source._pause == 0.05, "it is reset by a picture"
    pauses = np.diff(opened)
    assert (pauses >= [0.045, 0.095, 0.195, 0.195, 0.045]).all()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["camera 0 is gone; waiting for it", "camera 0 is back"] * 2


def test_a_camera_that_is_not_there_at_first_is_an_error_at_once():
    def open_camera() -> Camera:
        raise UserError("camera 7 cannot be opened")

    with pytest.raises(UserError, match="camera 7"):
        LiveSource(open_camera, "camera 7")


def test_nothing_is_read_before_somebody_looks():
    camera = Camera([gray(1), gray(2)])
    with LiveSource(lambda: camera, "camera 0") as source:
        time.sleep(0.05)
        assert len(camera.script) == 2
        assert source.status is None
    assert camera.closed


def test_a_thread_that_dies_is_noticed():
    camera = Camera([gray(1), RuntimeError("driver")])
    with LiveSource(lambda: camera, "camera 0") as source:
        source.start()
        wait_until(lambda: source._over)
        assert source.read(1) is not None, "what was there is not lost"
        with pytest.raises(RuntimeError, match="driver"):
            source.read(1)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_capture_whose_reading_raises_is_closed(reopened):
    broken = Camera([gray(1), RuntimeError("driver")])
    script = [Camera([gray(1), None]), broken] if reopened else [broken]
    cameras = iter(script)
    with LiveSource(lambda: next(cameras), "camera", pauses=(0.01, 0.01)) as source:
        with pytest.raises(RuntimeError, match="driver"):
            everything(source)
        assert broken.closed


def test_a_capture_is_closed_when_its_picture_cannot_be_used():
    odd = Camera(["no picture at all"])
    with LiveSource(lambda: odd, "camera", mirror=True) as source:
        with pytest.raises(TypeError):
            source.read(5)
        assert odd.closed


def test_a_camera_that_says_nothing_is_reported(monkeypatch):
    monkeypatch.setattr("pipeline.sources.live.STALLED", 0.1)
    go = threading.Event()
    camera = Camera([gray(1), lambda: go.wait(10) and None])
    with LiveSource(lambda: camera, "camera 0", reopen=False) as source:
        source.read(5)
        time.sleep(0.15)
        assert source.status.startswith("no picture from camera 0 for")
        go.set()
        wait_until(lambda: source.ended)
        assert source.status is None


def test_the_mirror():
    image = gray(0)
    image[:, 0] = 200
    with LiveSource(lambda: Camera([image]), "camera 0", mirror=True) as source:
        picture = source.read(5)
    assert picture.image[0, -1, 0] == 200
    assert picture.image.flags.c_contiguous


def test_closing_does_not_wait_for_a_camera_that_is_gone():
    camera = Camera([gray(1), None])
    source = LiveSource(lambda: camera, "camera 0", pauses=(60, 60))
    source.start()
    wait_until(lambda: source.status)
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 30  # not the 60 of a pause
