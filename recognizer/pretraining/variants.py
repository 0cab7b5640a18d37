"""What `MiniResNet` is trained on: faces with some surroundings, endlessly varied.

A few thousand faces are too few to learn from one by one. They lie on each other (eyes on eyes), so
two of them can be merged into a third that nobody has, and one can be bent into another: the
teacher says what vector each of them has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.images.read import read_image
from recognizer.crop import LandmarkFinder, align_matrix, warp

Face = Any
"""RGB uint8 (S, S, 3); to OpenCV's type stubs an array holds any numbers."""

RIM = 16
"""Pixels of surroundings on each side, so that a crop can be shifted and turned."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture and the boxes of its faces, float32 (N, 4)."""

    path: Path
    xyxy: NDArray[np.float32]


def cut_faces(
    photos: Iterable[Photo], find_landmarks: LandmarkFinder, size: int
) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Aligned faces uint8 (size + 2 RIM, size + 2 RIM, 3) whose landmarks are to be trusted."""
    side = size + 2 * RIM
    for photo in photos:
        image = read_image(photo.path)
        points, trusted = find_landmarks(image, photo.xyxy)
        for i in np.flatnonzero(trusted):
            matrix = align_matrix(points[i], size)
            matrix[:, 2] += RIM
            yield photo.path, warp(image, matrix, side)


class Varied:
    """Random variants of faces (N, size + 2 RIM, size + 2 RIM, 3).

    Every variant is a function of the seed given for it.
    """

    def __init__(self, faces: NDArray[np.uint8], size: int, merged: float = 0.6) -> None:
        """``merged``: part of the variants that are made of two faces."""
        self.faces, self.size, self.merged = faces, size, merged
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        self._grid = np.stack([columns, rows], axis=-1)

    def __call__(self, seed: int) -> Face:
        """One crop uint8 (size, size, 3)."""
        random = np.random.default_rng(seed)
        crop = self._bend(self._merge(random), random)
        return spoil(recolor(crop, random), random)

    def _one(self, random: np.random.Generator) -> Face:
        face = self.faces[random.integers(len(self.faces))]
        return np.ascontiguousarray(face[:, ::-1]) if random.random() < 0.5 else face

    def _merge(self, random: np.random.Generator) -> Face:
        """One face, two laid over each other, or parts of one in another."""
        first = self._one(random)
        if random.random() >= self.merged:
            return first
        second = self._one(random)
        if random.random() < 0.25:
            share = random.uniform(0.25, 0.75)
            return cv2.addWeighted(first, share, second, 1 - share, 0)
        side = len(first)
        places = random.normal(0, 1, (5, 5)).astype(np.float32)
        mask = cv2.resize(places, (side, side), interpolation=cv2.INTER_CUBIC)
        mask = 1 / (1 + np.exp(-mask * random.uniform(3, 12), dtype=np.float32))
        second = _with_colors_of(first, second) if random.random() < 0.8 else second
        mixed = first + (second.astype(np.float32) - first) * mask[..., None]
        return mixed.clip(0, 255).astype(np.uint8)

    def _bend(self, face: Face, random: np.random.Generator) -> Face:
        """Shifted, scaled, turned, stretched and bent, cut to size."""
        loose = random.random() < 0.25  # as when landmarks are off
        angle = np.deg2rad(random.normal(0, 9 if loose else 3.5))
        scale = np.exp(random.normal(0, 0.08 if loose else 0.035, 2)) * np.exp(
            random.normal(0, 0.06 if loose else 0.03)
        )
        shift = random.normal(0, 4.5 if loose else 1.5, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = (turn * scale).astype(np.float32)
        middle = (self.size - 1) / 2
        seen = (self._grid - middle) @ matrix.T + (middle + RIM + shift).astype(np.float32)
        if random.random() < 0.6:
            bends = random.normal(0, random.uniform(0.5, 3.5), (4, 4, 2)).astype(np.float32)
            seen += cv2.resize(bends, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        return cv2.remap(face, seen, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]


def _with_colors_of(first: Face, second: Face) -> NDArray[np.float32]:
    """``second`` with the mean and the spread of the first one's colors in the middle."""
    middle = slice(len(first) // 4, -(len(first) // 4))
    to_mean, to_spread = cv2.meanStdDev(first[middle, middle])
    mean, spread = cv2.meanStdDev(second[middle, middle])
    gain = (to_spread / np.maximum(spread, 1)).clip(0.5, 2).ravel().astype(np.float32)
    return second * gain + (to_mean.ravel() - mean.ravel() * gain).astype(np.float32)


def recolor(crop: Face, random: np.random.Generator) -> Face:
    """Brightness, contrast, gamma, tint; sometimes gray."""
    if random.random() < 0.1:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if random.random() < 0.2:
        return crop
    values = np.linspace(0, 1, 256)[:, None] ** np.exp(random.normal(0, 0.2))
    gain = np.exp(random.normal(0, 0.18)) * np.exp(random.normal(0, 0.05, 3))
    values = (values - 0.5) * gain + 0.5 + random.normal(0, 0.07)
    table = (values * 255).clip(0, 255).astype(np.uint8)
    return cv2.LUT(crop, table[None])


def spoil(crop: Face, random: np.random.Generator) -> Face:
    """What cameras, distance, compression and things in front of a face do to it."""
    size = len(crop)
    if random.random() < 0.25:
        small = round(size * random.uniform(0.25, 0.8))
        crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    elif random.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), random.uniform(0.5, 2.0))
    if random.random() < 0.15:
        noise = random.normal(0, random.uniform(2, 14), crop.shape).astype(np.float32)
        crop = (crop + noise).clip(0, 255).astype(np.uint8)
    if random.random() < 0.15:
        width, height = random.integers(size // 8, size // 2, 2)
        left, top = random.integers(0, size - width), random.integers(0, size - height)
        crop = crop.copy()
        crop[top : top + height, left : left + width] = random.integers(0, 256, 3)
    if random.random() < 0.3:
        quality = int(random.integers(20, 90))
        fine, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert fine
        crop = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(crop)
