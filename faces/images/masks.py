"""Synthetic masks: a cloth, a surgical or a cone mask or a scarf drawn over the lower face.

The idea of drawing masks on photos of known people, so that a network learns to look at what a mask
leaves free, is that of MaskTheFace (Anwar and Raychowdhury, "Masked Face Recognition for
Secure Authentication", 2020). The drawing here is our own: polygons in the face's own directions,
lit as the skin below them is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# Outlines of the right half, from the middle of the upper edge down to the chin. Across: 1 is the
# distance from the eyes to the mouth; down: 0 is the height of the eyes, 1 that of the mouth.
_SHAPES = {
    "surgical": [(0.0, 0.40), (0.45, 0.50), (0.98, 0.56), (0.92, 1.15), (0.62, 1.60), (0.0, 1.78)],
    "cloth": [(0.0, 0.32), (0.35, 0.50), (1.08, 0.42), (1.02, 1.10), (0.70, 1.58), (0.0, 1.75)],
    "cone": [(0.0, 0.35), (0.38, 0.62), (0.85, 0.85), (0.80, 1.25), (0.45, 1.55), (0.0, 1.70)],
    "scarf": [(0.0, 0.50), (0.60, 0.52), (1.40, 0.40), (1.50, 1.50), (1.50, 2.60), (0.0, 2.60)],
}
_STRAPPED = ("surgical", "cloth", "cone")

# What people wear, as RGB; a third of the masks has any other color.
_COLORS = np.array(
    [[240, 243, 245], [150, 190, 215], [110, 165, 195], [25, 25, 28], [60, 62, 70], [150, 200, 185],
     [225, 215, 200], [40, 50, 90]], np.float32,
)  # fmt: skip
_FINER = 4  # polygons are drawn this many times larger and shrunk, for smooth edges


def draw_mask(
    face: NDArray[np.uint8],
    rng: np.random.Generator,
    landmarks: NDArray[np.floating],
) -> NDArray[np.uint8]:
    """A copy of a face crop whose lower face wears a mask of random kind, size and color.

    Args:
        face: RGB uint8 (S, S, 3).
        rng: decides everything; the same state gives the same mask.
        landmarks: eyes, nose and corners of the mouth, (5, 2) x y in pixels of the crop, left ones
            (as seen) first.

    Raises ValueError for landmarks of another shape, or whose eyes are level with the mouth.
    """
    side = face.shape[0]
    origin, across, down = _directions(np.asarray(landmarks, np.float64))
    kind = str(rng.choice(list(_SHAPES), p=[0.4, 0.3, 0.2, 0.1]))
    outline = _outline(_SHAPES[kind], rng)
    points = origin + outline[:, :1] * across + outline[:, 1:] * down

    cover = Image.new("L", (side * _FINER, side * _FINER))
    draw = ImageDraw.Draw(cover)
    draw.polygon([tuple(p) for p in (points * _FINER).tolist()], fill=255)
    if kind in _STRAPPED:
        _straps(draw, points, origin, across, down, rng)
    alpha = np.asarray(
        cover.resize((side, side), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.4)),
        np.float32,
    )[..., None] / np.float32(255)  # fmt: skip

    cloth = _cloth(face, alpha[..., 0] > 0.5, _color(rng), rng)
    if kind == "surgical":
        cloth *= _pleats(origin, down, side, rng)
    mixed = face * (1 - alpha) + cloth * alpha
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _directions(
    landmarks: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Middle of the eyes, and the vectors across and down whose length is eyes to mouth."""
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks are five points x y, got the shape {landmarks.shape}")
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    down = mouth - eyes
    if np.hypot(*down) < 1:
        raise ValueError("the eyes are at the height of the mouth: not the landmarks of a face")
    return eyes, np.array([down[1], -down[0]]), down


def _outline(half: list[tuple[float, float]], rng: np.random.Generator) -> NDArray[np.float64]:
    """The closed polygon of a mask, varied: width, length and height of the upper edge."""
    right = np.array(half)
    right[:, 0] *= rng.uniform(0.9, 1.12)
    top = right[0, 1]
    right[:, 1] = top + (right[:, 1] - top) * rng.uniform(0.93, 1.08) + rng.uniform(-0.08, 0.14)
    right[1:-1] += rng.normal(0, 0.02, right[1:-1].shape)
    left = right[-2:0:-1] * (-1, 1)
    return np.concatenate([right, left])


def _straps(
    draw: ImageDraw.ImageDraw,
    points: NDArray[np.float64],
    origin: NDArray[np.float64],
    across: NDArray[np.float64],
    down: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """From the corners of the mask to the ears."""
    width = max(1, round(0.05 * _FINER * np.hypot(*down)))
    heights = rng.uniform(0.1, 0.5, 2)
    last = len(points) - 1
    for corner, side, height in (
        (2, 1, heights[0]), (3, 1, heights[1]),
        (last - 1, -1, heights[0]), (last - 2, -1, heights[1]),
    ):  # fmt: skip
        ear = origin + side * 1.45 * across + height * down
        ends = np.concatenate([points[corner], ear]) * _FINER
        draw.line(ends.tolist(), fill=190, width=width)


def _color(rng: np.random.Generator) -> NDArray[np.float32]:
    if rng.random() < 1 / 3:
        return rng.uniform(20, 245, 3).astype(np.float32)
    color = _COLORS[rng.integers(len(_COLORS))] + rng.normal(0, 8, 3)
    return np.clip(color, 0, 255).astype(np.float32)


def _cloth(
    face: NDArray[np.uint8],
    covered: NDArray[np.bool_],
    color: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The color, in the light that falls on the covered skin, with a little texture."""
    side = face.shape[0]
    gray = Image.fromarray(face).convert("L").filter(ImageFilter.GaussianBlur(side / 14))
    light = np.asarray(gray, np.float32)
    mean = float(light[covered].mean()) if covered.any() else 128.0
    relative = np.clip(light / max(mean, 8.0), 0.4, 1.5)
    exposure = 0.45 + 0.55 * min(mean / 140, 1.2)  # a white mask is not white in the dark
    weave = rng.normal(1, 0.02, (side, side)).astype(np.float32)
    if rng.random() < 0.2:  # stripes
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 12) * side / 112
        y, x = np.mgrid[:side, :side]
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        weave *= (1 + rng.uniform(0.1, 0.4) * np.sign(wave)).astype(np.float32)
    shade = (0.5 + 0.5 * relative) * exposure * weave
    return shade[..., None] * color


def _pleats(
    origin: NDArray[np.float64], down: NDArray[np.float64], side: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Three horizontal folds of a surgical mask: factors float32 (S, S, 1)."""
    y, x = np.mgrid[:side, :side]
    height = ((x - origin[0]) * down[0] + (y - origin[1]) * down[1]) / (down @ down)
    depth = rng.uniform(0.05, 0.2)
    folds = sum(np.exp(-(((height - at) / 0.025) ** 2)) for at in (0.8, 1.05, 1.3))
    return (1 - depth * folds)[..., None].astype(np.float32)
