"""A name belongs to a face, not to a place: cuts, gaps, swaps, fades, slides, slow machines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detector.types import Detections
from pipeline.live.loop import Loop, LoopOptions
from pipeline.live.worker import Worker
from pipeline.report.files import table
from pipeline.report.presence import ReportMaker
from pipeline.sinks.events import Presences
from pipeline.sources.captures import HOLD
from pipeline.sources.live import LiveSource
from pipeline.types import Picture, Tick
from tests.pipeline.live_fakes import (
    SIDE,
    Clocked,
    CountingEmbedder,
    FakeDetector,
    Later,
    face,
    know,
    scene,
)

Places = dict[str, tuple[int, int]]
HERE = (100, 80)


def room(number: int) -> np.ndarray:
    """A dark background of its own, (240, 320, 3)."""
    random = np.random.default_rng(number)
    return np.kron(random.integers(0, 99, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)


def shown(places: Places, background: np.ndarray | None = None) -> np.ndarray:
    image = scene(places)
    if background is not None:
        dark = (image <= 100).any(axis=2)
        image[dark] = background[dark]
    return image


Frame = tuple[np.ndarray, Places]


def shots(*who: str | None, seconds: float = 1.0, fps: float = 10, cut: bool = True) -> list[Frame]:
    """One after the other at the same place; with ``cut`` each in a room of their own."""
    frames: list[Frame] = []
    for i, name in enumerate(who):
        places = {name: HERE} if name else {}
        frames += [(shown(places, room(i if cut else 0)), places)] * round(seconds * fps)
    return frames


def played(
    frames: Sequence[Frame], fps: float = 10, every: int = 1, worker: Worker | None = None
) -> list[Tick]:
    embedder = CountingEmbedder()
    loop = Loop(
        FakeDetector(), embedder, know(embedder, "Ada", "Bob", "Cleo"), LoopOptions(every), worker
    )
    return [loop.step(Picture(i, i / fps, image, 0.0)) for i, (image, _) in enumerate(frames)]


def judged(ticks: Sequence[Tick], frames: Sequence[Frame], fps: float) -> tuple[float, float]:
    """The share of frames whose names are right, and the longest time with a wrong one."""
    right = longest = row = 0
    for tick, (_, places) in zip(ticks, frames, strict=True):
        wrong, found = False, set()
        for seen in tick.faces.faces:
            near = min(places, key=lambda n: abs(places[n][0] - seen.box[0]), default=None)
            wrong |= seen.match.name not in (None, near)
            found.add(seen.match.name)
        right += not wrong and found == set(places)
        row = row + 1 if wrong else 0
        longest = max(longest, row)
    return right / len(frames), longest / fps


RATES = [(10, 1), (24, 2), (30, 3), (60, 6), (30, 15), (2, 1)]


@pytest.mark.parametrize(("fps", "every"), RATES)
@pytest.mark.parametrize("cut", [True, False], ids=["cuts", "one room"])
def test_people_who_follow_one_another_at_one_place(fps, every, cut):
    frames = shots("Ada", "Bob", "Cleo", "Ada", "Bob", seconds=2, fps=fps, cut=cut)
    share, longest = judged(played(frames, fps, every), frames, fps)
    assert share >= 0.95
    assert longest <= 0.2


@pytest.mark.parametrize(("fps", "every"), RATES[:4])
@pytest.mark.parametrize("cut", [True, False], ids=["cuts", "one room"])
def test_half_a_second_without_a_face(fps, every, cut):
    frames: list[Frame] = []
    for i, name in enumerate(("Ada", "Bob", "Cleo")):
        frames += shots(name, fps=fps, seconds=2, cut=cut)
        if i < 2:
            frames += shots(None, fps=fps, seconds=0.5, cut=cut)
    share, longest = judged(played(frames, fps, every), frames, fps)
    assert share >= 0.95
    assert longest <= 0.2


@pytest.mark.parametrize(("fps", "every"), [(10, 1), (30, 3), (30, 15)])
def test_two_people_who_change_places_between_two_looks(fps, every):
    frames: list[Frame] = []
    for i in range(4):
        places = (
            {"Ada": (40, 80), "Bob": (220, 80)} if i % 2 else {"Ada": (220, 80), "Bob": (40, 80)}
        )
        frames += [(shown(places), places)] * (2 * fps)
    share, longest = judged(played(frames, fps, every), frames, fps)
    assert share >= 0.95
    assert longest <= 0.2


def test_slides_each_of_somebody_else():
    frames = shots(*["Ada", "Bob", "Cleo", "X"] * 5, seconds=1, fps=1)
    ticks = played(frames, fps=1)
    for tick, (_, places) in zip(ticks, frames, strict=True):
        [name] = [seen.match.name for seen in tick.faces.faces]
        assert name == next(iter(places)) or (name is None and "X" in places)


def test_a_stranger_does_not_inherit_a_name():
    frames = shots("Ada", "X", "Ada", "Y", cut=False)
    ticks = played(frames)
    for tick, (_, places) in zip(ticks, frames, strict=True):
        [name] = [seen.match.name for seen in tick.faces.faces]
        assert name == ("Ada" if "Ada" in places else None)
    numbers = {next(iter(f[1])): t.faces.faces[0].track for t, f in zip(ticks, frames, strict=True)}
    assert len(set(numbers.values())) == 3, "and no track is two people"


def test_a_cross_fade():
    frames: list[Frame] = []
    one, two = (shown({n: HERE}, room(i)) for i, n in enumerate(("Ada", "Bob")))
    frames += [(one, {"Ada": HERE})] * 30
    for share in np.linspace(0, 1, 17)[1:-1]:
        mixed = (one * (1 - share) + two * share).astype(np.uint8)
        frames.append((mixed, {"Ada": HERE} if share < 0.5 else {"Bob": HERE}))
    frames += [(two, {"Bob": HERE})] * 30
    ticks = played(frames, 30, 3)
    _, longest = judged(ticks, frames, 30)
    assert longest <= 0.3
    assert [f.match.name for f in ticks[-15].faces.faces] == ["Bob"]


@pytest.mark.parametrize("delay", [1, 3, 8])
@pytest.mark.parametrize("cut", [True, False], ids=["cuts", "one room"])
def test_a_slow_machine_says_nothing_rather_than_the_wrong_name(delay, cut):
    """A worker whose detections come late: until one has come, nobody has a name."""
    frames = shots("Ada", "Bob", "Cleo", "Ada", seconds=2, fps=30, cut=cut)
    _, longest = judged(played(frames, 30, 1, Later(delay)), frames, 30)
    assert longest == 0


def test_a_camera_switch_with_another_size():
    small = shown({"Bob": HERE})[:200, :300]
    frames = [(shown({"Ada": HERE}), {"Ada": HERE})] * 10 + [(small, {"Bob": HERE})] * 10
    assert judged(played(frames), frames, 10) == (1.0, 0.0)


def test_a_face_lost_for_a_moment_keeps_its_number_when_it_is_the_same():
    frames = shots("Ada", seconds=1) + shots(None, seconds=0.3) + shots("Ada", seconds=1)
    ticks = played(frames)
    assert {f.track for tick in ticks for f in tick.faces.faces} == {1}
    assert judged(ticks, frames, 10) == (1.0, 0.0)


def test_a_group_photo_is_named_as_a_whole_at_once():
    places = {f"P{i}": (8 + 78 * (i % 4), 8 + 58 * (i // 4)) for i in range(14)}
    ticks = played([(shown(places), places)] * 2)
    assert all(seen.agreement is not None for seen in ticks[0].faces.faces)
    assert len(ticks[0].faces.faces) == 14


def test_report_and_events_tell_the_same():
    frames = shots("Ada", "Bob", "Ada", seconds=2)
    maker, presences, events = ReportMaker(0.1), Presences(arrive=0.5, leave=0.5), []
    for tick in played(frames):
        maker.show(tick)
        events += presences.take(tick.faces.faces, tick.picture.time)
    people = {person.name: person for person in maker.report().people}
    assert people["Ada"].intervals == (pytest.approx((0, 2)), pytest.approx((4, 6)))
    assert people["Bob"].intervals == (pytest.approx((2, 4)),)
    assert [(e.name, round(e.time, 1)) for e in events if e.kind == "seen"] == [
        ("Ada", 0.0), ("Bob", 2.0), ("Ada", 4.0),
    ]  # fmt: skip
    assert people["Ada"].agreement == 1.0
    assert people["Ada"].looks >= 4


def test_votes_that_contradict_each_other_are_never_sure():
    """A recognizer that says two names of one face, as of two who look alike."""
    from recognizer.types import Match

    class Torn:
        version, count, same = 1, 0, -1.0

        def identify(self, embeddings):
            given = []
            for _ in embeddings:
                self.count += 1
                name = "Bob" if self.count % 3 == 0 else "Ada"
                given.append(Match(name, 0.8, None, "gallery", name))
            return given

    loop = Loop(FakeDetector(), CountingEmbedder(), Torn())
    maker = ReportMaker(0.1)
    for i, (image, _) in enumerate(shots("Ada", seconds=12)):
        maker.show(loop.step(Picture(i, i / 10, image, 0.0)))
    report = maker.report()
    [ada] = [person for person in report.people if person.name == "Ada"]
    assert ada.looks >= 6
    assert 0.4 < ada.agreement < 0.9
    assert "100%" not in table(report)


def test_a_film_played_live(tmp_path):
    """Behind a real source and a thread: no wrong name after a gap."""
    from pipeline.live.worker import Background

    frames = shots("Ada", seconds=1, fps=15) + shots(None, seconds=0.5, fps=15)
    frames += shots("Bob", seconds=1, fps=15)

    class Film:
        fps = 15.0

        def __init__(self) -> None:
            self.i = 0

        def read(self):
            import time

            time.sleep(1 / 15)
            self.i += 1
            return frames[self.i - 1][0] if self.i <= len(frames) else None

        def close(self) -> None:
            pass

    embedder = CountingEmbedder()
    wrong, names = 0, []
    with (
        LiveSource(Film, "film", reopen=False) as source,
        Loop(FakeDetector(), embedder, know(embedder, "Ada", "Bob"), worker=Background()) as loop,
    ):
        for tick in loop.run(source):
            places = frames[tick.picture.index][1]
            for seen in tick.faces.faces:
                wrong += seen.match.name not in (None, *places)
                names.append(seen.match.name)
    assert {"Ada", "Bob"} <= set(names)
    assert wrong <= 1


def test_a_doubtful_look_before_a_swap_says_nothing_of_who_comes_then():
    """Ada is taken for Bob once; when Cleo stands there, that look is no vote for her."""
    from pipeline.live.naming import Namer

    embedder = CountingEmbedder()
    known = know(embedder, "Ada", "Bob", "Cleo")
    ada, bob, cleo = (known.gallery.of(name)[0] for name in ("Ada", "Bob", "Cleo"))
    namer = Namer()
    for time, vector in ((0.0, ada), (0.3, bob)):
        namer.learn(1, vector, 0.5, time, known)
        assert namer.names([1], known)[1][0].name == "Ada", "one look is no proof"
    namer.doubt(1, 0.6)
    assert namer.learn(1, cleo, 0.5, 0.6, known).other
    match, agreement = namer.names([1], known)[1]
    assert (match.name, agreement) == ("Cleo", 1.0)


def test_a_poor_look_at_a_face_that_changed_takes_the_name_away_until_a_better_one():
    from pipeline.live.changes import face_view
    from pipeline.live.naming import Namer
    from pipeline.types import Sighting

    embedder = CountingEmbedder()
    known = know(embedder, "Ada", "Bob")
    box = (*map(float, HERE), HERE[0] + float(SIDE), HERE[1] + float(SIDE))
    namer = Namer()

    def look(name: str, quality: float, time: float) -> str | None:
        view = face_view(shown({name: HERE}), box)
        sighting = Sighting(box, 0.9, 1, 0.5, quality)
        assert namer.choose([sighting], time, views=[view]) == [0]
        namer.learn(1, known.gallery.of(name)[0], quality, time, known)
        return namer.names([1], known)[1][0].name

    assert look("Ada", 0.9, 0.0) == "Ada"
    assert look("Bob", 0.3, 0.1) is None, "not Ada any more, and hardly seen"
    assert look("Bob", 0.9, 0.2) == "Bob"


def clocked(
    frames: Sequence[Frame], fps: float, seconds: float, wait: float
) -> tuple[list[Tick], float]:
    """As they come in real time, where a network takes ``seconds``; and how late at most."""
    embedder, worker = CountingEmbedder(), Clocked(seconds)
    known = know(embedder, "Ada", "Bob", "Cleo")
    loop = Loop(FakeDetector(), embedder, known, LoopOptions(), worker)
    ticks, late = [], 0.0
    for i, (image, _) in enumerate(frames):
        worker.now = max(worker.now, i / fps)
        ticks.append(loop.step(Picture(i, i / fps, image, i / fps, wait=wait)))
        late = max(late, worker.now - i / fps)
    return ticks, late


@pytest.mark.parametrize("fps", [4, 10, 30, 60])
def test_a_played_film_has_its_names_from_the_first_frame_after_a_cut(fps):
    seconds = 0.04
    frames = shots("Ada", None, "Bob", "Cleo", "X", "Ada", None, "Ada", seconds=0.5, fps=fps)
    ticks, late = clocked(frames, fps, seconds, HOLD)
    for tick, (_, places) in zip(ticks, frames, strict=True):
        names = [seen.match.name for seen in tick.faces]
        assert names == [None if name == "X" else name for name in places]
    assert late <= 4 * seconds + 1e-6 <= HOLD, "what is being looked at, and then this frame"


def test_a_camera_waits_for_nobody_and_a_film_not_for_long():
    frames = shots("Ada", "Bob", "Cleo", "Ada", fps=10)
    _, late = clocked(frames, 10, 0.09, 0.0)
    assert late == 0
    ticks, late = clocked(frames, 10, 0.7, HOLD)
    assert late == pytest.approx(HOLD)
    assert judged(ticks, frames, 10)[1] == 0


def test_the_made_faces_are_told_apart():
    assert face("Ada").shape == (SIDE, SIDE, 3)
    assert isinstance(FakeDetector().detect(shown({"Ada": HERE})), Detections)
