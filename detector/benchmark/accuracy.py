"""The average precision of a contestant on WIDER FACE, by the one evaluator for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from detector.benchmark.timing import Build, Process
from detector.evaluation import wider
from detector.evaluation.matching import ImageFaces
from detector.inference.resize import Resize
from faces.images.read import read_image

MIN_SCORE = 0.005
"""Lowest score that contestants are asked for here; average precision needs the low ones too."""


def average_precisions(
    build: Build,
    truth: Sequence[ImageFaces],
    files: Mapping[str, Path],
    max_side: int,
    *,
    threads: int = 1,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, float | None]:
    """Easy, medium and hard AP; None for a setting without a face.

    Args:
        build: makes the contestant, see `detector.benchmark.timing`.
        truth: from `detector.evaluation.wider.read_ground_truth`.
        files: for each image of ``truth`` its file.
        max_side: longest side in pixels to which images are shrunk for everyone; 0 keeps them.
        progress: called after each image.

    Raises ContestantFailed when the contestant does.
    """
    found = {}
    resize = Resize("fit", max_side, multiple=1)
    with Process(build, threads) as process:
        for image in truth:
            resized = resize(read_image(files[image.name]))
            detections = process.detect(resized.pixels)
            boxes = resized.boxes_back(detections.xyxy)
            found[image.name] = np.column_stack([boxes, detections.score]).astype(np.float64)
            progress()
    return {name: curve.ap for name, curve in wider.evaluate(truth, found).items()}
