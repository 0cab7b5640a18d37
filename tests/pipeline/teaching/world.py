"""A made world in which faces are clicked, taught and corrected."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.live.loop import Loop
from pipeline.sinks.window import face_at
from pipeline.teaching.gathering import TeachOptions
from pipeline.teaching.session import LiveTeaching
from pipeline.types import Face, Picture, Tick
from recognizer.gallery import Gallery, Head
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store
from recognizer.training.fit import fit_head
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, know, scene

ADA, BOB = (20, 30), (120, 60)
BOTH = {"Ada": ADA, "Bob": BOB}


def fit_here(gallery: Gallery, start: Head | None, stop: Callable[[], bool], *_: object) -> Head:
    """With strangers of this made world."""
    names = [f"stranger {i}" for i in range(60)]
    strangers = know(CountingEmbedder(), *names).gallery.embeddings
    return fit_head(gallery, strangers, start=start, stop=stop)


class World:
    """A loop over made pictures, and a store in a folder."""

    def __init__(
        self, path: Path, fit: Callable[..., Head] = fit_here, bar: float = 0.85
    ) -> None:  # fmt: skip
        self.embedder = CountingEmbedder()
        self.store = Store.open(path, self.embedder.fingerprint, 64, Thresholds(0.7, bar))
        nobody = Snapshot(Gallery.empty(self.embedder.fingerprint, 64))
        self.loop = Loop(FakeDetector(), self.embedder, nobody)
        self.live = LiveTeaching(
            self.loop, self.store, self.embedder, TeachOptions(wanted=8, repeats=50), fit
        )
        self.rng = np.random.default_rng(0)
        self.count = 0

    def step(self, places: dict[str, tuple[int, int]] = BOTH, frames: int = 1) -> Tick:
        """Some frames, each a little different."""
        for _ in range(frames):
            image = scene(places)
            light = np.kron(self.rng.integers(-25, 26, (60, 80, 3)), np.ones((4, 4, 1), int))
            bright = np.clip(image.astype(int) + light, 101, 255)
            image = np.where(image > 100, bright, image).astype(np.uint8)
            # Ten a second: the face is looked at again on every frame of a teaching.
            tick = self.loop.step(Picture(self.count, self.count / 8, image, 0.0))
            self.count += 1
            self.live.show(tick)
        self.tick = tick
        return tick

    def face_at(self, x: int, y: int) -> Face | None:
        return face_at(self.tick, x, y)

    def track(self, place: tuple[int, int]) -> int:
        face = self.face_at(place[0] + 10, place[1] + 10)
        assert face is not None
        assert face.track is not None
        return face.track

    def names(self, tick: Tick) -> set[str | None]:
        return {face.match.name for face in tick.faces.faces}

    def teach(self, place: tuple[int, int], name: str) -> None:
        """All of it, until the new head is in use."""
        self.live.teach(self.track(place), name)
        self.gather()
        self.wait("swapped")

    def gather(self) -> None:
        for _ in range(100):
            self.step()
            if self.live.teaching.phase != "gathering":
                return
        raise AssertionError(self.live.teaching)

    def wait(self, phase: str) -> None:
        end = time.monotonic() + 60
        while self.live.teaching.phase != phase or self.live.head().phase == "training":
            assert time.monotonic() < end, (self.live.teaching, self.live.head())
            time.sleep(0.01)

    def stored(self) -> dict[str, int]:
        return {person.name: person.samples for person in self.store.people()}

    def close(self) -> None:
        self.live.close()
        self.store.close()


class Gate:
    """A fit that waits until it may go on, and counts."""

    def __init__(self) -> None:
        self.open, self.begun = threading.Event(), 0
        self.people: list[tuple[str, ...]] = []

    def __call__(
        self, gallery: Gallery, start: Head | None, stop: Callable[[], bool], *_: object
    ) -> Head:
        self.begun += 1
        self.people.append(gallery.people)
        while not self.open.wait(0.01):
            if stop():
                return fit_here(gallery, start, stop)  # raises Stopped
        return fit_here(gallery, start, stop)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
