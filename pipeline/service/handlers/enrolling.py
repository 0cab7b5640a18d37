"""Which face of a photo is meant, and whether the photo is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Image, Vision
from recognizer.quality import Gates, measure


@dataclass(frozen=True, eq=False)
class Photo:
    """What became of one photo.

    Args:
        face: the one face; empty when the photo is refused for the number of its faces.
        refusal: None when it can be used.
    """

    face: Detections
    refusal: ServiceError | None = None


def largest(faces: Detections) -> Detections:
    """The one that covers most of the picture; there must be one."""
    x1, y1, x2, y2 = faces.xyxy.T
    return faces[[int(((x2 - x1) * (y2 - y1)).argmax())]]


def take_photos(
    vision: Vision,
    pictures: Sequence[Image],
    call: Call,
    take_largest: bool,
    gates: Gates | None,
) -> list[Photo]:
    """Find the one face of each picture.

    Args:
        take_largest: take the largest of several faces instead of refusing.
        gates: what else a photo must be.
    """
    found = vision.detect(pictures, call)
    return [
        _take(i, picture, faces, take_largest, gates)
        for i, (picture, faces) in enumerate(zip(pictures, found, strict=True))
    ]


def _take(
    i: int, picture: Image, faces: Detections, take_largest: bool, gates: Gates | None
) -> Photo:
    details = {"image": i, "faces": len(faces)}
    if not len(faces):
        return Photo(faces, ServiceError("no_face", f"image {i} shows no face", details))
    if len(faces) > 1 and not take_largest:
        message = f"image {i} shows {len(faces)} faces; one is needed, or `largest`"
        return Photo(faces[:0], ServiceError("several_faces", message, details))
    face = largest(faces)
    reasons = [] if gates is None else gates.refusals(measure(picture, face.xyxy[0]))
    if reasons:
        message = f"image {i} cannot be used: {'; '.join(reasons)}"
        return Photo(face, ServiceError("poor_photo", message, {"image": i}))
    return Photo(face)


def without_duplicates(
    photos: Sequence[Photo],
    vectors: NDArray[np.float32],
    known: NDArray[np.float32],
    gates: Gates | None,
) -> tuple[list[Photo], NDArray[np.bool_]]:
    """Refuse photos that show nothing new.

    Args:
        photos: of one person.
        vectors: of those that are not refused, in their order, float32 (N, D).
        known: the person's vectors that are stored already, (M, D).

    Returns:
        The photos again, and which of ``vectors`` stay, bool (N,).
    """
    checked = list(photos)
    keep = np.ones(len(vectors), bool)
    places = [i for i, photo in enumerate(photos) if photo.refusal is None]
    for row, i in enumerate(places):
        reason = None if gates is None else gates.duplicate(vectors[row], known)
        if reason is not None:
            refusal = ServiceError("duplicate_photo", f"image {i}: {reason}", {"image": i})
            checked[i] = Photo(photos[i].face, refusal)
            keep[row] = False
        else:
            known = np.concatenate([known, vectors[row : row + 1]])
    return checked, keep
