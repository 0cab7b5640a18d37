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

from common.errors import UserError
from common.images import read_image
from recognizer.types import Embedder, frozen

AROUND = 0.5
"""What is kept on each side, as a part of the box's longer side: more than any recipe's margin, and
more than alignment to five points reaches."""

LONGEST = 256
"""Larger faces are shrunk until the box's longer side has this many pixels; the embedders look at
112 or 160."""

MAX_SIDE = math.ceil(LONGEST * (1 + 2 * AROUND)) + 4


@dataclass(frozen=True, eq=False)
class Cutout:
    """A part of a photo.

    Args:
        image: RGB uint8 (H, W, 3), at most ``MAX_SIDE`` in both directions.
        box: the face in it, float32 (4,): x1 y1 x2 y2.

    Raises ValueError when they do not go together.
    """

    image: NDArray[np.uint8]
    box: NDArray[np.float32]

    def __post_init__(self) -> None:
        image, box = frozen(self.image, np.uint8), frozen(np.asarray(self.box), np.float32)
        if image.ndim != 3 or image.shape[2] != 3 or max(image.shape[:2]) > MAX_SIDE:
            raise ValueError(f"a cutout of the shape {image.shape}, at most {MAX_SIDE} px is right")
        height, width = image.shape[:2]
        if box.shape != (4,) or not (
            0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
        ):
            raise ValueError(f"the box {box.tolist()} is not in a cutout of {width}x{height}")
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "box", box)

    @classmethod
    def of(cls, image: NDArray[np.uint8], box: NDArray[np.float32]) -> Cutout:
        """Cut the face in ``box`` (4,) out of RGB uint8 (H, W, 3).

        A face of up to ``LONGEST`` pixels keeps its pixels, so that every recipe gives the same
        crop of the cutout as of the image.
        """
        x1, y1, x2, y2 = map(float, box)
        longer = max(x2 - x1, y2 - y1)
        height, width = image.shape[:2]
        left, top = (
            max(0, math.floor(x1 - AROUND * longer)),
            max(0, math.floor(y1 - AROUND * longer)),
        )
        right = min(width, math.ceil(x2 + AROUND * longer))
        bottom = min(height, math.ceil(y2 + AROUND * longer))
        part = image[top:bottom, left:right]
        moved = np.array([x1 - left, y1 - top, x2 - left, y2 - top], np.float32)
        if longer > LONGEST:
            size = [max(1, round(side * LONGEST / longer)) for side in (right - left, bottom - top)]
            small = Image.fromarray(part).resize((size[0], size[1]), Image.Resampling.LANCZOS)
            moved *= np.array([size[0] / (right - left), size[1] / (bottom - top)] * 2, np.float32)
            moved = np.minimum(moved, np.array(size * 2, np.float32))
            part = np.asarray(small)
        return cls(part, moved)

    def crop(self, embedder: Embedder) -> NDArray[np.uint8]:
        """As this embedder wants it: uint8 (S, S, 3)."""
        return embedder.crop(self.image, self.box[None])[0]

    def to_png(self) -> bytes:
        """The image without loss."""
        file = io.BytesIO()
        Image.fromarray(self.image).save(file, format="PNG")
        return file.getvalue()

    @classmethod
    def from_png(cls, png: bytes, box: NDArray[np.float32]) -> Cutout:
        """Raises UserError when the bytes are no picture or the box is not in it."""
        try:
            return cls(read_image(io.BytesIO(png), max_pixels=MAX_SIDE**2), box)
        except ValueError as error:
            raise UserError(f"a stored picture is damaged: {error}") from error
