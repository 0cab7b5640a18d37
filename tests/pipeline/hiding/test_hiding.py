"""Whose faces are hidden in a film, and where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from detector.types import Detections
from faces.errors import UserError
from faces.video.film import VideoReader, VideoWriter
from pipeline.hiding.cover import Cover, write_hidden
from pipeline.hiding.hider import Hider, Whom
from pipeline.live.loop import Loop, LoopOptions
from pipeline.types import Face, FrameFaces, Look, Picture, Sighting, Tick
from recognizer.types import Match
from tests.pipeline.live_fakes import SIDE, CountingEmbedder, FakeDetector, know, picture, scene

ADA, BOB = (40, 60), (200, 60)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def hides(cover: Cover, index: int, place: tuple[int, int], fps: float = 30.0) -> bool:
    """Whether most of a face at this place is hidden on a frame."""
    hidden = cover.on(index, index / fps)
    if hidden is None:
        return True
    x, y = place[0] + SIDE / 2, place[1] + SIDE / 2
    return any(x1 < x < x2 and y1 < y < y2 for x1, y1, x2, y2 in hidden.tolist())


def look_at(
    frames: list[Mapping[str, tuple[int, int]]], whom: Whom, *names: str, detector=None
) -> Cover:
    """The first pass over a film in which these people stand at these places."""
    embedder = CountingEmbedder()
    snapshot = know(embedder, *names)
    hider = Hider(whom, snapshot.thresholds.gallery)
    overheard = hider.listen(detector or FakeDetector())
    with Loop(overheard, embedder, snapshot, hider.settings(LoopOptions())) as loop:
        hider.failures = lambda: loop.failures
        for i, places in enumerate(frames):
            hider.show(loop._step_or_skip(picture(i, places)))
    return hider.cover()


BOTH = [{"Ada": ADA, "Bob": BOB}] * 60


@pytest.mark.parametrize(
    ("hide", "show", "ada", "bob"),
    [
        (["unknown"], [], False, True),
        (["known"], [], True, False),
        (["Ada"], [], True, False),
        (["everyone"], [], True, True),
        (["everyone"], ["Ada"], False, True),
        (["Known", "unknown"], ["Ada"], False, True),
        (["known"], ["Ada"], False, False),
    ],
)
def test_whose_faces_are_hidden(hide, show, ada, bob):
    cover = look_at(BOTH, Whom.of(hide, show, ("Ada",)), "Ada")
    assert len(cover) == 60
    seen = {(hides(cover, i, ADA), hides(cover, i, BOB)) for i in range(50)}
    assert seen == {(ada, bob)}, "from the first frame on, without a flicker"


def test_one_of_several_known_people():
    cover = look_at(BOTH, Whom.of(["Bob"], [], ("Ada", "Bob")), "Ada", "Bob")
    assert [hides(cover, 30, place) for place in (ADA, BOB)] == [False, True]


@pytest.mark.parametrize(
    ("hide", "show", "message"),
    [
        (["Adda"], [], "nobody is called 'Adda' in the gallery; did you mean 'Ada'"),
        (["unknown"], ["Bob"], "nobody is called 'Bob'"),
        (["known"], [], "somebody is called 'Known'"),
        ([" "], [], "this one is empty"),
    ],
)
def test_a_name_that_nobody_has_hides_nobody_by_mistake(hide, show, message):
    with pytest.raises(UserError, match=message):
        Whom.of(hide, show, ("Ada", "Known"))


def test_a_face_without_a_name_that_may_be_somebody_is_hidden():
    whom = Whom(names=frozenset({"Ada"}))
    near = Match(None, 0.40, None, "none", "Ada")
    assert not whom.shows(near, 0.469)
    assert whom.shows(Match(None, 0.20, None, "none", "Ada"), 0.469)
    assert whom.shows(Match(None, 0.40, None, "none", "Bob"), 0.469), "Bob is not hidden"
    assert whom.shows(Match(None), 0.469), "nobody is known"
    assert not Whom(unknown=True).shows(Match(None, 0.1, None, "none", "Ada"), 0.469)


@pytest.mark.slow
def test_somebody_who_is_there_too_briefly_to_be_sure_is_hidden():
    frames = [{"Ada": ADA, "Bob": BOB}] * 60
    frames[20:] = [{"Bob": BOB}] * 40  # Ada for two thirds of a second: looked at at 0, 8 and 16
    cover = look_at(frames, Whom(unknown=True), "Ada", "Bob")
    assert not hides(cover, 10, ADA)
    frames[12:] = [{"Bob": BOB}] * 48  # for 0.4 s: looked at twice
    cover = look_at(frames, Whom(unknown=True), "Ada", "Bob")
    assert all(hides(cover, i, ADA) for i in range(12))
    assert not any(hides(cover, i, BOB) for i in range(50)), "no other is hidden by that"


class Misses(FakeDetector):
    """Finds nothing on some frames, and one face with a low score."""

    def __init__(self, missed: range, weak: float = 0.9) -> None:
        super().__init__(lambda x, y: weak if x > 150 else 0.9)
        self.missed = missed

    def detect(self, image: np.ndarray) -> Detections:
        found = super().detect(image)
        return found[:0] if self.calls - 1 in self.missed else found


def test_a_hidden_face_that_is_lost_for_a_moment_stays_hidden():
    frames = [{"Bob": (40 + i, 60)} for i in range(80)]
    cover = look_at(frames, Whom(unknown=True), detector=Misses(range(30, 51)))
    missing = [i for i in range(80) if not hides(cover, i, (40 + i, 60))]
    assert missing == [], "0.7 s are longer than it lingers: the boxes between are made"


def test_a_face_is_hidden_just_before_it_was_found_and_after():
    frames = [{"Bob": BOB}] * 60
    cover = look_at(frames, Whom(unknown=True), detector=Misses(range(7)))
    assert hides(cover, 0, BOB), "0.25 s before its first detection"
    detector = Misses(range(52, 60))
    cover = look_at(frames, Whom(unknown=True), detector=detector)
    assert hides(cover, 58, BOB)


def test_a_face_that_is_too_weak_or_small_to_be_followed_is_hidden():
    cover = look_at(BOTH, Whom(known=True), "Cleo", detector=Misses(range(0), weak=0.35))
    assert not hides(cover, 30, ADA), "a stranger who was looked at"
    assert hides(cover, 30, BOB), "nobody can say who that is"


def test_a_face_that_takes_the_place_of_a_known_one_is_hidden():
    """Cross-fades and people who pass: the last look that agreed is the last frame shown."""
    frames = [{"Ada": ADA}] * 40 + [{"Bob": ADA}] * 40
    cover = look_at(frames, Whom(unknown=True), "Ada")
    assert not hides(cover, 20, ADA)
    assert all(hides(cover, i, ADA) for i in range(40, 80))


@pytest.mark.parametrize(("place", "hidden"), [(ADA, True), (BOB, False)])
def test_frames_after_the_last_look_are_hidden_where_another_face_begins(place, hidden):
    """It was noticed at frame 20 that the face is another one; since when, nobody knows."""
    hider = Hider(Whom(unknown=True), 0.5)
    named, unknown = Match("Ada", 0.9, None, "gallery", "Ada"), Match(None)
    for i in range(40):
        track, (x, y), match = (1, ADA, named) if i < 20 else (2, place, unknown)
        box = (x, y, x + SIDE, y + SIDE)
        face = Face(box, 0.9, track, match, 1.0)
        frame = picture(i, {})
        seen = Sighting(box, 0.9, track, 100.0, 0.5, match=match)
        looks = (Look(frame, (seen,)),) if i % 8 == 0 else ()
        hider.show(Tick(frame, FrameFaces(i, i / 30, (240, 320), (face,), 1), looks))
    cover = hider.cover()
    assert not hides(cover, 16, ADA)
    assert [hides(cover, i, ADA) for i in (17, 19)] == [hidden] * 2
    assert hides(cover, 30, place)


class Breaks(FakeDetector):
    """Fails on one frame."""

    def detect(self, image: np.ndarray) -> Detections:
        if self.calls == 20:
            self.calls += 1
            raise RuntimeError("out of memory")
        return super().detect(image)


def test_a_frame_that_could_not_be_looked_at_is_hidden_as_a_whole():
    cover = look_at(BOTH, Whom(unknown=True), "Ada", detector=Breaks())
    assert cover.on(20, 20 / 30) is None
    assert cover.on(19, 19 / 30) is not None


def test_frames_that_got_lost_are_hidden_as_a_whole():
    hider = Hider(Whom(unknown=True), 0.5)
    with Loop(hider.listen(FakeDetector()), CountingEmbedder(), know(CountingEmbedder())) as loop:
        for i in (0, 1, 4):
            hider.show(loop.step(picture(i, {"Bob": BOB})))
    cover = hider.cover()
    assert [cover.on(i, i / 30) is None for i in range(5)] == [False, False, True, True, False]


# -- where, and writing


def test_boxes_linger_before_and_after():
    cover = Cover()
    one = boxes((1, 2, 30, 40))
    for i in range(9):
        cover.add(i / 10, one if i == 4 else boxes())
    assert [len(cover.on(i, i / 10)) for i in range(9)] == [0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_what_lingers_does_not_hide_a_face_that_is_shown_there_now():
    cover = Cover()
    cover.add(0.0, boxes((10, 10, 50, 50), (100, 10, 140, 50)))
    cover.add(0.1, boxes(), boxes((12, 10, 52, 50)))
    assert cover.on(1, 0.1).tolist() == [[100, 10, 140, 50]]
    cover.add(0.2, boxes((10, 10, 50, 50)), boxes((12, 10, 52, 50)))
    assert [10, 10, 50, 50] in cover.on(2, 0.2).tolist(), "what is hidden on this frame stays so"


def make_film(path: Path, count: int = 20, fps: float = 10.0) -> Path:
    with VideoWriter(path, fps) as writer:
        for i in range(count):
            writer.write(scene({"Ada": ADA, "Bob": BOB}) + np.uint8(i % 2))
    return path


def contrast(image: np.ndarray, place: tuple[int, int]) -> float:
    x, y = place
    return float(image[y + 5 : y + SIDE - 5, x + 5 : x + SIDE - 5].astype(float).std())


def test_the_film_is_written_without_these_faces_and_no_frame_more(tmp_path):
    film = make_film(tmp_path / "a.mp4")
    cover = Cover()
    for i in range(15):
        bob = boxes((BOB[0], BOB[1], BOB[0] + SIDE, BOB[1] + SIDE))
        cover.add(i / 10, None if i == 7 else bob)
    count = []
    write_hidden(film, tmp_path / "b.mp4", cover, lambda: count.append(1))
    with VideoReader(tmp_path / "b.mp4") as video:
        frames = [frame.image for frame in iter(video.read, None)]
    assert len(frames) == len(count) == 15, "what was not looked at is not written"
    assert all(contrast(frame, BOB) < 25 for frame in frames)
    assert [i for i, frame in enumerate(frames) if contrast(frame, ADA) < 40] == [7]


def test_another_film_under_the_same_name_is_noticed(tmp_path):
    film = make_film(tmp_path / "a.mp4")
    cover = Cover()
    for i in range(20):
        cover.add(i / 25, boxes())
    with pytest.raises(UserError, match="was changed while it was looked at"):
        write_hidden(film, tmp_path / "b.mp4", cover)
    assert list(tmp_path.iterdir()) == [film]


def test_the_picture_of_a_tick_may_be_anything():
    """A first frame without faces, and of another size."""
    hider = Hider(Whom(unknown=True), 0.5)
    with Loop(hider.listen(FakeDetector()), CountingEmbedder(), know(CountingEmbedder())) as loop:
        hider.show(loop.step(Picture(0, 0.0, np.zeros((40, 30, 3), np.uint8), 0.0)))
    assert hider.cover().on(0, 0.0).shape == (0, 4)
