"""Several cameras at once: a loop each, turned by one thread, and two networks for all.

    networks = SharedNetworks(detector, embedder)
    cameras = Cameras([Watched(name, source, Loop(networks.detector(name), ...)), ...], news)
    for tick in cameras.run():
        window.show(tick)               # tick.camera says whose it is

Nobody waits for anybody: each camera is read in a thread of its own, of which only the newest frame
counts; each loop has at most one frame with the networks, which take turns between cameras and do
what waits as one batch; and a round gives every camera at most one tick, of which one that floods
gets no more a second than others. One that breaks down for good is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from detector.inference.detect import batches_for
from detector.types import Detector
from faces.closing import Closing
from faces.errors import UserError
from pipeline.live.loop import PATIENCE, Loop
from pipeline.live.patience import GaveUp
from pipeline.live.tasks import OneByOne
from pipeline.service.runtime.batching import Call, Stage, Workers
from pipeline.sources.live import LiveSource
from pipeline.types import Note, Tick
from recognizer.types import Embedder, Recognizer

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_TICKS = 32.0
"""Of one camera a second; cameras that send more than 30 frames are shown so many."""

SLOW, SLOW_TICKS = 1 / 3, 8.0
"""Seconds that a look may take before the pictures of its camera come less often, so many a second:
on a machine that cannot do both, names are worth more than smooth pictures."""

CROPS = 8
"""Cameras whose faces are embedded together, at most."""


class SharedNetworks(Closing):
    """One detector and one embedder, which several loops may ask from their workers' threads.

    Args:
        detector, embedder: used by threads of this object only, a few at a time (see
            `detector.inference.detect.batches_for`).
    """

    def __init__(self, detector: Detector, embedder: Embedder) -> None:
        most, lanes = batches_for(detector, None)
        self._embedder = embedder
        self._detect = Stage("detect", detector.detect_batch, most)
        self._embed = Stage("embed", self._embed_all, CROPS)
        self._workers = Workers("faces-networks", [self._detect, self._embed], lanes)

    def detector(self, camera: str) -> Detector:
        """The detector, as it is for a camera."""
        call = Call(camera)
        return OneByOne(lambda image: self._workers.submit(self._detect, image, call).result())

    def embedder(self, camera: str) -> Embedder:
        """The embedder, as it is for a camera."""
        call = Call(camera)
        return _EmbedTurn(
            self._embedder, lambda crops: self._workers.submit(self._embed, crops, call).result()
        )

    def _embed_all(self, several: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        vectors = self._embedder.embed(np.concatenate(several))
        return np.split(vectors, np.cumsum([len(crops) for crops in several])[:-1])

    def close(self) -> None:
        """Do what was asked for, then end the threads."""
        self._workers.close()


class _EmbedTurn:
    """An `Embedder` whose network waits for its turn."""

    def __init__(self, embedder: Embedder, embed: Callable[[Any], NDArray[np.float32]]) -> None:
        self.fingerprint, self.size = embedder.fingerprint, embedder.size
        self.dimension, self.crop = embedder.dimension, embedder.crop
        self.embed = embed


@dataclass(eq=False)
class Watched:
    """A camera and its loop.

    Attributes:
        last: its newest tick; None before the first.
        over: it has ended, or was given up.
        failure: why it was given up.
    """

    name: str
    source: LiveSource
    loop: Loop
    last: Tick | None = None
    over: bool = False
    failure: str | None = None
    _due: float = 0.0
    _turned: float = 0.0
    _free: float = 0.0

    @property
    def status(self) -> str | None:
        """What is wrong just now, for people."""
        if self.over:
            return f"{self.name} has ended" if self.failure is None else self.failure
        return self.source.status

    def turn(self, now: float) -> Tick | None:
        """Its next tick, if it is time for one; never waits."""
        if (
            self.over
            or now < self._due
            or not (self.source.ready or now - self._turned >= PATIENCE)
        ):
            return None
        self._turned = now
        try:
            tick = self.loop.turn(self.source, 0.0)
        except Exception as error:
            # Others may tell more than a log should: the address, say.
            why = str(error) if isinstance(error, UserError | GaveUp) else type(error).__name__
            self.over, self.failure = True, f"{self.name} was given up: {why}"
            logger.error("%s; the other cameras go on", self.failure)
            self.source.stop()
            return None
        if tick is None:
            self.over = self.source.ended
        elif tick.fresh:
            if not self.loop.looking:
                self._free = now
            step = 1 / (MOST_TICKS if now - self._free <= SLOW else SLOW_TICKS)
            self._due = max(self._due, now - step) + step
        self.last = tick or self.last
        return tick


class Cameras(Closing):
    """Turns the loops of several cameras, and is to others what one loop is.

    Args:
        cameras: the tracks of their loops have numbers of one row, see `Loop`.
        news: set by the sources when there is something to read, see `pipeline.sources.live`.
    """

    def __init__(self, cameras: Sequence[Watched], news: threading.Event) -> None:
        self.cameras = tuple(cameras)
        self._news = news

    # -- for other threads, as in `Loop`

    @property
    def recognizer(self) -> Recognizer:
        """Who names faces, on all cameras; see `Loop.recognizer`."""
        return self.cameras[0].loop.recognizer

    @recognizer.setter
    def recognizer(self, recognizer: Recognizer) -> None:
        for camera in self.cameras:
            camera.loop.recognizer = recognizer

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is written on the pictures; those of a track on the one that has it."""
        return self.cameras[0].loop.notes

    @notes.setter
    def notes(self, notes: tuple[Note, ...]) -> None:
        for camera in self.cameras:
            camera.loop.notes = notes

    def call_soon(self, command: Callable[[], T]) -> Future[T]:
        """See `Loop.call_soon`: all loops belong to one thread."""
        living = [camera for camera in self.cameras if not camera.over]
        return (living or self.cameras)[0].loop.call_soon(command)

    # -- for the loops' own thread

    def watch(self, track: int, seconds: float) -> None:
        """See `Loop.watch`; no two loops have a track of the same number."""
        for camera in self.cameras:
            camera.loop.watch(track, seconds)

    def forget(self, track: int) -> None:
        for camera in self.cameras:
            camera.loop.forget(track)

    def run(self, over: Callable[[], bool] = lambda: False) -> Generator[Tick]:
        """Ticks of all cameras, in turns, until all have ended or ``over()``; see `Loop.run`."""
        for camera in self.cameras:
            camera.source.start()
        while not over():
            self._news.clear()
            for camera in self.cameras:
                tick = camera.turn(time.monotonic())
                if tick is not None:
                    yield tick
            if all(camera.over for camera in self.cameras):
                return
            self._news.wait(0.5 / MOST_TICKS)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why cameras were given up."""
        return tuple(camera.failure for camera in self.cameras if camera.failure is not None)

    def close(self) -> None:
        """Let go of the cameras, all at the same time, as some may hang."""
        with ThreadPoolExecutor(len(self.cameras)) as pool:
            list(pool.map(lambda camera: camera.source.close(), self.cameras))
            list(pool.map(lambda camera: camera.loop.close(), self.cameras))
