"""The live loop, on a made world of colored squares."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import numpy as np
import pytest

from faces.boxes import iou
from pipeline.live.loop import Loop, LoopOptions
from pipeline.live.patience import MANY, GaveUp
from pipeline.live.worker import Background
from pipeline.types import Note, Picture, Tick
from tests.pipeline.live_fakes import (
    SIDE,
    CountingEmbedder,
    FakeDetector,
    Later,
    know,
    picture,
)


def names(tick: Tick) -> dict[int | None, str | None]:
    return {face.track: face.match.name for face in tick.faces.faces}


def loop(*known: str, options=None, worker=None, detector=None) -> Loop:
    embedder = CountingEmbedder()
    people = know(embedder, *known)
    return Loop(detector or FakeDetector(), embedder, people, options or LoopOptions(), worker)


class Frames:
    """A source of given frames; None is a moment without one."""

    def __init__(self, frames: Iterable[Picture | None], status: str | None = None) -> None:
        self._frames = iter(frames)
        self.ended, self.dropped, self.status = False, 3, status

    def read(self, timeout: float) -> Picture | None:
        try:
            return next(self._frames)
        except StopIteration:
            self.ended = True
            return None


# -- names


def test_faces_are_named_on_the_very_first_frame():
    tick = loop("Ada", "Bob").step(picture(0, {"Ada": (20, 30), "Bob": (120, 60), "X": (220, 90)}))
    assert names(tick) == {1: "Ada", 2: "Bob", 3: None}
    assert tick.faces.faces[0].box == (20, 30, 20 + SIDE, 30 + SIDE)
    assert tick.faces.faces[0].match.similarity == pytest.approx(1, abs=0.02)
    assert (tick.faces.index, tick.faces.image_size, tick.faces.version) == (0, (240, 320), 1)


def test_all_faces_of_a_frame_are_one_batch_and_not_of_every_frame():
    live = loop("Ada")
    live.embedder.batches.clear()
    places = {"Ada": (20, 30), "Bob": (120, 60), "X": (220, 90)}
    for i in range(30):
        live.step(picture(i, places))
    assert live.embedder.batches[0] == 3
    assert live._looker.detector.calls == 30
    assert sum(live.embedder.batches) <= 4 * 3, "a second of three faces: a few looks each"


def test_a_swapped_snapshot_names_the_very_next_frame_without_a_look():
    live = loop("Ada")
    places = {"Bob": (20, 30)}
    for i in range(10):
        tick = live.step(picture(i, places))
    assert names(tick) == {1: None}
    live.embedder.batches.clear()
    new = know(live.embedder, "Ada", "Bob", version=2)
    live.embedder.batches.clear()
    live.recognizer = new
    tick = live.step(picture(10, places))
    assert names(tick) == {1: "Bob"}
    assert tick.faces.version == 2
    assert live.embedder.batches in ([], [1])


def test_no_frame_is_named_by_two_snapshots():
    class Swapping:
        """Swaps itself out in the middle of a frame."""

        version = 1

        def identify(self, embeddings):
            live.recognizer = other
            return first.identify(embeddings)

    live = loop("Ada")
    first = live.recognizer
    other = know(live.embedder, "Bob", version=2)
    live.recognizer = Swapping()
    tick = live.step(picture(0, {"Ada": (20, 30), "Bob": (120, 60)}))
    assert (names(tick), tick.faces.version) == ({1: "Ada", 2: None}, 1)
    tick = live.step(picture(1, {"Ada": (20, 30), "Bob": (120, 60)}))
    assert (names(tick), tick.faces.version) == ({1: None, 2: "Bob"}, 2)


def test_a_recognizer_of_another_embedder_is_refused():
    live = loop("Ada")
    before = live.recognizer
    foreign = know(type(live.embedder).__mro__[1](seed=1), "Ada")
    with pytest.raises(ValueError, match="knows vectors of fake-32-64-1"):
        live.recognizer = foreign
    assert live.recognizer is before
    with pytest.raises(ValueError, match="the embedder makes those of"):
        Loop(FakeDetector(), CountingEmbedder(), foreign)


def test_people_who_cross_keep_their_names():
    live = loop("Ada", "Bob")
    wrong = 0
    for i in range(75):  # Ada from the left, Bob from the right, over one another in the middle
        places = {"Ada": (10 + 4 * i, 80), "Bob": (300 - 4 * i, 100)}
        if abs(places["Ada"][0] - places["Bob"][0]) < 50:
            places = {"Ada": places["Ada"]}  # in front of Bob
        if places["Ada"][0] > 275:
            break
        tick = live.step(picture(i, places))
        for face in tick.faces.faces:
            nearest = min(places, key=lambda name: abs(places[name][0] - face.box[0]))
            wrong += face.match.name not in (nearest, None)
    assert i > 60
    assert wrong <= 8, "a quarter of a second after they part at most"
    assert set(names(tick).values()) <= {"Ada", "Bob"}


# -- detecting seldom, and late


@pytest.mark.parametrize("every", [1, 3, 7])
def test_faces_are_moved_on_between_detections(every):
    live = loop("Ada", options=LoopOptions(every=every))
    for i in range(45):
        tick = live.step(picture(i, {"Ada": (10 + 5 * i, 100)}))  # 150 pixels a second
        if i >= 2 * every:
            [face] = tick.faces.faces
            true = (10 + 5 * i, 100, min(10 + 5 * i + SIDE, 320), 140)
            assert iou([face.box], [true])[0, 0] > 0.75, i
            assert (face.track, face.match.name) == (1, "Ada")
    assert live._looker.detector.calls == -(-45 // every)


@pytest.mark.parametrize(("delay", "share"), [(1, 1.0), (4, 0.97), (8, 0.85)])
def test_a_slow_detector_does_not_hold_up_the_picture(delay, share):
    """At a delay of 8 frames there are two to three looks a second."""
    live = loop("Ada", worker=Later(delay))
    seen = good = 0
    for i in range(120):
        x = round(130 + 90 * np.sin(i / 40))
        tick = live.step(picture(i, {"Ada": (x, 100)}))
        assert tick.picture.index == i
        if i > 4 * delay + 8:
            true = (x, 100, x + SIDE, 140)
            seen += 1
            good += any(iou([face.box], [true])[0, 0] > 0.5 for face in tick.faces.faces)
            assert names(tick) == {1: "Ada"}
    assert good >= share * seen
    assert live._looker.detector.calls < 120 / delay + 2


def test_weak_detections_continue_tracks_only():
    live = loop(detector=FakeDetector(lambda x, y: 0.9 if x < 100 else 0.35))
    tick = live.step(picture(0, {"Ada": (90, 30), "Bob": (200, 30)}))
    assert set(names(tick)) == {1}
    tick = live.step(picture(1, {"Ada": (101, 30), "Bob": (200, 30)}))
    assert set(names(tick)) == {1}
    assert [s.track for s in tick.looks[0].sightings] == [1, None]


def test_small_faces_are_left_out():
    live = loop(options=LoopOptions(min_face=SIDE + 1))
    assert live.step(picture(0, {"Ada": (90, 30)})).faces.faces == ()


# -- what others get


def test_a_look_tells_what_was_found_and_what_was_embedded():
    live = loop("Ada")
    [look] = live.step(picture(0, {"Ada": (20, 30)})).looks
    [sighting] = look.sightings
    assert look.picture.index == 0
    assert sighting.track == 1
    assert sighting.crop.shape == (32, 32, 3)
    assert sighting.embedding.shape == (64,)
    assert sighting.sharpness > 0
    assert 0 < sighting.quality <= 1
    [sighting] = live.step(picture(1, {"Ada": (20, 30)})).looks[0].sightings
    assert sighting.crop is None
    assert sighting.embedding is None
    assert live.embeddings(1).shape == (1, 64)
    assert live.embeddings(99).shape == (0, 64)


def test_a_watched_track_is_embedded_at_every_look():
    live = loop("Ada")
    live.step(picture(0, {"Ada": (20, 30), "Bob": (120, 30)}))
    live.watch(1, seconds=0.5)
    made = []
    for i in range(1, 30):
        [look] = live.step(picture(i, {"Ada": (20, 30), "Bob": (120, 30)})).looks
        made.append(next(s.embedding is not None for s in look.sightings if s.track == 1))
    assert all(made[:13])
    assert sum(made[16:]) <= 2, "and then no more"


def test_notes_are_shown_as_they_are_assigned():
    live = loop()
    note = Note("learning", 1, 0.5)
    live.notes = (note,)
    assert live.step(picture(0, {})).notes == (note,)


def test_commands_of_other_threads_run_in_the_loops_thread():
    live = loop("Ada")
    futures = []

    def other() -> None:
        futures.append(live.call_soon(lambda: (threading.current_thread(), live.embeddings(1))))
        futures.append(live.call_soon(lambda: 1 // 0))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert not futures[0].done()
    live.step(picture(0, {}))
    assert futures[0].result(0)[0] is threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        futures[1].result(0)


def test_a_cancelled_command_is_not_run():
    live, ran = loop(), []
    live.call_soon(lambda: ran.append(1)).cancel()
    live.step(picture(0, {}))
    assert ran == []


# -- running


def test_running_goes_through_the_source_to_its_end():
    frames = [picture(i, {"Ada": (20, 30)}) for i in range(5)]
    ticks = list(loop("Ada").run(Frames(frames)))
    assert [tick.faces.index for tick in ticks] == list(range(5))
    assert all(tick.fresh and tick.status is None for tick in ticks)
    assert ticks[-1].stats.dropped == 3


def test_without_frames_the_last_picture_stays_with_what_is_wrong():
    frames = [None, picture(0, {"Ada": (20, 30)}), None, None]
    ticks = list(loop("Ada").run(Frames(frames, "camera 0 is gone")))
    assert [tick.fresh for tick in ticks] == [True, False, False]
    assert ticks[-1].status == "camera 0 is gone"
    assert ticks[-1].faces == ticks[0].faces


def test_running_can_be_ended_even_before_the_first_frame():
    def forever():
        while True:
            yield None

    asked = iter([False, False, True])
    assert list(loop().run(Frames(forever()), lambda: next(asked))) == []


def test_an_error_of_the_worker_reaches_the_caller():
    class Broken(FakeDetector):
        def detect(self, image):
            raise RuntimeError("out of memory")

    frames = (picture(i, {}) for i in range(2000) if time.sleep(0.001) is None)
    with (
        loop(worker=Background(), detector=Broken()) as live,
        pytest.raises(RuntimeError, match="out of memory"),
    ):
        list(live.run(Frames(frames)))


def test_with_a_thread_beside_it_everything_is_found_as_well():
    with loop("Ada", worker=Background()) as live:
        end = time.monotonic() + 60
        i, looks = 0, []
        while time.monotonic() < end:
            tick = live.step(picture(i, {"Ada": (20, 30)}))
            looks += tick.looks
            if names(tick) == {1: "Ada"}:
                break
            i += 1
            time.sleep(0.01)
        assert names(tick) == {1: "Ada"}
        assert looks[0].picture.index < i or i == 0


def test_photos_have_nothing_to_do_with_one_another():
    live = loop("Ada", "Bob", options=LoopOptions(follow=False))
    first = live.step(picture(0, {"Ada": (20, 30), "X": (120, 30)}))
    second = live.step(picture(1, {"Bob": (20, 30)}))
    third = live.step(picture(2, {}))
    assert [(f.track, f.match.name) for f in first.faces.faces] == [(None, "Ada"), (None, None)]
    assert [(f.track, f.match.name) for f in second.faces.faces] == [(None, "Bob")]
    assert third.faces.faces == ()


@pytest.mark.slow
def test_what_is_kept_does_not_grow():
    live = loop("Ada")
    for i in range(0, 30 * 120, 15):  # a new face every two seconds
        live.step(picture(i, {f"P{i // 60}": (20 + 60 * (i // 60 % 4), 30)}))
    assert len(live._following.namer._memories) <= 3
    assert len(live._following.tracker.tracks) <= 3


@pytest.mark.parametrize("values", [{"every": 0}, {"min_face": 0}])
def test_options_that_cannot_work(values):
    with pytest.raises(ValueError, match="at least 1"):
        LoopOptions(**values)


# -- errors


class Broken(FakeDetector):
    """Fails at some calls."""

    def __init__(self, fails) -> None:
        super().__init__()
        self.fails = fails

    def detect(self, image):
        if self.fails(self.calls):
            self.calls += 1
            raise RuntimeError("out of memory")
        return super().detect(image)


@pytest.mark.parametrize("where", ["detector", "embedder", "recognizer", "anything else"])
def test_an_error_in_one_frame_costs_that_frame_only(where, caplog):
    live = loop("Ada", detector=Broken(lambda call: where == "detector" and call == 3))
    if where == "embedder":
        embed, calls = live.embedder.embed, []

        def fail_once(faces):
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("out of memory")
            return embed(faces)

        live.embedder.embed = fail_once
    if where == "recognizer":
        known = live.recognizer

        class Once:
            version, asked = 1, 0

            def identify(self, embeddings):
                self.asked += 1
                if self.asked == 2:
                    raise RuntimeError("out of memory")
                return known.identify(embeddings)

        live.recognizer = Once()
    frames = [picture(i, {"Ada": (20, 30)}) for i in range(40)]
    if where == "anything else":
        live._meter.look = _fails_at(3, live._meter.look)
    ticks = list(live.run(Frames(frames)))
    assert [tick.faces.index for tick in ticks] == list(range(40)), "no frame is lost"
    assert names(ticks[-1]) == {1: "Ada"}
    assert live.failures == 1
    assert "out of memory" in caplog.text
    assert "(frame " in caplog.text


def _fails_at(number, function):
    calls = []

    def wrapped(*args):
        calls.append(1)
        if len(calls) == number:
            raise RuntimeError("out of memory")
        return function(*args)

    return wrapped


def test_it_is_given_up_after_many_errors_in_a_row():
    detector = Broken(lambda call: call > 10)
    live = loop("Ada", detector=detector)
    frames = Frames(picture(i, {"Ada": (20, 30)}) for i in range(500))
    with pytest.raises(GaveUp, match=f"{MANY} times in a row.*out of memory"):
        list(live.run(frames))
    assert live.failures == MANY
    assert detector.calls == 11 + MANY


def test_a_photo_that_fails_does_not_show_the_faces_of_the_one_before():
    live = loop("Ada", options=LoopOptions(follow=False), detector=Broken(lambda call: call == 1))
    frames = [picture(i, {"Ada": (20, 30)}) for i in range(3)]
    assert [len(t.faces.faces) for t in live.run(Frames(frames))] == [1, 0, 1]
