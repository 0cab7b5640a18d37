"""Following faces: the same number for the same face, at any speed of detection."""

from __future__ import annotations

import numpy as np
import pytest

from detector.types import Detections
from pipeline.live.tracking import FaceTracker, Track

SIZE = (480, 640)


def found(*boxes: tuple[float, float, float, float], score: float | list[float] = 0.9):
    scores = score if isinstance(score, list) else [score] * len(boxes)
    return Detections.from_raw(boxes, scores, SIZE)


def square(x: float, y: float = 100, side: float = 50) -> tuple[float, float, float, float]:
    return (x, y, x + side, y + side)


@pytest.mark.parametrize("gap", [1, 3, 10], ids=["30 Hz", "10 Hz", "3 Hz"])
def test_a_moving_face_keeps_its_number(gap):
    tracker = FaceTracker()
    ids = set()
    for i in range(0, 90, gap):  # 120 pixels a second: 40 between detections at 3 Hz
        ids.update(tracker.update(found(square(100 + 4 * i)), i / 30))
    assert ids == {1}


def test_two_faces_that_pass_each_other_keep_their_numbers():
    tracker = FaceTracker()
    for i in range(60):
        boxes = [square(50 + 6 * i, 100), square(450 - 6 * i, 170)]
        ids = tracker.update(found(*boxes), i / 30)
        assert ids == [1, 2]


def test_a_weak_detection_continues_a_track_and_begins_none():
    tracker = FaceTracker(start_score=0.5)
    assert tracker.update(found(square(100), score=0.4), 0.0) == [None]
    assert tracker.update(found(square(100), score=0.9), 0.1) == [1]
    ids = tracker.update(found(square(102), square(400), score=[0.4, 0.3]), 0.2)
    assert ids == [1, None]
    assert [track.id for track in tracker.tracks] == [1]


def test_a_face_that_is_missed_for_a_moment_comes_back_under_its_number():
    tracker = FaceTracker(patience=1.0)
    tracker.update(found(square(100)), 0.0)
    for time in (0.2, 0.4, 0.6):
        tracker.update(found(), time)
    assert tracker.tracks[0].misses == 3
    assert tracker.update(found(square(100)), 0.8) == [1]


def test_a_face_that_is_away_for_long_gets_a_new_number():
    tracker = FaceTracker(patience=1.0)
    tracker.update(found(square(100)), 0.0)
    for i in range(1, 9):
        tracker.update(found(), i / 5)
    assert tracker.tracks == ()
    assert tracker.update(found(square(100)), 1.8) == [2]


def appear_and_leave(times: list[float]) -> None:
    """A face that is there for the first second: its track is kept for one more, then gone."""
    tracker = FaceTracker(patience=1.0)
    seen = 0.0
    for time in times:
        there = time <= 1.0
        ids = tracker.update(found(square(100)) if there else found(), time)
        if there:
            seen = time
            assert ids == [1]
        kept = [track.id for track in tracker.tracks]
        assert kept == ([1] if time - seen <= 1.0 else []), time
    assert tracker.update(found(square(100)), times[-1] + 0.03) == [2]


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
@pytest.mark.parametrize("every", [1, 2])
def test_a_track_ends_after_its_patience_at_any_frame_rate(fps, every):
    appear_and_leave([i / fps for i in range(0, 3 * fps, every)])


@pytest.mark.parametrize("seed", range(5))
def test_a_track_ends_after_its_patience_at_irregular_times(seed):
    gaps = np.random.default_rng(seed).uniform(0.030, 0.045, 80)
    appear_and_leave(np.cumsum(gaps).tolist())


@pytest.mark.parametrize("interval", [0.036, 0.048, 0.072, 0.082, 0.112, 0.116])
def test_a_face_that_returns_just_after_its_end_gets_a_new_number(interval):
    tracker = FaceTracker(patience=1.0)
    assert tracker.update(found(square(100)), 0.0) == [1]
    time = interval
    while time <= 1.0:
        tracker.update(found(), time)
        time += interval
    # The next update is the first one that is too late for the old number.
    assert tracker.update(found(square(100)), time) == [2]
    assert [track.id for track in tracker.tracks] == [2]


