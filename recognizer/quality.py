"""Is a face in a photo good enough to remember somebody by? Each gate can refuse it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.blank import LIMIT

COMPARED_SIDE = 112
"""Sharpness is measured at the resolution that the embedders see; larger faces are shrunk to it."""


@dataclass(frozen=True)
class Gates:
    """What a face must have to be enrolled. docs/recognition.md says how the limits were chosen."""

    min_size: float = 40.0
    """Smallest face: longer side of its box, in pixels."""
    min_sharpness: float = 0.004
    """Least sharpness: how much neighboring pixels differ in the direction in which they differ
    least, as a part of the face's contrast."""
    min_brightness: float = 20.0
    """Least mean brightness of the face, 0 to 255."""
    max_brightness: float = 220.0
    """Greatest mean brightness."""
    min_contrast: float = 8.0
    """Least contrast: standard deviation of the brightness, 0 to 127."""
    min_edge: float = 0.01
    """Least distance to the photo's edge, as a part of the face's longer side: a face at the very
    edge may be cut off. Where the detector finds the five points, theirs less a tenth."""
    max_similarity: float = 0.97
    """A photo whose vector has a greater cosine than this with one that is there already adds
    nothing: it is the same photo, or the next one of a burst."""

    max_blank: float = LIMIT
    """Greatest cosine with what the embedder answers to a face that cannot be seen (turned away,
    hidden, out of focus), as a part of the threshold for one person."""

    def refusals(self, quality: Quality) -> list[str]:
        """One sentence, with the measured value and the limit, for each gate that refuses."""
        q = quality
        checks = [
            (
                q.size >= self.min_size,
                f"size: the face is {q.size:.0f} px, at least {self.min_size:g} are needed",
            ),
            (
                q.sharpness >= self.min_sharpness,
                f"blur: the face has the sharpness {q.sharpness:.4f}, at least "
                f"{self.min_sharpness:g} is needed",
            ),
            (
                q.brightness >= self.min_brightness,
                f"exposure: too dark, the face has the brightness {q.brightness:.0f} of 255, at "
                f"least {self.min_brightness:g} is needed",
            ),
            (
                q.brightness <= self.max_brightness,
                f"exposure: too bright, the face has the brightness {q.brightness:.0f} of 255, at "
                f"most {self.max_brightness:g} is allowed",
            ),
            (
                q.contrast >= self.min_contrast,
                f"exposure: the face has the contrast {q.contrast:.1f}, at least "
                f"{self.min_contrast:g} is needed",
            ),
            (
                q.edge >= self.min_edge,
                f"edge: the face is {q.edge:.1%} of its size away from the photo's {q.side} edge, "
                f"at least {self.min_edge:.1%} is needed, so it may be cut off",
            ),
        ]
        return [sentence for fine, sentence in checks if not fine]

    def duplicate(self, embedding: NDArray[np.float32], known: NDArray[np.float32]) -> str | None:
        """The refusal of a unit vector (D,) too near to one of the person's others (N, D)."""
        if not len(known):
            return None
        similarity = float((known @ embedding).max())
        if similarity <= self.max_similarity:
            return None
        return (
            f"near-duplicate: a photo of this person that is there already has the similarity "
            f"{similarity:.3f}, at most {self.max_similarity:g} is of use"
        )


@dataclass(frozen=True)
class Quality:
    """What was measured on one face.

    Args:
        size: longer side of the box in pixels.
        sharpness: variance of the second derivative by variance of the brightness, the least of
            four directions (motion blurs one of them only), at 112 px.
        brightness: mean, 0..255.
        contrast: standard deviation of the brightness, 0..127.
        edge: distance to the nearest edge of the photo, as a part of ``size``; where the five
            points are known, at least theirs less `INSIDE`.
        side: which edge that is.
    """

    size: float
    sharpness: float
    brightness: float
    contrast: float
    edge: float
    side: str


INSIDE = 0.1
"""How far inside a face its five points lie, as a part of its size, less what may be cut off: chin
and ears. Up to a tenth of a face that is missing costs 0.00 to 0.02 of TAR (docs/recognition.md),
and a detector's box ends at the edge of the photo even where it cuts nothing."""


def measure(
    image: NDArray[np.uint8],
    box: NDArray[np.float32],
    landmarks: NDArray[np.float32] | None = None,
) -> Quality:
    """Measure the face in ``box`` (4,) of an RGB image uint8 (H, W, 3).

    By its ``landmarks`` (5, 2), where there are any, a box at the edge of the photo is told from a
    face that is cut off.
    """
    x1, y1, x2, y2 = map(float, box)
    height, width = image.shape[:2]
    size = max(x2 - x1, y2 - y1)
    face = image[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    scale = COMPARED_SIDE / max(gray.shape)
    if scale < 1:
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    light = gray.astype(np.float32)
    bends = [cv2.filter2D(light, cv2.CV_32F, kernel).var() for kernel in _second_derivatives()]
    # By the contrast, so that a dim photo is not taken for a blurred one; at least 1, so that noise
    # in a face of one gray is not taken for sharpness.
    sharpness = float(min(bends) / max(light.var(), 1.0))
    gaps = {"left": x1, "upper": y1, "right": width - x2, "lower": height - y2}
    side = min(gaps, key=lambda name: gaps[name])
    edge = gaps[side] / size
    if landmarks is not None and np.isfinite(landmarks).all():
        room = min(landmarks.min(), *((width, height) - landmarks.max(axis=0)))
        edge = max(edge, float(room) / size - INSIDE)
    return Quality(
        size=size,
        sharpness=sharpness,
        brightness=float(light.mean()),
        contrast=float(light.std()),
        edge=max(edge, 0.0),
        side=side,
    )


def _second_derivatives() -> list[NDArray[np.float32]]:
    """Kernels (3, 3) across, down and along both diagonals.

    The diagonals are divided by the square root of 2, which halves their variance: their steps are
    longer.
    """
    across, diagonal = np.zeros((3, 3), np.float32), np.diag(np.array([1, -2, 1], np.float32))
    across[1] = [1, -2, 1]
    diagonal /= np.float32(np.sqrt(2))
    return [across, across.T.copy(), diagonal, diagonal[::-1].copy()]
