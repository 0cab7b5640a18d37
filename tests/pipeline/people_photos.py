"""Photos of made-up people, and a detector that finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from detector.types import Detections

GRAY = 128


def person(number: int, side: int = 80, variant: int = 0) -> np.ndarray:
    """A face RGB uint8 (side, side, 3); variants of a person are alike, those of others are not."""
    random = np.random.default_rng(number)
    other = np.random.default_rng((number, variant))
    face = np.zeros((side, side, 3), np.float32)
    for cells, weight in ((4, 1.0), (8, 1.0), (40, 0.7)):
        noise = random.normal(size=(cells, cells, 3)) + 0.45 * other.normal(size=(cells, cells, 3))
        face += weight * cv2.resize(
            noise.astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST
        )
    face = np.clip(125 + 30 * face, 0, 255).astype(np.uint8)
    face[(face == GRAY).all(axis=2)] += 1
    return face


def photo(
    *faces: np.ndarray, at: Sequence[tuple[int, int]] = ((30, 40), (200, 60), (30, 170))
) -> np.ndarray:
    """The faces on gray, with their upper left corners at x, y."""
    image = np.full((300, 400, 3), GRAY, np.uint8)
    for face, (x, y) in zip(faces, at, strict=False):
        image[y : y + len(face), x : x + len(face)] = face
    return image


def save(path: Path, *faces: np.ndarray, **options: Sequence[tuple[int, int]]) -> Path:
    """A photo as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(*faces, **options)).save(path)
    return path


class PatchDetector:
    """Finds what is not gray."""

    def detect(self, image: np.ndarray) -> Detections:
        """One box for each patch."""
        mask = (np.abs(image.astype(int) - GRAY).max(axis=2) > 0).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [[x, y, x + w, y + h] for x, y, w, h, _ in stats[1:]]
        return Detections.from_raw(boxes, [0.9] * len(boxes), image.shape[:2])

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """One after the other."""
        return [self.detect(image) for image in images]
