"""How good a face is to see: its size, its sharpness, its score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.types import Box

SIDE = 64
"""Sharpness is measured on the face at this size, so that it does not depend on the camera."""

SHARP = 120.0
"""Sharpness at which a face counts half: that of a portrait blurred by two pixels (Gaussian)."""

LARGE = 96.0
"""Pixels from which on a larger face is no better."""


def sharpness(image: NDArray[np.uint8], box: Box) -> float:
    """The variance of the Laplacian of the gray face at 64 x 64 pixels; 0 for an even surface.

    Blur and enlargement lower it: a face of 20 pixels is never sharp (Pech-Pacheco et al., ICPR
    2000).
    """
    height, width = image.shape[:2]
    x1, y1 = max(int(box[0]), 0), max(int(box[1]), 0)
    x2, y2 = min(round(box[2]), width), min(round(box[3]), height)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return 0.0
    face = Image.fromarray(image[y1:y2, x1:x2]).convert("L")
    gray = np.asarray(face.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    center = 4 * gray[1:-1, 1:-1]
    return float(
        (center - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]).var()
    )


def face_quality(box: Box, score: float, sharp: float) -> float:
    """How good a face is to see, 0..1: its size, its sharpness (see `sharpness`), its score."""
    side = min(box[2] - box[0], box[3] - box[1])
    return min(side / LARGE, 1.0) ** 0.5 * sharp / (sharp + SHARP) * score
