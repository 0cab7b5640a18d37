"""The one way from a box in a picture to the square crop that a network sees.

Enrolling, training and live use all come through here, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Grows when the same recipe would give other pixels: galleries must then be embedded again."""

TEMPLATE_SIDE = 112
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],  # the eye on the left of the picture
        [73.5318, 51.5014],
        [56.0252, 71.7366],  # tip of the nose
        [41.5493, 92.3655],  # corner of the mouth on the left of the picture
        [70.7299, 92.2041],
    ],
    np.float32,
)
"""Where the five points lie in an aligned crop of 112 x 112 pixels (x, y): ArcFace (Deng et al.,
CVPR 2019), https://github.com/deepinsight/insightface, `face_align.py`."""

TEMPLATE.flags.writeable = False

LIFT = 0.08
"""How far above a face box's middle the middle of the aligned crop lies, in sides of the square
(median of 604 faces of WIDER FACE; the crop's side is 1.08 of the box's longer one)."""

ALIGNED: NDArray[np.float32] = (TEMPLATE / TEMPLATE_SIDE).astype(np.float32)
"""Where an upright face's five points lie in a crop of side 1 that is aligned by them, (5, 2)."""

# The same in a square crop around a face box without margin.
_IN_BOX: NDArray[np.float32] = ((ALIGNED - 0.5) * 1.08 + (0.5, 0.5 - 1.08 * LIFT)).astype(
    np.float32
)

LandmarkFinder = Callable[
    [NDArray[np.uint8], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.bool_]]
]
"""Image and boxes (N, 4) -> five points each (N, 5, 2) and whether they are to be trusted (N,)."""


Kind = Literal["aligned", "square", "stretched"]


@dataclass(frozen=True)
class CropRecipe:
    """How a crop is cut.

    Raises ValueError for values out of range.
    """

    size: int  # side of the crop in pixels
    margin: float  # what is added to the box, as a part of its sides (0.1: 5 % on each side)
    # ``aligned``: turned and scaled so that eyes, nose and mouth come to lie on `TEMPLATE`; where
    # they cannot be found, the box decides as in ``square``, a little higher. ``square``: the
    # square around the box. ``stretched``: the box itself, made square
    kind: Kind

    def __post_init__(self) -> None:
        if self.size < 1 or self.margin < 0 or self.kind not in ("aligned", "square", "stretched"):
            raise ValueError(f"this is no way to cut a face: {self}")

    @property
    def identity(self) -> str:
        """Short text that differs between recipes, part of an embedder's fingerprint."""
        return f"crop{VERSION}-{self.kind}-{self.size}-{self.margin:.3g}"

    def __call__(
        self,
        image: NDArray[np.uint8],
        xyxy: NDArray[np.float32],
        find_landmarks: LandmarkFinder | None = None,
    ) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3) and boxes (N, 4) -> crops uint8 (N, size, size, 3).

        What lies outside the image is black. Raises ValueError for an aligned recipe without
        ``find_landmarks``, and for arrays of another shape.
        """
        xyxy = np.asarray(xyxy, np.float32)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
        if xyxy.ndim != 2 or xyxy.shape[1] != 4 or not np.isfinite(xyxy).all():
            raise ValueError(f"expected finite boxes (N, 4), got {xyxy.shape}: {xyxy}")
        crops = np.zeros((len(xyxy), self.size, self.size, 3), np.uint8)
        if not len(xyxy):
            return crops
        boxes = xyxy if self.kind == "stretched" else square(xyxy)
        matrices = [box_matrix(box, self.size, self.margin) for box in boxes]
        if self.kind == "aligned":
            for matrix in matrices:
                matrix[1, 2] += LIFT * self.size
            if find_landmarks is None:
                raise ValueError("an aligned crop needs landmarks")
            points, trusted = find_landmarks(image, xyxy)
            for i in np.flatnonzero(trusted):
                matrices[i] = align_matrix(points[i], self.size)
        for crop, matrix in zip(crops, matrices, strict=True):
            crop[:] = warp(image, matrix, self.size)
        return crops


def square(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The square with the same middle and the longer side, for each box (N, 4)."""
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    half = np.maximum((xyxy[:, 2:] - xyxy[:, :2]).max(axis=1, keepdims=True), 1) / 2
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


def box_matrix(box: NDArray[np.float32], size: int, margin: float) -> NDArray[np.float64]:
    """Float64 (2, 3) from image to crop: the box, widened by ``margin``, fills the crop."""
    box = np.asarray(box, np.float64)
    sides = np.maximum(box[2:] - box[:2], 1) * (1 + margin)
    corner = (box[:2] + box[2:] - sides) / 2
    scale = size / sides
    # Boxes count from pixels' edges, OpenCV from their centers.
    shift = 0.5 * scale - 0.5 - corner * scale
    return np.column_stack([np.diag(scale), shift])


def align_matrix(points: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Float64 (2, 3): turn, scale and shift that bring five points (5, 2) nearest to `TEMPLATE`.

    Least squares, Umeyama, PAMI 1991, without reflection.
    """
    target = TEMPLATE.astype(np.float64) * size / TEMPLATE_SIDE
    source = np.asarray(points, np.float64)
    # As complex numbers the transform is z -> a z + b.
    z, w = source @ [1, 1j], target @ [1, 1j]
    centered = z - z.mean()
    spread = float((np.abs(centered) ** 2).sum())
    a = (np.conj(centered) * (w - w.mean())).sum() / max(spread, 1e-9)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def warp(image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The square crop of side ``size`` whose pixels ``matrix`` (2, 3) takes from the image.

    A picture that is shrunk is averaged first, so that a large face gives no jagged crop.
    """
    scale = np.linalg.norm(matrix[:, :2], axis=0)  # of a step to the right, and down
    if scale.min() < 1:
        image, matrix = _shrink(image, matrix, size, np.minimum(scale, 1))
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)


def _shrink(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, scale: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the image that the crop shows, at the crop's resolution, and its matrix."""
    inverse = np.linalg.inv(matrix[:, :2])
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    seen = (corners - matrix[:, 2]) @ inverse.T
    height, width = image.shape[:2]
    rim = 2 / scale
    left, top = np.clip(np.floor(seen.min(axis=0) - rim), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(
        np.ceil(seen.max(axis=0) + rim), [left + 1, top + 1], [width, height]
    ).astype(int)
    part = image[top:bottom, left:right]
    full = np.array([right - left, bottom - top])
    columns, rows = np.maximum(np.round(full * scale), 1).astype(int).tolist()
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    step = full / [columns, rows]  # pixels of the image per pixel
    offset = np.array([left, top]) + 0.5 * step - 0.5
    new = np.column_stack([matrix[:, :2] * step, matrix[:, :2] @ offset + matrix[:, 2]])
    return np.asarray(small, np.uint8), new


def landmarks_in(recipe: CropRecipe) -> NDArray[np.float32]:
    """Where an upright face's five points lie in the crops of a recipe: pixels, float32 (5, 2)."""
    if recipe.kind == "aligned":
        return ALIGNED * np.float32(recipe.size)
    shrunk = (_IN_BOX - 0.5) / np.float32(1 + recipe.margin) + 0.5
    if recipe.kind == "stretched":  # faces are about 1.3 times as high as wide
        shrunk = (shrunk - 0.5) * np.array([1.3, 1], np.float32) + 0.5
    return (shrunk * recipe.size).astype(np.float32)
