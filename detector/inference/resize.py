"""The one place where pictures are brought to the size a network sees, and boxes back again.

Training-time validation, every exported format and every runtime go through here. Only NumPy and
Pillow are used, so that running an ONNX file needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PAD_COLOR = (124, 116, 104)
"""ImageNet's mean color (torchvision's normalization mean x 255): padding that is zero inside."""


@dataclass(frozen=True, eq=False)
class Resized:
    """A picture ready for the network."""

    pixels: NDArray[np.uint8]  # RGB uint8 (H', W', 3), padded on the right and at the bottom
    scale: tuple[float, float]  # (x, y) factors from the caller's pixels to these
    image_size: tuple[int, int]  # (height, width) of the caller's picture

    def boxes_back(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) in these pixels -> boxes in the caller's pixels; not clipped."""
        x, y = self.scale
        return (xyxy / np.array([x, y, x, y], np.float32)).astype(np.float32)

    def points_back(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points (..., 2) in these pixels -> points in the caller's pixels."""
        return (points / np.array(self.scale, np.float32)).astype(np.float32)


@dataclass(frozen=True)
class Resize:
    """How a picture is brought to size."""

    # "fit" shrinks the longest side to ``side`` (never enlarges) and keeps the proportions;
    # "square" squeezes every picture into ``side`` x ``side``
    mode: Literal["fit", "square"] = "fit"
    side: int = 640  # pixels; for "fit", 0 keeps the original size
    # height and width are padded up to a multiple of this. Few different sizes keep ONNX Runtime's
    # memory flat; 32 is the coarsest stride of the backbone.
    multiple: int = 32

    def __call__(self, image: NDArray[np.uint8]) -> Resized:
        """Resize an RGB uint8 (H, W, 3) picture."""
        height, width = image.shape[:2]
        new_height, new_width = self.target(height, width)
        if (new_height, new_width) == (height, width):
            resized = image
        else:
            resized = np.asarray(
                Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
            )
        return Resized(
            pad(resized, self.multiple), (new_width / width, new_height / height), (height, width)
        )

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing and before padding."""
        if self.mode == "square":
            return self.side, self.side
        longest = max(height, width)
        if self.side == 0 or longest <= self.side:
            return height, width
        factor = self.side / longest
        return max(1, round(height * factor)), max(1, round(width * factor))


def pad(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Pad (H, W, 3) on the right and at the bottom to multiples of ``multiple`` pixels."""
    height, width = image.shape[:2]
    padded_height = -(-height // multiple) * multiple
    padded_width = -(-width // multiple) * multiple
    if (padded_height, padded_width) == (height, width):
        return np.ascontiguousarray(image)
    canvas = np.empty((padded_height, padded_width, 3), np.uint8)
    canvas[:height, :width] = image
    canvas[height:] = PAD_COLOR
    canvas[:height, width:] = PAD_COLOR
    return canvas
