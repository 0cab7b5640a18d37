"""Which face of a photo is meant, and whether it is good enough: asked before it has a vector.

Whether the vector then becomes a sample of a person is decided by `recognizer.sample_rule`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.types import Detector
from recognizer.quality import Gates, measure
from recognizer.store.face_picture import FacePicture
from recognizer.store.write import NewSample
from recognizer.types import Embedder

Why = Literal["no_face", "several_faces", "poor_photo"]
"""Why a photo cannot be used; the service's codes."""


class Refused(Exception):
    """A photo that cannot be used.

    Args:
        reasons: why, a sentence each.
        why: the kind of reason.
        faces: how many were found.
    """

    def __init__(self, *reasons: str, why: Why = "poor_photo", faces: int = 1) -> None:
        super().__init__(*reasons)
        self.reasons, self.why, self.faces = reasons, why, faces


def one_face(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], gates: Gates | None, largest: bool
) -> NDArray[np.float32]:
    """The box (4,) of the one face that is good enough.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: all faces on it, float32 (N, 4).
        gates: what the face must have; None takes every face.
        largest: of several take the largest instead of refusing the photo.

    Raises Refused.
    """
    if not len(boxes):
        raise Refused("no face was found, exactly one is needed", why="no_face", faces=0)
    if len(boxes) > 1 and not largest:
        raise Refused(
            f"{len(boxes)} faces were found, exactly one is needed (or take the largest)",
            why="several_faces",
            faces=len(boxes),
        )
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    box: NDArray[np.float32] = boxes[int(areas.argmax())]
    if gates is not None and (refusals := gates.refusals(measure(image, box))):
        raise Refused(*refusals, faces=len(boxes))
    return box


def sample_of(
    image: NDArray[np.uint8],
    detector: Detector,
    embedder: Embedder,
    gates: Gates | None,
    largest: bool,
    keep_crop: bool,
    source: str,
) -> NewSample:
    """What a photo adds to a person, if `recognizer.sample_rule` finds nothing against it.

    Args:
        image: RGB uint8 (H, W, 3).
        detector, embedder: what finds and what describes the face.
        gates, largest: see `one_face`.
        keep_crop: with the picture of the face, so that another embedder can use it later.
        source: where the photo comes from.

    Raises Refused.
    """
    found = detector.detect(image)
    box = one_face(image, found.xyxy, gates, largest)
    chosen = found[(found.xyxy == box).all(axis=1)][:1]
    vector = embedder.embed(embedder.crop(image, chosen.xyxy, chosen.landmarks))[0]
    return NewSample(vector, FacePicture.of(image, box) if keep_crop else None, source)
