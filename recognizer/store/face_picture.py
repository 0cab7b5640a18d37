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

    @classmethod
    def of(cls, image: NDArray[np.uint8], box: NDArray[np.float32]) -> FacePicture:
        """Cut the face in ``box`` (4,) out of RGB uint8 (H, W, 3).

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
        if longer > LONGEST:
            scale = LONGEST / longer
            size = max(1, round(part.width * scale)), max(1, round(part.height * scale))
            moved *= np.array([size[0] / part.width, size[1] / part.height] * 2, np.float32)
            moved = np.minimum(moved, np.array(size * 2, np.float32))
            part = part.resize(size, Image.Resampling.LANCZOS)
        file = io.BytesIO()
        part.save(file, format="PNG")
        moved.flags.writeable = False
        return cls(file.getvalue(), moved)

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
        return embedder.crop(self.image, self.box[None])[0]
