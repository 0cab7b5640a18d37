"""Which face of a photo is meant, and whether the photo can be used."""

from __future__ import annotations

from collections.abc import Sequence

from detector.types import Detections
from pipeline.enroll.photos import Refused, one_face
from pipeline.service import types as t
from pipeline.service.errors import ServiceError
from pipeline.service.runtime.batching import Call
from pipeline.service.vision import Image, Vision
from recognizer.quality import Gates
from recognizer.sample_rule import Decision

Photo = Detections | ServiceError
"""What becomes of one photo: the face that is meant, or why it cannot be used."""


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
    """Find the one face of each picture."""
    photos: list[Photo] = []
    for i, (picture, faces) in enumerate(zip(pictures, vision.detect(pictures, call), strict=True)):
        try:
            row = one_face(picture, faces.xyxy, gates, take_largest, faces.landmarks)
            photos.append(faces[[row]])
        except Refused as refused:
            details = {"image": i, "faces": len(faces)}
            message = f"image {i} cannot be used: {'; '.join(refused.reasons)}"
            if refused.why == "no_face":
                message = f"image {i} shows no face"
            elif refused.why == "several_faces":
                message = f"image {i} shows {len(faces)} faces; one is needed, or `largest`"
            else:
                details = {"image": i}
            photos.append(ServiceError(refused.why, message, details))
    return photos


def faces_of(photos: Sequence[Photo]) -> list[Detections]:
    """The face of each. Raises the first refusal."""
    for photo in photos:
        if isinstance(photo, ServiceError):
            raise photo
    return [photo for photo in photos if not isinstance(photo, ServiceError)]


def refuse(photos: Sequence[Photo], decisions: Sequence[Decision]) -> list[Photo]:
    """The same with what was decided about those that were not refused yet, in their order."""
    left = iter(decisions)
    done: list[Photo] = []
    for i, photo in enumerate(photos):
        if not isinstance(photo, ServiceError) and (decision := next(left)).why is not None:
            more = "; `force` takes it all the same" if decision.why == "another_face" else ""
            photo = ServiceError(decision.why, f"image {i}: {decision.reason}{more}", {"image": i})
        done.append(photo)
    return done


def refused(photos: Sequence[Photo]) -> list[t.RefusedPhoto]:
    """Those photos that cannot be used, and why."""
    return [
        t.RefusedPhoto(image=i, code=photo.code, message=photo.message)
        for i, photo in enumerate(photos)
        if isinstance(photo, ServiceError)
    ]


def no_photo(photos: Sequence[Photo], code: str | None = None) -> ServiceError:
    """For a request of whose photos none can be used: the first refusal, or the first of a code,
    with all of them in its details."""
    found = [photo for photo in photos if isinstance(photo, ServiceError)]
    first = next(refusal for refusal in found if code in (None, refusal.code))
    details = {"refused": [refusal.model_dump() for refusal in refused(photos)]}
    return ServiceError(first.code, first.message, details)
