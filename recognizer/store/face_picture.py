"""A face with what is around it, kept so that another embedder can look at it later.

A finished crop would not do: embedders crop by different recipes (size, margin, alignment).
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faces.errors import UserError
from faces.images.read import read_image
from recognizer.types import Embedder

AROUND = 0.5
"""What is kept on each side, as a part of the box's longer side: more than any recipe's margin, and
more than alignment to five points reaches."""

LONGEST = 256
"""Larger faces are shrunk until the box's longer side has this many pixels; the embedders look at
112 or 160."""

MAX_SIDE = math.ceil(LONGEST * (1 + 2 * AROUND)) + 4


@dataclass(frozen=True, eq=False)
class FacePicture:
    """A part of a photo."""

    # an RGB image of at most ``MAX_SIDE`` x ``MAX_SIDE``, kept encoded: without loss, and a tenth
    # of the memory
    png: bytes
    box: NDArray[np.float32]  # the face in it, float32 (4,): x1 y1 x2 y2
    # its five points in it, float32 (5, 2), where the detector found them
    landmarks: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        image: NDArray[np.uint8],
        box: NDArray[np.float32],
        landmarks: NDArray[np.float32] | None = None,
    ) -> FacePicture:
        """Cut the face in ``box`` (4,), with ``landmarks`` (5, 2), out of RGB uint8 (H, W, 3).

        Box and landmarks in its pixels; landmarks that are not all known (NaN) are left out.

        A face of up to ``LONGEST`` pixels keeps its pixels, so that every recipe gives the same
        crop of the picture as of the image.
        """
        x1, y1, x2, y2 = map(float, box)
        height, width = image.shape[:2]
        longer = max(x2 - x1, y2 - y1)
        rim = AROUND * longer
        left, top = max(0, math.floor(x1 - rim)), max(0, math.floor(y1 - rim))
        right, bottom = min(width, math.ceil(x2 + rim)), min(height, math.ceil(y2 + rim))
        part = Image.fromarray(image[top:bottom, left:right])
        moved = np.array([x1 - left, y1 - top, x2 - left, y2 - top], np.float32)
        points = None
        if landmarks is not None and np.isfinite(landmarks).all():
            points = landmarks - np.array([left, top], np.float32)
        if longer > LONGEST:
            scale = LONGEST / longer
            size = max(1, round(part.width * scale)), max(1, round(part.height * scale))
            shrunk = np.array([size[0] / part.width, size[1] / part.height], np.float32)
            moved *= np.tile(shrunk, 2)
            points = None if points is None else points * shrunk
            moved = np.minimum(moved, np.array(size * 2, np.float32))
            part = part.resize(size, Image.Resampling.LANCZOS)
        file = io.BytesIO()
        part.save(file, format="PNG")
        return cls.placed(file.getvalue(), moved if points is None else np.append(moved, points))

    @classmethod
    def placed(cls, png: bytes, place: NDArray[np.float32]) -> FacePicture:
        """A picture of ``png`` and `place`, float32 (4,) or (14,). Raises ValueError for another
        number of values."""
        place = np.array(place, np.float32)
        if place.size not in (4, 14):
            raise ValueError(f"a face has a box or a box and five points, not {place.size} numbers")
        place.flags.writeable = False
        return cls(png, place[:4], place[4:].reshape(5, 2) if place.size > 4 else None)

    @property
    def place(self) -> NDArray[np.float32]:
        """The box, and the five points where there are some: float32 (4,) or (14,)."""
        return self.box if self.landmarks is None else np.append(self.box, self.landmarks)

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3), decoded again each time.

        Raises UserError when the bytes are no picture, a too large one, or the box is not in it.
        """
        image = read_image(io.BytesIO(self.png), max_pixels=MAX_SIDE**2)
        height, width = image.shape[:2]
        x1, y1, x2, y2 = map(float, self.box)
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise UserError(f"the face {self.box} is not in its picture of {width}x{height} pixels")
        return image

    def crop(self, embedder: Embedder) -> NDArray[np.uint8]:
        """As this embedder wants it: uint8 (S, S, 3). Raises UserError as `image` does."""
        points = None if self.landmarks is None else self.landmarks[None]
        return embedder.crop(self.image, self.box[None], points)[0]