@pytest.mark.parametrize("time", [5.0, -1.0], ids=["a jump", "back to the start"])
def test_when_time_jumps_all_tracks_end_and_no_number_comes_again(time):
    tracker = FaceTracker(patience=1.0)
    assert tracker.update(found(square(100), square(300)), 0.0) == [1, 2]
    assert tracker.update(found(square(100)), time) == [3]


def test_a_face_is_moved_on_between_detections():
    tracker = FaceTracker()
    for i in range(5):
        tracker.update(found(square(100 + 20 * i)), i / 10)  # 200 pixels a second
    [track] = tracker.tracks
    box = track.at(0.45, SIZE)
    assert box == pytest.approx(square(190), abs=1)
    # Nobody believes a movement for ever.
    assert track.at(60.0, SIZE) == pytest.approx(square(280), abs=2)


def test_a_face_that_is_missed_twice_is_not_shown():
    track = Track(1, square(100), (0, 0), 0.9, 0, 0, misses=1)
    assert track.at(0.1, SIZE) is not None
    assert Track(1, square(100), (0, 0), 0.9, 0, 0, misses=2).at(0.1, SIZE) is None


def test_a_face_that_walks_out_is_clipped_and_then_gone():
    track = Track(1, square(600, side=40), (200.0, 0.0), 0.9, 0, 0)
    assert track.at(0.1, SIZE) == pytest.approx((620, 100, 640, 140))
    assert track.at(0.3, SIZE) is None


def test_faces_that_touch_are_crossing():
    tracker = FaceTracker()
    tracker.update(found(square(100), square(120), square(400)), 0.0)
    assert [track.crossing for track in tracker.tracks] == [True, True, False]


def test_no_face_is_no_trouble():
    tracker = FaceTracker()
    assert tracker.update(found(), 0.0) == []
    assert tracker.tracks == ()


def test_numbers_of_a_crowd_are_those_of_its_boxes():
    random = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(8) * 75 + 20, np.arange(5) * 90 + 10), -1).reshape(
        -1, 2
    )
    tracker = FaceTracker()
    for i in range(10):
        jitter = places + random.normal(0, 2, places.shape)
        ids = tracker.update(found(*[square(x, y, 40) for x, y in jitter.clip(0)]), i / 10)
        if i == 0:
            first = ids
    assert len(set(first)) == 40
    assert ids == first


def test_a_face_that_was_lost_or_has_jumped_is_doubtful():
    tracker = FaceTracker()
    for i in range(5):
        tracker.update(found(square(100 + 4 * i)), i / 10)
    assert not tracker.tracks[0].doubtful
    tracker.update(found(), 0.5)
    assert not tracker.tracks[0].doubtful
    tracker.update(found(square(124)), 0.6)
    assert tracker.tracks[0].doubtful
    tracker.update(found(square(128)), 0.7)
    assert not tracker.tracks[0].doubtful
    assert tracker.update(found(square(180)), 0.8) == [1]
    assert tracker.tracks[0].doubtful


def test_another_face_on_a_track_gets_a_number_of_its_own():
    tracker = FaceTracker()
    assert tracker.update(found(square(100), square(300)), 0.0) == [1, 2]
    assert tracker.part(1) == 3
    assert tracker.update(found(square(102), square(300), square(500)), 0.1) == [3, 2, 4]
    with pytest.raises(KeyError):
        tracker.part(1)
    tracker.reset()
    assert tracker.update(found(square(102)), 0.2) == [5]


def test_a_face_that_is_missed_is_shown_for_a_moment_only_however_seldom_it_is_looked_for():
    tracker = FaceTracker()
    tracker.update(found(square(100)), 0.0)
    tracker.update(found(), 0.8)
    assert tracker.tracks[0].misses == 1
    assert tracker.tracks[0].at(0.8, SIZE) is None
