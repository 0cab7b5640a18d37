"""Which face of a photo is meant, and whether the photo can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detector.types import Detections
from pipeline.enroll.photo_sample import Refused, one_face
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Image, Vision
from recognizer.quality import Gates
from recognizer.sample_rule import Decision


@dataclass(eq=False)
class Photo:
    """What becomes of one photo."""

    face: Detections  # the one face; empty when the photo is refused for the number of its faces
    refusal: ServiceError | None = None  # None as long as it can be used


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
    photos = []
    for i, (picture, faces) in enumerate(zip(pictures, vision.detect(pictures, call), strict=True)):
        details = {"image": i, "faces": len(faces)}
        try:
            one_face(picture, faces.xyxy, gates, take_largest)
            photo = Photo(largest(faces))
        except Refused as refused:
            if refused.why == "no_face":
                refusal = ServiceError("no_face", f"image {i} shows no face", details)
                photo = Photo(faces, refusal)
            elif refused.why == "several_faces":
                message = f"image {i} shows {len(faces)} faces; one is needed, or `largest`"
                photo = Photo(faces[:0], ServiceError("several_faces", message, details))
            else:
                message = f"image {i} cannot be used: {'; '.join(refused.reasons)}"
                photo = Photo(largest(faces), ServiceError("poor_photo", message, {"image": i}))
        photos.append(photo)
    return photos


def refuse(photos: Sequence[Photo], decisions: Sequence[Decision]) -> None:
    """Note on the photos that were not refused yet what was decided about them, in their order."""
    good = ((i, photo) for i, photo in enumerate(photos) if photo.refusal is None)
    for (i, photo), decision in zip(list(good), decisions, strict=True):
        if decision.why is not None:
            more = "; `force` takes it all the same" if decision.why == "another_face" else ""
            message = f"image {i}: {decision.reason}{more}"
            photo.refusal = ServiceError(decision.why, message, {"image": i})


def refused(photos: Sequence[Photo]) -> list[t.RefusedPhoto]:
    """Those photos that cannot be used, and why."""
    return [
        t.RefusedPhoto(image=i, code=photo.refusal.code, message=photo.refusal.message)
        for i, photo in enumerate(photos)
        if photo.refusal is not None
    ]


def no_photo(photos: Sequence[Photo], code: str | None = None) -> ServiceError:
    """For a request of whose photos none can be used: the first refusal, or the first of a code,
    with all of them in its details."""
    first = next(p.refusal for p in photos if p.refusal and code in (None, p.refusal.code))
    details = {"refused": [refusal.model_dump() for refusal in refused(photos)]}
    return ServiceError(first.code, first.message, details)
