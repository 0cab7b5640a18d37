"""Where the boxes of an annotation lie in its image: for checking, training and evaluation."""

from __future__ import annotations

from typing import Literal

import numpy as np

from detector.data.voc.annotation import VocAnnotation
from faces.images.read import ImageInfo, upright_boxes

BoxFrame = Literal["auto", "upright", "stored"]
Box = tuple[float, float, float, float]


def mend_box(box: Box, width: int, height: int) -> tuple[Box | None, list[str]]:
    """A box brought into an image of ``width`` x ``height`` pixels, and what was wrong with it.

    Inverted corners are swapped, then what lies over the edge is cut off. None when nothing with an
    area is left.
    """
    x1, y1, x2, y2 = box
    kinds = []
    if x2 < x1 or y2 < y1:
        kinds.append("inverted box")
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if x1 == x2 or y1 == y2:
        return None, [*kinds, "degenerate box"]
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return None, [*kinds, "box outside"]
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        kinds.append("box over the edge")
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    return (x1, y1, x2, y2), kinds


def boxes_as_stored(annotation: VocAnnotation, info: ImageInfo, frame: BoxFrame) -> bool:
    """Whether boxes refer to the pixels as stored rather than to the upright image.

    With "auto", the size in the annotation tells where the rotation exchanges height and width and
    the size is one of the two. Otherwise the boxes are taken to refer to the upright image, which
    is what viewers and most annotation tools show.
    """
    if info.orientation == 1:
        return False
    if frame != "auto":
        return frame == "stored"
    upright = (info.height, info.width)
    return info.stored != upright and info.stored == (annotation.height, annotation.width)


def upright_annotation_boxes(
    annotation: VocAnnotation, info: ImageInfo, frame: BoxFrame
) -> list[Box]:
    """The boxes of an annotation, in pixels of the upright image."""
    boxes: list[Box] = [item.xyxy for item in annotation.objects]
    if boxes_as_stored(annotation, info, frame):
        turned = upright_boxes(boxes, info.orientation, info.stored).tolist()
        boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in turned]
    return boxes


def boxes_in_pixels(
    annotation: VocAnnotation, boxes: list[Box], size: tuple[int, int]
) -> tuple[list[Box], str]:
    """The boxes of an annotation that is for another size than ``size`` (height, width).

    Returns the boxes and how they were brought there: "" when they were taken as they are,
    "scaled" when the image was resized after it had been annotated. Raises ValueError when they
    fit neither, because the image was turned or cut since, or is another one.
    """
    height, width = size
    said = annotation.height, annotation.width
    if said == size or not all(said) or not boxes:
        return boxes, ""
    corners = np.array(boxes, np.float64)
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    factor = width / said[1]
    if abs(said[0] * factor - height) <= 1 and (corners <= (*said[::-1], *said[::-1])).all():
        x1, y1, x2, y2 = corners.T * ([factor], [height / said[0]], [factor], [height / said[0]])
        return list(zip(x1.tolist(), y1.tolist(), x2.tolist(), y2.tolist(), strict=True)), "scaled"
    if ((middle >= 0) & (middle <= (width, height))).all():
        return boxes, ""
    raise ValueError(
        f"its boxes are for an image of {said[1]}x{said[0]} pixels, and do not lie in this one of "
        f"{width}x{height}, which must have been turned or cut since, or is another"
    )
