"""What tests of `faces detect` have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector.types import Detections
from faces.video.film import VideoWriter
from scripts.main import main

ROOT = Path(__file__).resolve().parents[2]


class FakeDetector:
    """Finds the box of all white with a score of 0.9, and one of 0.2 in the corner."""

    def __init__(self, score_threshold: float) -> None:
        self.score_threshold = score_threshold

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.detect(image) for image in images]

    def detect(self, image: np.ndarray) -> Detections:
        rows, columns = np.nonzero((image > 180).all(axis=2))
        boxes, scores = [[0, 0, 5, 5]], [0.2]
        if len(rows):
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores.append(0.9)
        found = Detections.from_raw(boxes, scores, image.shape[:2])
        return found.above(self.score_threshold)


def picture(x: int = 40, height: int = 120, width: int = 160) -> np.ndarray:
    """Dark noise with a white face with eyes at ``x``, 30 x 40 pixels; none for a negative one."""
    image = np.random.default_rng(0).integers(0, 90, (height, width, 3), dtype=np.uint8)
    if x >= 0:
        image[50:90, x : x + 30] = 255
        image[62:68, x + 6 : x + 12] = image[62:68, x + 18 : x + 24] = 0
    return image


def make_video(path: Path, count: int = 12, fps: float = 12.5) -> Path:
    with VideoWriter(path, fps) as writer:
        for i in range(count):
            writer.write(picture(40 + 2 * i))
    return path


def detect(*arguments: str, code: int = 0) -> None:
    assert main(["detect", *arguments, "--model", "m.onnx"]) == code


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def files(folder: str | Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()
    )
