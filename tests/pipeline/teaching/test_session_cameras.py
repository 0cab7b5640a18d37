"""One session of teaching for several cameras."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from faces.errors import UserError
from pipeline.live.cameras import Cameras, Watched
from pipeline.live.loop import Loop, LoopOptions
from pipeline.teaching.gathering import TeachOptions
from pipeline.teaching.session import LiveTeaching
from pipeline.types import Picture, Tick
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from recognizer.store.people import Store
from tests.pipeline.live_fakes import CountingEmbedder, FakeDetector, scene
from tests.pipeline.teaching.world import ADA, fit_here

# -- several cameras


class TwoCameras:
    """Two loops with one teaching, fed in turns."""

    def __init__(self, path: Path) -> None:
        self.embedder = CountingEmbedder()
        self.store = Store.open(path, self.embedder.fingerprint, 64, Thresholds(0.7, 0.85))
        nobody, numbers = Snapshot(Gallery.empty(self.embedder.fingerprint, 64)), count(1)
        watched = [
            Watched(
                name, None,  # type: ignore[arg-type]  # fed by hand
                Loop(FakeDetector(), self.embedder, nobody, LoopOptions(camera=name),
                     numbers=numbers),
            )
            for name in ("door", "garden")
        ]  # fmt: skip
        self.cameras = Cameras(watched, threading.Event())
        self.live = LiveTeaching(
            self.cameras, self.store, self.embedder, TeachOptions(wanted=4, repeats=50), fit_here
        )
        self.frame, self.rng = 0, np.random.default_rng(0)

    def step(self, frames: int = 1) -> dict[str, Tick]:
        """Bob is at the door and in the garden Ada, at the same place."""
        ticks = {}
        for _ in range(frames):
            for camera, who in zip(self.cameras.cameras, ("Bob", "Ada"), strict=True):
                image = scene({who: ADA})
                light = np.kron(self.rng.integers(-25, 26, (60, 80, 3)), np.ones((4, 4, 1), int))
                bright = np.clip(image.astype(int) + light, 101, 255)
                image = np.where(image > 100, bright, image).astype(np.uint8)
                tick = camera.loop.step(Picture(self.frame, self.frame / 8, image, 0.0))
                ticks[camera.name] = tick
                self.live.show(tick)
            self.frame += 1
        return ticks


def test_a_face_of_any_camera_is_taught_and_known_on_all(tmp_path):
    world = TwoCameras(tmp_path / "people.db")
    with world.store, world.live:
        ticks = world.step(3)
        [bob], [ada] = (ticks[name].faces.faces for name in ("door", "garden"))
        assert (bob.track, ada.track) == (1, 2)
        chosen = world.live.choose(ada.track)
        assert chosen.camera == "garden"
        world.live.teach(ada.track, "Ada", chosen=chosen)
        ticks = world.step()
        assert [tick.faces.faces[0].name for tick in ticks.values()] == [None, "Ada"]
        for _ in range(8):
            world.step()
        teaching = world.live.teaching
        assert (teaching.gathered, teaching.phase) != (1, "gathering"), "the door does not disturb"
        assert len(world.store.samples("Ada")) >= 1
        notes = world.cameras.notes
        assert notes
        assert {note.track for note in notes} == {ada.track}
        with pytest.raises(UserError, match="not in the picture any more"):
            world.live.choose(99)


def test_forgetting_drops_the_face_on_every_camera(tmp_path):
    world = TwoCameras(tmp_path / "people.db")
    with world.store, world.live:
        ticks = world.step(3)
        world.live.teach(ticks["garden"].faces.faces[0].track, "Ada")
        world.step(2)
        world.live.forget("Ada")
        ticks = world.step(2)
        assert [tick.faces.faces[0].name for tick in ticks.values()] == [None, None]
