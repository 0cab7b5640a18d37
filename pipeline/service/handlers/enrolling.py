"""Which face of a photo is meant, and whether the photo is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.types import Detections
from pipeline.enroll.photo_sample import Judgment, Refused, one_face
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Image, Vision
from recognizer.quality import Gates


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
    try:
        one_face(picture, faces.xyxy, gates, take_largest)
    except Refused as refused:
        if refused.why == "no_face":
            return Photo(faces, ServiceError("no_face", f"image {i} shows no face", details))
        if refused.why == "several_faces":
            message = f"image {i} shows {len(faces)} faces; one is needed, or `largest`"
            return Photo(faces[:0], ServiceError("several_faces", message, details))
        message = f"image {i} cannot be used: {'; '.join(refused.reasons)}"
        return Photo(largest(faces), ServiceError("poor_photo", message, {"image": i}))
    return Photo(largest(faces))


def judge_photos(
    photos: Sequence[Photo], judged: Sequence[Judgment]
) -> tuple[list[Photo], NDArray[np.bool_]]:
    """Refuse photos that show nothing new, or somebody else.

    Args:
        photos: of one person.
        judged: those that are not refused, in their order.

    Returns:
        The photos again, and which of ``judged`` stay, bool (N,).
    """
    checked = list(photos)
    places = [i for i, photo in enumerate(photos) if photo.refusal is None]
    for i, verdict in zip(places, judged, strict=True):
        if verdict.why is not None:
            more = "; `force` takes it all the same" if verdict.why == "another_face" else ""
            message = f"image {i}: {verdict.reason}{more}"
            refusal = ServiceError(verdict.why, message, {"image": i})
            checked[i] = Photo(photos[i].face, refusal)
    return checked, np.array([verdict.why is None for verdict in judged], bool)
