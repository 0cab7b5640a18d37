"""Several cameras with one detector: turns, batches, and nobody who waits for another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.types import Detections
from pipeline.live.cameras import MOST_TICKS, SLOW_TICKS, Cameras, SharedNetworks, Watched
from pipeline.live.loop import Loop, LoopOptions
from pipeline.sinks.window import Tiles, Window
from pipeline.types import Picture, Tick
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, Later, know, scene

ADA, BOB = (20, 30), (120, 60)


class Clock:
    """A `time.monotonic` that goes on by a hundredth of a second with every question."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


class Source:
    """A live source: a frame is there whenever ``fps`` says so by the clock.

    ``fps`` may be 0 (it stalls). At ``dies`` seconds its reading raises, at ``ends`` it is over.
    """

    film, fps_announced, mirrored, dropped = None, 30.0, False, 0

    def __init__(
        self, clock: Clock, fps: float, dies: float = 1e9, ends: float = 1e9,
        places: dict[str, tuple[int, int]] | None = None,
    ) -> None:  # fmt: skip
        self.clock, self.rate, self.dies, self.ends = clock, fps, dies, ends
        self.image = scene({"Ada": ADA} if places is None else places)
        self.taken, self.closed, self.stopped = -1, False, False

    @property
    def newest(self) -> int:
        return int(self.clock.now * self.rate) if self.rate else -1

    @property
    def ready(self) -> bool:
        return self.newest > self.taken or self.clock.now > self.dies or self.ended

    @property
    def ended(self) -> bool:
        return self.clock.now > self.ends

    @property
    def status(self) -> str | None:
        return None if self.rate else "no picture for 9 s"

    def read(self, timeout: float) -> Picture | None:
        assert timeout == 0.0, "nobody waits for one camera"
        if self.clock.now > self.dies:
            raise RuntimeError("the driver is broken")
        if self.ended or self.newest <= self.taken:
            return None
        self.taken = self.newest
        return Picture(self.taken, self.clock.now, self.image, self.clock.now)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("pipeline.live.cameras.time", SimpleNamespace(monotonic=clock))
    return clock


def cameras(clock: Clock, **sources: Source) -> Cameras:
    embedder, numbers, news = CountingEmbedder(), count(1), threading.Event()
    news.wait = lambda timeout: True  # type: ignore[method-assign,assignment]  # no real time
    watched = [
        Watched(
            name, source,  # type: ignore[arg-type]
            Loop(FakeDetector(), embedder, know(embedder, "Ada"), LoopOptions(camera=name),
                 numbers=numbers),
        )
        for name, source in sources.items()
    ]  # fmt: skip
    return Cameras(watched, news)


def ticks(several: Cameras, clock: Clock, seconds: float) -> Iterator[Tick]:
    yield from several.run(lambda: clock.now > seconds)


@pytest.mark.slow
def test_no_camera_slows_another(clock, caplog):
    """One stalls, one floods, one breaks down: the fourth has what it has alone."""
    several = cameras(
        clock, good=Source(clock, 20), stalls=Source(clock, 0), floods=Source(clock, 1000),
        dies=Source(clock, 20, dies=2.0),
    )  # fmt: skip
    fresh = Counter[str]()
    for tick in ticks(several, clock, 10.0):
        fresh[tick.camera] += tick.fresh
    assert fresh["good"] >= 190, "of 200"
    assert 0 < fresh["floods"] <= 10 * MOST_TICKS + 1
    assert 30 <= fresh["dies"] <= 41
    assert "stalls" not in fresh, "it never had a picture"
    [_, stalls, _, dies] = several.cameras
    assert stalls.status == "no picture for 9 s"
    assert dies.status == "dies was given up: RuntimeError", "no text that may hold an address"
    assert several.failures == (dies.failure,)
    assert dies.source.stopped
    assert "the other cameras go on" in caplog.text


@pytest.mark.slow
def test_pictures_give_way_while_a_look_takes_long(clock):
    embedder = CountingEmbedder()
    never, often = Later(10**9), Later(0)
    watched = [
        Watched(name, Source(clock, 30), Loop(FakeDetector(), embedder, know(embedder),
                LoopOptions(camera=name), worker))  # type: ignore[arg-type]
        for name, worker in (("slow", never), ("quick", often))
    ]  # fmt: skip
    news = threading.Event()
    news.wait = lambda timeout: True  # type: ignore[method-assign,assignment]
    fresh = Counter[str]()
    for tick in ticks(Cameras(watched, news), clock, 5.0):
        fresh[tick.camera] += tick.fresh
    assert fresh["slow"] <= 5 * SLOW_TICKS + 12
    assert fresh["quick"] >= 140


def test_it_ends_when_all_have_ended_and_lets_go_of_them(clock):
    with cameras(clock, a=Source(clock, 20, ends=1.0), b=Source(clock, 20, ends=3.0)) as several:
        names = [tick.camera for tick in ticks(several, clock, 100.0)]
    assert clock.now < 4
    assert 0 < names.count("a") < names.count("b")
    assert all(camera.source.closed for camera in several.cameras)
    assert several.cameras[0].status == "a has ended"


