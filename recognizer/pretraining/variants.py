"""What an embedder is trained on: faces as the live loop cuts them, endlessly varied.

Each variant keeps whose face it is, so its goal is what the teacher says of the face as it was: the
student learns to see through distance, blur, compression, masks and landmarks that are off, which
the teacher itself does not. Two faces lie on each other (eyes on eyes) and can be merged into a
third that nobody has; what vector that one has, the teacher is asked.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.images.masks import draw_mask
from recognizer.crop import TEMPLATE, TEMPLATE_SIDE, align_matrix, warp
from recognizer.pretraining.cache import RIM

Face = Any
"""RGB uint8 (S, S, 3); to OpenCV's type stubs an array holds any numbers."""

PLAIN = 0.3
"""Part of the crops that are as the photo is: perhaps mirrored, and cut, nothing else."""

SMALLEST = 20
"""Pixels of a crop's side before it is enlarged: a face of about 16."""


def vary(
    face: Face, random: np.random.Generator, landmarks: NDArray[np.floating] | None = None
) -> Face:
    """A crop uint8 (S, S, 3) of a face with a rim (S + 2 RIM, S + 2 RIM, 3).

    Args:
        landmarks: where the five points lie in the crop, (5, 2), for masks; None: aligned.
    """
    size = len(face) - 2 * RIM
    points = TEMPLATE.astype(np.float64) * (size / TEMPLATE_SIDE) + RIM
    if random.random() < 0.5:
        face = face[:, ::-1]
        points = (points * (-1, 1) + (len(face) - 1, 0))[[1, 0, 2, 4, 3]]
    face = np.ascontiguousarray(face)
    if random.random() < PLAIN:
        return cut(face, points, size, 1.0, random)
    if random.random() < 0.12:
        seen = points if landmarks is None else landmarks + RIM
        face = draw_mask(face, random, seen)
    face = recolor(face, random)
    factor = 1.0
    if random.random() < 0.35:  # far away
        factor = float(np.exp(random.uniform(np.log(SMALLEST / size), 0)))
        side = max(round(len(face) * factor), 8)
        factor = side / len(face)
        face = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    face = spoil(face, random)
    return cut(face, (points + 0.5) * factor - 0.5, size, factor, random)


def cut(
    face: Face, points: NDArray[np.float64], size: int, factor: float, random: np.random.Generator
) -> Face:
    """Aligned by points (5, 2) that are a little off, as a landmark network's are; stretched."""
    loose = random.random() < 0.2
    scale = factor * size / TEMPLATE_SIDE
    # The shipped detector's points differ from a landmark network's by about 2 of 112 pixels.
    error = 3.0 if loose else random.uniform(0.5, 2.5)
    points = points + random.normal(0, error * scale + 0.15, (5, 2))
    if loose:
        points = points + random.normal(0, 2.5 * scale, 2)
    matrix = align_matrix(points.astype(np.float32), size)
    middle = (size - 1) / 2
    stretch = np.exp(random.normal(0, 0.03, 2))
    matrix = np.diag(stretch) @ matrix
    matrix[:, 2] += middle * (1 - stretch)
    return warp(face, matrix, size)


def merge(first: Face, second: Face, random: np.random.Generator) -> Face:
    """Two faces (S, S, 3) laid over each other, or parts of one in the other."""
    if random.random() < 0.5:
        second = np.ascontiguousarray(second[:, ::-1])
    if random.random() < 0.25:
        share = random.uniform(0.25, 0.75)
        return cv2.addWeighted(first, share, second, 1 - share, 0)
    side = len(first)
    places = random.normal(0, 1, (5, 5)).astype(np.float32)
    heights = cv2.resize(places, (side, side), interpolation=cv2.INTER_CUBIC)
    mask: NDArray[np.float32] = 1 / (1 + np.exp(-heights * random.uniform(3, 12), dtype=np.float32))
    inside = _with_colors_of(first, second) if random.random() < 0.8 else second
    mixed = first + (inside.astype(np.float32) - first) * mask[..., None]
    return mixed.clip(0, 255).astype(np.uint8)


def _with_colors_of(first: Face, second: Face) -> NDArray[np.float32]:
    """``second`` with the mean and the spread of the first one's colors in the middle."""
    middle = slice(len(first) // 4, -(len(first) // 4))
    to_mean, to_spread = cv2.meanStdDev(first[middle, middle])
    mean, spread = cv2.meanStdDev(second[middle, middle])
    gain = (to_spread / np.maximum(spread, 1)).clip(0.5, 2).ravel().astype(np.float32)
    return second * gain + (to_mean.ravel() - mean.ravel() * gain).astype(np.float32)


def recolor(crop: Face, random: np.random.Generator) -> Face:
    """Brightness, contrast, gamma, tint; sometimes gray."""
    if random.random() < 0.08:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if random.random() < 0.25:
        return crop
    values = np.linspace(0, 1, 256)[:, None] ** np.exp(random.normal(0, 0.2))
    gain = np.exp(random.normal(0, 0.18)) * np.exp(random.normal(0, 0.05, 3))
    values = (values - 0.5) * gain + 0.5 + random.normal(0, 0.07)
    table = (values * 255).clip(0, 255).astype(np.uint8)
    return cv2.LUT(crop, table[None])


def spoil(face: Face, random: np.random.Generator) -> Face:
    """What cameras, compression and things in front of a face do to it, at its own resolution."""
    side = len(face)
    if random.random() < 0.08:
        width, height = (random.uniform(0.1, 0.45, 2) * side).astype(int) + 1
        left, top = random.integers(0, side - width), random.integers(0, side - height)
        face = face.copy()
        face[top : top + height, left : left + width] = random.integers(0, 256, 3)
    if random.random() < 0.12:
        face = cv2.GaussianBlur(face, (0, 0), random.uniform(0.5, 2.2) * max(side / 144, 0.4))
    elif random.random() < 0.1:  # moved
        length = int(random.integers(3, max(5, side // 11)))
        turn = cv2.getRotationMatrix2D(((length - 1) / 2,) * 2, random.uniform(0, 180), 1)
        line = np.zeros((length, length), np.float32)
        line[length // 2] = 1
        line = np.asarray(cv2.warpAffine(line, turn, (length, length)), np.float32)
        face = cv2.filter2D(face, -1, line * np.float32(1 / max(float(line.sum()), 1e-3)))
    if random.random() < 0.15:
        noise = random.normal(0, random.uniform(2, 14), face.shape).astype(np.float32)
        face = (face + noise).clip(0, 255).astype(np.uint8)
    if random.random() < 0.35:
        quality = int(random.integers(25, 95))
        fine, data = cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert fine
        face = np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
    return face
