"""Which face of a photo somebody is remembered by, or why none is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recognizer.quality import Gates, measure


class Refused(Exception):
    """A photo that cannot be used.

    Args:
        reasons: why, a sentence each.
    """

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


def one_face(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], gates: Gates, largest: bool
) -> NDArray[np.float32]:
    """The box (4,) of the one face that is good enough.

    Args:
        image: RGB uint8 (H, W, 3).
        boxes: all faces on it, float32 (N, 4).
        gates: what the face must have.
        largest: of several take the largest instead of refusing the photo.

    Raises Refused.
    """
    if not len(boxes):
        raise Refused("no face was found, exactly one is needed")
    if len(boxes) > 1 and not largest:
        raise Refused(
            f"{len(boxes)} faces were found, exactly one is needed (or take the largest with "
            "--largest)"
        )
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    box: NDArray[np.float32] = boxes[int(areas.argmax())]
    if refusals := gates.refusals(measure(image, box)):
        raise Refused(*refusals)
    return box
