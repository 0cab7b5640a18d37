"""Varied copies of face crops: what cameras, light and clothes do to a face.

Only NumPy and Pillow are used, so that a worker that teaches a head need not import torch. Every
function takes RGB uint8 (S, S, 3) and a generator, and returns a new array.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faces.images.masks import draw_mask
from recognizer.crop import ALIGNED


@dataclass(frozen=True)
class Augmentation:
    """How much a crop may change. Every range is uniform and symmetric around no change."""

    flip: float = 0.5  # probability of a mirrored face
    degrees: float = 0.0  # rotation
    shift: float = 0.0  # of the side of the crop, in both directions
    scale: float = 0.0  # relative size, as a share more or less
    # brightness, contrast: relative, as a share more or less
    brightness: float = 0.0
    contrast: float = 0.0
    color: float = 0.0  # relative gain of each channel
    noise: float = 0.0  # largest standard deviation, of 255
    blur: float = 0.0  # largest radius in pixels of a crop of 112
    jpeg: int = 100  # lowest quality; 100 leaves JPEG out
    rare: float = 0.0  # probability of noise, blur and JPEG, each
    mask: float = 0.0  # probability of a synthetic mask


PLAIN = Augmentation(degrees=4, shift=0.02, scale=0.03, brightness=0.1, contrast=0.1)
STRONG = Augmentation(
    degrees=15, shift=0.06, scale=0.10, brightness=0.35, contrast=0.3, color=0.12,
    noise=10, blur=1.8, jpeg=30, rare=0.4, mask=0.5,
)  # fmt: skip
MASK_ONLY = Augmentation(degrees=4, shift=0.02, scale=0.03, brightness=0.1, contrast=0.1, mask=1.0)


def augment(
    face: NDArray[np.uint8],
    how: Augmentation,
    rng: np.random.Generator,
    landmarks: NDArray[np.floating] | None = None,
) -> NDArray[np.uint8]:
    """A varied copy of one face.

    Args:
        face: RGB uint8 (S, S, 3).
        how: which changes, and how strong.
        rng: the same state gives the same copy.
        landmarks: for the mask, see `faces.images.masks.draw_mask`. None takes `ALIGNED`, moved a
            little at random, since the face then need not be exactly there.
    """
    if rng.random() < how.mask:  # first: a mask turns, blurs and darkens with the face
        if landmarks is None:
            landmarks = (ALIGNED + rng.normal(0, 0.012, 2)) * face.shape[0]
        face = draw_mask(face, rng, landmarks)
    face = _move(face, how, rng)
    if how.brightness or how.contrast or how.color:
        face = _light(face, how, rng)
    if how.blur and rng.random() < how.rare:
        radius = rng.uniform(0, how.blur) * face.shape[0] / 112
        face = np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(radius)))
    if how.noise and rng.random() < how.rare:
        grain = rng.normal(0, rng.uniform(0, how.noise), face.shape)
        face = np.clip(face + grain, 0, 255).astype(np.uint8)
    if how.jpeg < 100 and rng.random() < how.rare:
        face = _jpeg(face, int(rng.integers(how.jpeg, 96)))
    return np.array(face)


def augment_all(faces: NDArray[np.uint8], how: Augmentation, seed: int) -> NDArray[np.uint8]:
    """One varied copy of each face (N, S, S, 3); face i depends on (seed, i) alone."""
    copies = np.empty_like(faces)
    for i, face in enumerate(faces):
        copies[i] = augment(face, how, np.random.default_rng((seed, i)))
    return copies


def _move(
    face: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Mirror, turn, shift and scale in one step; the border repeats outwards."""
    if rng.random() < how.flip:
        face = face[:, ::-1]
    angle = np.radians(rng.uniform(-how.degrees, how.degrees))
    side = face.shape[0]
    shift = rng.uniform(-how.shift, how.shift, 2) * side
    zoom = 1 + rng.uniform(-how.scale, how.scale)
    if not (how.degrees or how.shift or how.scale):
        return np.ascontiguousarray(face)
    margin = side // 4 + 1
    wide = np.pad(face, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    center = (side - 1) / 2
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    # Pillow wants, for a pixel of the result, the place in the source (pixel centers at .5).
    x = center + 0.5 + margin - cos * (center + 0.5 + shift[0]) - sin * (center + 0.5 + shift[1])
    y = center + 0.5 + margin + sin * (center + 0.5 + shift[0]) - cos * (center + 0.5 + shift[1])
    moved = Image.fromarray(wide).transform(
        (side, side),
        Image.Transform.AFFINE,
        (cos, sin, x, -sin, cos, y),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved)


def _light(
    face: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Brightness, contrast and the gain of each channel: one table of 256 values a channel."""
    gain = 1 + rng.uniform(-how.brightness, how.brightness)
    contrast = 1 + rng.uniform(-how.contrast, how.contrast)
    channels = gain * (1 + rng.uniform(-how.color, how.color, 3))
    mean = float(face.mean())
    levels = np.arange(256, dtype=np.float32)
    table = ((levels - mean) * contrast + mean)[:, None] * channels
    table = np.clip(table + 0.5, 0, 255).astype(np.uint8)
    return np.stack([table[face[..., c], c] for c in range(3)], axis=-1)


def _jpeg(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
