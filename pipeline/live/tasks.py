"""What the loop has its worker do: detect on a frame, see how good faces are, embed some of them.

These jobs touch nothing of the loop but the networks, so a thread can do them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.types import Detections, Detector
from pipeline.live.area import Area
from pipeline.live.changes import View, cut, face_view
from pipeline.types import Box, Look, Picture
from recognizer.types import Embedder

SIDE = 64
"""Sharpness is measured on the face at this size, so that it does not depend on the camera."""

SHARP = 120.0
"""Sharpness at which a face counts half: that of a portrait blurred by two pixels (Gaussian)."""

LARGE = 96.0
"""Pixels from which on a larger face is no better."""


def sharpness(image: NDArray[np.uint8], box: Box) -> float:
    """The variance of the Laplacian of the gray face at 64 x 64 pixels; 0 for an even surface.

    Blur and enlargement lower it: a face of 20 pixels is never sharp (Pech-Pacheco et al., ICPR
    2000).
    """
    face = cut(image, box)
    if face is None:
        return 0.0
    small = Image.fromarray(face).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return float(cv2.Laplacian(np.asarray(small), cv2.CV_32F)[1:-1, 1:-1].var())


def face_quality(box: Box, score: float, sharp: float) -> float:
    """How good a face is to see, 0..1: its size, its sharpness (see `sharpness`), its score."""
    side = min(box[2] - box[0], box[3] - box[1])
    return min(side / LARGE, 1.0) ** 0.5 * sharp / (sharp + SHARP) * score


@dataclass(frozen=True, eq=False)
class Seen:
    """What the detector found in a picture; how sharp each face is, and its `face_view`."""

    picture: Picture
    detections: Detections
    sharp: tuple[float, ...]
    views: tuple[View, ...]


@dataclass(frozen=True, eq=False)
class Embedded:
    """Crops (K, S, S, 3) and vectors (K, D) of the chosen sightings of a look."""

    look: Look
    chosen: tuple[int, ...]
    crops: NDArray[np.uint8]
    vectors: NDArray[np.float32]


class FaceNetworks:
    """The two networks.

    Args:
        area: which faces count; another one may be assigned at any time, from any thread.
    """

    def __init__(self, detector: Detector, embedder: Embedder, area: Area) -> None:
        self.detector, self.embedder, self.area = detector, embedder, area

    def see(self, picture: Picture) -> Seen:
        """Find the faces of a picture."""
        found = self.detector.detect(picture.image)
        found = found[self.area.holds(found.xyxy, found.image_size)]
        boxes = [box_of(row) for row in found.xyxy]
        sharp = tuple(sharpness(picture.image, box) for box in boxes)
        views = tuple(face_view(picture.image, box) for box in boxes)
        return Seen(picture, found, sharp, views)

    def embed(self, look: Look, chosen: tuple[int, ...]) -> Embedded:
        """Cut out the chosen sightings and embed them, all in one batch."""
        faces = [look.sightings[i] for i in chosen]
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        points = [face.landmarks for face in faces if face.landmarks is not None]
        landmarks = np.stack(points) if points else None  # a detector finds those of all or none
        crops = self.embedder.crop(look.picture.image, boxes, landmarks)
        return Embedded(look, chosen, crops, self.embedder.embed(crops))


class OneByOne:
    """A `Detector` made of a function that looks at one image."""

    def __init__(self, detect: Callable[[NDArray[np.uint8]], Detections]) -> None:
        self.detect = detect

    def detect_batch(self, images: Iterable[NDArray[np.uint8]]) -> list[Detections]:
        """One after the other."""
        return [self.detect(image) for image in images]


def box_of(row: NDArray[np.float32]) -> Box:
    """A row (4,) of boxes as plain numbers."""
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2


@dataclass(frozen=True, eq=False)
class Failure:
    """A job of the worker raised an error."""

    error: Exception
    index: int


def attempt(job: Callable[[], Any], index: int) -> Any:
    """What ``job`` gives for the frame ``index``, or its error."""
    try:
        return job()
    except Exception as error:
        return Failure(error, index)
