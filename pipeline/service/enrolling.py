"""Which face of a photo is meant, and whether the photo is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections
from pipeline.service.batching import Call
from pipeline.service.errors import ServiceError
from pipeline.service.vision import Image, Vision

PhotoGate = Callable[[Image, NDArray[np.float32]], str | None]
"""A photo and its face's box (4,) -> why it cannot be used, or None."""


@dataclass(frozen=True, eq=False)
class Photo:
    """What became of one photo.

    Args:
        face: the one face; empty when the photo is refused for the number of its faces.
        refusal: None when it can be used.
    """

    face: Detections
    refusal: ServiceError | None = None


def take_photos(
    vision: Vision,
    pictures: Sequence[Image],
    call: Call,
    largest: bool,
    gate: PhotoGate | None,
) -> list[Photo]:
    """Find the one face of each picture.

    Args:
        largest: take the largest of several faces instead of refusing.
        gate: what else a photo must be.
    """
    found = vision.detect(pictures, call)
    return [
        _take(i, picture, faces, largest, gate)
        for i, (picture, faces) in enumerate(zip(pictures, found, strict=True))
    ]


def _take(
    i: int, picture: Image, faces: Detections, largest: bool, gate: PhotoGate | None
) -> Photo:
    details = {"image": i, "faces": len(faces)}
    if not len(faces):
        return Photo(faces, ServiceError("no_face", f"image {i} shows no face", details))
    if len(faces) > 1 and not largest:
        message = f"image {i} shows {len(faces)} faces; one is needed, or `largest`"
        return Photo(faces[:0], ServiceError("several_faces", message, details))
    x1, y1, x2, y2 = faces.xyxy.T
    face = faces[[int(((x2 - x1) * (y2 - y1)).argmax())]]
    reason = None if gate is None else gate(picture, face.xyxy[0])
    if reason is not None:
        message = f"image {i} cannot be used: {reason}"
        return Photo(face, ServiceError("poor_photo", message, {"image": i}))
    return Photo(face)
