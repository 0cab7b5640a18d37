"""Films of made faces for a service: five points are written into the pixels of every picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.types import Detections
from pipeline.liveness.scene import HEIGHT, WIDTH, Errors
from pipeline.liveness.simulation import Actor
from tests.pipeline.service.fakes import FakeDetector, encode

SCALE = 0.5  # of the made camera's pictures


def picture(points: NDArray[np.float64] | None, person: int = 1) -> NDArray[np.uint8]:
    """A picture in which `FilmDetector` finds a face with these points (5, 2), or none."""
    image = np.zeros((int(HEIGHT * SCALE), int(WIDTH * SCALE), 3), np.uint8)
    if points is None:
        return image
    box = box_of(points)
    pattern = np.random.RandomState(person).randint(0, 255, (4, 4, 3)).astype(np.uint8)
    x1, y1, x2, y2 = box.round().astype(int)
    face = np.asarray(Image.fromarray(pattern).resize((x2 - x1, y2 - y1), 0))
    left, top = max(0, x1), max(1, y1)  # the first row is for the numbers
    part = image[top : max(top, y2), left : max(left, x2)]
    part[:] = face[top - y1 :, left - x1 :][: part.shape[0], : part.shape[1]]
    numbers = np.concatenate([points.ravel(), [1.0]]).astype("<f4").tobytes()
    image[0].reshape(-1)[: len(numbers)] = np.frombuffer(numbers, np.uint8)
    return image


def box_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Around the points, x1 y1 x2 y2."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low - 0.4 * (high - low), high + 0.4 * (high - low)])


def read_points(image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """What `picture` wrote."""
    *points, there = np.frombuffer(image[0].reshape(-1)[:44].tobytes(), "<f4")
    return np.array(points, np.float32).reshape(5, 2) if there == 1 else None


def find_points(
    image: NDArray[np.uint8], xyxy: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A `recognizer.crop.LandmarkFinder`."""
    points = read_points(image)
    if points is None:
        return np.zeros((len(xyxy), 5, 2), np.float32), np.zeros(len(xyxy), bool)
    return np.repeat(points[None], len(xyxy), axis=0), np.ones(len(xyxy), bool)


class FilmDetector(FakeDetector):
    """Finds the faces of `picture`, and those of `fakes.draw`."""

    def _find(self, image: NDArray[np.uint8]) -> Detections:
        points = read_points(image)
        if points is None:
            return super()._find(image)
        return Detections.from_raw([box_of(points)], [0.99], image.shape[:2])


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def film(
    actor: Actor, source: np.random.Generator, clock: Clock, rate: float = 12
) -> Iterator[bytes | None]:
    """PNGs of an actor, made as they are asked for; send what is asked of it: ``film.send(asks)``.

    The first one is of `next`. The clock goes on with every picture.
    """
    errors, start = Errors(source, quick=0.01, slow=0.01), clock.now
    asks: str = "look"
    while True:
        step = 1 / rate
        clock.now += step
        points = errors.add(actor.act(clock.now - start, step, asks), step) * SCALE
        asks = yield encode(picture(points), compress_level=1)  # type: ignore[misc]


def play(
    ask: Callable[..., Any], actor: Actor, clock: Clock, seed: int = 0, **begin: Any
) -> list[dict[str, Any]]:
    """One session from its beginning to its end; ``ask(op, image or None, fields)`` -> a dict."""
    source = np.random.default_rng(seed)
    told = [ask("liveness/begin", None, begin)]
    made: Any = film(actor, source, clock)
    image = next(made)
    while told[-1]["status"] == "waiting":
        told.append(ask("liveness/frame", image, {"session": told[0]["session"]}))
        image = made.send(told[-1]["asks"])
    return told
