"""A made world for the live loop: colored squares are faces, their colors are people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detector.types import Detections
from pipeline.live.worker import Worker
from pipeline.types import Picture
from recognizer.gallery import Gallery
from recognizer.rule import Thresholds
from recognizer.snapshot import Snapshot
from tests.fake_embedder import FakeEmbedder

SIDE = 40
PEOPLE = {"Ada": 1, "Bob": 2, "Cleo": 3}
"""Seeds of the patterns on the faces."""


def face(name: str, side: int = SIDE) -> np.ndarray:
    """A pattern of light squares, the same for the same name: uint8 (side, side, 3).

    Of strong contrast, so that two people are as unlike as the embedder's are: cosines below 0.45.
    """
    seed = PEOPLE.get(name, sum(name.encode()))
    blocks = np.random.RandomState(seed).choice([115, 255], (8, 8, 3)).astype(np.uint8)
    return np.kron(blocks, np.ones((side // 8, side // 8, 1), np.uint8))


def scene(places: Mapping[str, tuple[int, int]], size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """A dark picture with faces at (x, y) of their upper left corners."""
    image = np.full((*size, 3), 20, np.uint8)
    for name, (x, y) in places.items():
        patch = face(name)[: max(0, size[0] - y), : max(0, size[1] - x)]
        image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return image


def picture(
    index: int, places: Mapping[str, tuple[int, int]], fps: float = 30.0, captured: float = 0.0
) -> Picture:
    """A frame of that scene."""
    return Picture(index, index / fps, scene(places), captured)


class FakeDetector:
    """Finds the light areas that touch nothing else, with a fixed score.

    ``score`` may be a function of the position (x, y) instead.
    """

    def __init__(self, score: float | Callable[[int, int], float] = 0.9) -> None:
        self.score = score
        self.calls = 0

    def detect(self, image: np.ndarray) -> Detections:
        from scipy.ndimage import find_objects, label

        self.calls += 1
        areas = find_objects(label((image > 100).all(axis=2))[0])
        boxes = [[a[1].start, a[0].start, a[1].stop, a[0].stop] for a in areas]
        scores = [
            self.score(b[0], b[1]) if callable(self.score) else self.score for b in boxes
        ]  # fmt: skip
        return Detections.from_raw(boxes, scores, image.shape[:2])

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.detect(image) for image in images]


class CountingEmbedder(FakeEmbedder):
    """Remembers the size of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def embed(self, faces: np.ndarray) -> np.ndarray:
        self.batches.append(len(faces))
        return super().embed(faces)


def know(embedder: FakeEmbedder, *names: str, version: int = 1) -> Snapshot:
    """A snapshot that knows these people."""
    gallery = Gallery.empty(embedder.fingerprint, embedder.dimension)
    for name in names:
        image = scene({name: (50, 50)})
        box = np.array([[50, 50, 50 + SIDE, 50 + SIDE]], np.float32)
        gallery = gallery.add(name, embedder.embed(embedder.crop(image, box)))
    return Snapshot(gallery, None, Thresholds(0.7, 0.9), version)


class Later(Worker):
    """A worker whose results come a fixed number of questions later, as from a slow machine."""

    inline = False

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay = delay

    @property
    def idle(self) -> bool:
        return not self._waiting

    def submit(self, job: Callable[[], Any]) -> None:
        self._waiting.append([self.delay, job])

    def finished(self) -> Iterator[Any]:
        if self._waiting:
            self._waiting[0][0] -= 1
        while self._waiting and self._waiting[0][0] < 0:
            yield self._waiting.popleft()[1]()

    def wait(self, until: float) -> bool:
        return False

    def close(self) -> None:
        self._waiting.clear()


class Clocked(Worker):
    """A worker beside the loop on a clock of its own: each job takes ``seconds`` of it.

    Attributes:
        now: its time, which the test sets and waiting moves on.
    """

    inline = False

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.now = seconds, 0.0

    @property
    def idle(self) -> bool:
        return not self._waiting

    def submit(self, job: Callable[[], Any]) -> None:
        begun = self._waiting[-1][0] if self._waiting else self.now
        self._waiting.append((begun + self.seconds, job))

    def finished(self) -> Iterator[Any]:
        while self._waiting and self._waiting[0][0] <= self.now:
            yield self._waiting.popleft()[1]()

    def wait(self, until: float) -> bool:
        if not self._waiting:
            return False
        done = self._waiting[0][0]
        self.now = max(self.now, min(done, until))
        return done <= self.now

    def close(self) -> None:
        self._waiting.clear()
