"""Pictures to measure with, and the average precision of a contestant on those of WIDER FACE."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.benchmark.timing import Build, Process
from detector.data.portraits import portraits
from detector.evaluation import wider
from detector.evaluation.matching import ImageFaces
from detector.inference.resize import Resize
from faces.errors import UserError
from faces.images.find import find_images
from faces.images.read import read_image

logger = logging.getLogger(__name__)


def some_pictures(folder: Path | None, count: int = 0) -> list[NDArray[np.uint8]]:
    """RGB uint8 (H, W, 3) pictures of their own sizes.

    Args:
        folder: searched recursively; None takes the two portraits that come with packages.
        count: how many, spread evenly over the folder; 0, or more than there are: all.

    Raises UserError when the folder is missing or has no image, and as `read_those`.
    """
    if folder is None:
        return list(portraits().values())
    files = find_images(folder)
    if not files:
        raise UserError(f"{folder}: there are no images")
    count = min(count or len(files), len(files))
    return read_those([files[i * len(files) // count] for i in range(count)])


def read_those(files: list[Path]) -> list[NDArray[np.uint8]]:
    """The pictures; those that cannot be read are named in the log and left out.

    Raises UserError when that is true of all.
    """
    pictures = []
    for path in files:
        try:
            pictures.append(read_image(path))
        except UserError as error:
            logger.warning("%s; it is left out", error)
            last = error
    if files and not pictures:
        raise UserError(f"none of {len(files)} pictures can be read; the last: {last}")
    if len(pictures) < len(files):
        logger.warning("%d of %d pictures were left out", len(files) - len(pictures), len(files))
    return pictures


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
