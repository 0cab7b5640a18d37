"""Pictures of made-up people, a detector that finds them, and a service around both."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.types import Detections, Detector
from pipeline.service.audit import AuditLog
from pipeline.service.core import Service
from pipeline.service.people import People
from pipeline.service.runtime.limits import Limits
from pipeline.service.vision import Models
from recognizer.crop import LandmarkFinder
from recognizer.store.people import Store
from tests.fake_embedder import FakeEmbedder

FRAME = (255, 0, 255)


def draw(*people: int, size: int = 64, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """A picture with a framed pattern for each person, told apart by number."""
    picture = np.full((height, width, 3), 40, np.uint8)
    for i, person in enumerate(people):
        pattern = np.random.RandomState(person).randint(0, 200, (4, 4, 3)).astype(np.uint8)
        pattern[..., 1] |= 90  # never the color of the frame
        x, y = 10 + i * (size + 12), 20
        picture[y : y + size, x : x + size] = FRAME
        inner = np.asarray(Image.fromarray(pattern).resize((size - 6, size - 6), 0))
        picture[y + 3 : y + size - 3, x + 3 : x + size - 3] = inner
    return picture


def encode(picture: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """A file's bytes."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def photo(*people: int, kind: str = "PNG", **options: Any) -> bytes:
    """A photo of made-up people."""
    return encode(draw(*people, **options), kind)


def _broken(data: bytes, end: str) -> str:
    text = base64.b64encode(data).decode()
    return end.join(text[i : i + 76] for i in range(0, len(text), 76))


BASE64: dict[str, Callable[[bytes], str]] = {
    "plain": lambda data: base64.b64encode(data).decode(),
    "lines": lambda data: _broken(data, "\n"),
    "windows lines": lambda data: _broken(data, "\r\n"),
    "newline at the end": lambda data: base64.encodebytes(data).decode(),
    "urlsafe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "unpadded": lambda data: base64.b64encode(data).decode().rstrip("="),
    "data URL": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    "named": lambda data: "DATA:image/png;name=a.png;BASE64," + base64.b64encode(data).decode(),
    "quoted": lambda data: "data:;base64," + quote(base64.b64encode(data).decode(), safe=""),
}
"""An image as programs write it in base64."""


class FakeDetector:
    """Finds the frames that `draw` draws.

    Args:
        seconds: that a batch takes for each of its pictures.
        lanes: how many threads get the most out of it.
        gate: a batch begins only when it is set.
    """

    def __init__(self, seconds: float = 0.0, lanes: int = 1) -> None:
        self.seconds = seconds
        self.lanes = lanes
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.broken: Exception | None = None

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.gate.wait(20)
        self.batches.append(len(images))
        if self.broken is not None:
            raise self.broken
        time.sleep(self.seconds * len(images))
        return [self._find(image) for image in images]

    def _find(self, image: NDArray[np.uint8]) -> Detections:
        red, green, blue = image[..., 0], image[..., 1], image[..., 2]
        framed = (red > 180) & (green < 80) & (blue > 180)
        boxes = []
        # The frames stand side by side: where columns have a frame's color, there is one.
        edges = np.flatnonzero(np.diff(np.r_[False, framed.any(axis=0), False].astype(int)))
        for x1, x2 in edges.reshape(-1, 2):
            rows = np.flatnonzero(framed[:, x1:x2].any(axis=1))
            boxes.append((x1, rows[0], x2, rows[-1] + 1))
        scores = [0.99 - 0.01 * i for i in range(len(boxes))]
        return Detections.from_raw(boxes, scores, image.shape[:2])


def make_service(
    folder: Path | None = None,
    *,
    detector: Detector | None = None,
    landmarks: LandmarkFinder | None = None,
    limits: Limits | None = None,
    poll: float = 0.05,
    **options: Any,
) -> Service:
    """A service with fake models; with a folder for people and audit log it also knows people."""
    detector = detector or FakeDetector()
    if folder is None:
        models = Models(detector, "fake", landmarks=landmarks)
        return Service(models, limits=limits, **options)
    embedder = FakeEmbedder()
    store = Store.open(folder / "people.db", embedder.fingerprint, embedder.dimension)
    people = People(store, AuditLog(folder / "audit.jsonl"), poll)
    models = Models(detector, "fake", embedder, landmarks=landmarks)
    return Service(models, people, limits, **options)