def test_no_two_cameras_have_a_track_of_the_same_number(clock):
    several = cameras(
        clock, a=Source(clock, 20), b=Source(clock, 20, places={"Ada": ADA, "Bob": BOB})
    )
    tracks: dict[str | None, set[int | None]] = {}
    for tick in ticks(several, clock, 2.0):
        tracks.setdefault(tick.camera, set()).update(face.track for face in tick.faces)
        assert tick.faces.to_json()["camera"] == tick.camera
    assert tracks["a"].isdisjoint(tracks["b"])
    assert tracks["a"] | tracks["b"] == {1, 2, 3}


def test_what_is_assigned_holds_for_all(clock):
    several = cameras(clock, a=Source(clock, 20), b=Source(clock, 20))
    several.recognizer = know(several.cameras[0].loop.embedder, "Bob", version=7)
    done = several.call_soon(lambda: "done")
    list(ticks(several, clock, 1.0))
    assert {camera.last.faces.version for camera in several.cameras} == {7}
    assert done.result(0) == "done"


# -- networks


class Gate(FakeDetector):
    """Notes its batches; each waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.batches.append([int(image[0, 0, 0]) for image in images])
        self.begun.release()
        assert self.go.acquire(timeout=30)
        if any(image[0, 0, 0] == 99 for image in images):
            raise RuntimeError("this picture breaks the network")
        return super().detect_batch(images)


def ask(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    got: list[Any] = []

    def work() -> None:
        try:
            got.append(call())
        except RuntimeError as error:
            got.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, got


def plain(value: int) -> np.ndarray:
    return np.full((40, 40, 3), value, np.uint8)


def test_what_waits_is_one_batch_of_all_cameras_and_one_bad_picture_spoils_itself_only():
    gate = Gate()
    with SharedNetworks(gate, CountingEmbedder()) as networks:
        first = ask(lambda: networks.detector("a").detect(plain(1)))
        assert gate.begun.acquire(timeout=30)
        asked = []
        for name, value in (("b", 2), ("c", 99), ("d", 4)):
            asked.append(ask(lambda n=name, v=value: networks.detector(n).detect(plain(v))))
            while networks._workers.pending < 1 + len(asked):
                asked[-1][0].join(0.001)
        for _ in range(5):  # the first, the three, and each of them alone
            gate.go.release()
        for thread, _ in (first, *asked):
            thread.join(30)
    assert gate.batches == [[1], [2, 99, 4], [2], [99], [4]]
    assert [type(got[0]) for _, got in asked] == [Detections, RuntimeError, Detections]


def test_faces_of_several_cameras_are_embedded_together():
    embedder = CountingEmbedder()
    with SharedNetworks(FakeDetector(), embedder) as networks:
        shared = networks.embedder("a")
        assert (shared.fingerprint, shared.dimension) == (embedder.fingerprint, embedder.dimension)
        image = scene({"Ada": ADA, "Bob": BOB})
        boxes = np.array([[20, 30, 60, 70], [120, 60, 160, 100]], np.float32)
        crops = shared.crop(image, boxes)
        apart = [embedder.embed(crops), embedder.embed(crops[:1])]
        together = networks._embed_all([crops, crops[:1]])
        assert embedder.batches == [2, 1, 3]
        for one, other in zip(apart, together, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        np.testing.assert_allclose(shared.embed(crops), apart[0], atol=1e-6)


# -- tiles


def test_a_click_on_a_tile_is_a_point_of_its_picture(clock, monkeypatch):
    several = cameras(
        clock, a=Source(clock, 20), b=Source(clock, 20, places={"Bob": BOB}), c=Source(clock, 0)
    )
    list(ticks(several, clock, 1.0))
    tiles = Tiles(several.cameras)
    picture = tiles.draw()
    assert picture.shape == (720, 1280, 3)
    # Pictures of 320x240 are not enlarged: each is in the middle of its tile of 640x360.
    x, y = 640 + 160 + BOB[0] + 5, 60 + BOB[1] + 5
    tick, place = tiles.at(x, y)
    assert (tick.camera, place) == ("b", (BOB[0] + 5, BOB[1] + 5))
    assert picture[y, x].min() > 100, "it is drawn there"
    assert tiles.at(645, 5) is None, "beside its picture"
    assert tiles.at(100, 500) is None, "a camera without a picture"
    assert tiles.at(1000, 600) is None, "no camera"
    assert picture[360:720, :640].max() > 100, "the one that stalls says why"
    assert tiles.draw() is not picture
    assert tiles._drawn["a"][1] is tiles._tile(several.cameras[0]), "drawn once"

    monkeypatch.setattr("cv2.namedWindow", lambda *_: None)
    monkeypatch.setattr("cv2.setMouseCallback", lambda *_: None)
    clicked: list[Any] = []
    window = Window({}, lambda tick, face: clicked.append((tick.camera, face)), tiles=tiles)
    window._tick = several.cameras[0].last
    window._mouse(1, x, y, 0, None)
    [(camera, face)] = clicked
    assert camera == "b"
    assert face.box[0] == pytest.approx(BOB[0], abs=1)
