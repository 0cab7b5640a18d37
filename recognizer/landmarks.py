"""Eyes, nose and corners of the mouth: O-Net of MTCNN, run by ONNX Runtime.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks", 2016. The weights are those of facenet-pytorch 2.5.3 (MIT license), converted by
`python -m scripts.shipping.embedder --onet`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.networks.onnx_session import open_session
from recognizer.crop import LandmarkFinder, box_matrix, square, warp
from recognizer.shipped import shipped_file

INPUT = 48
LOOKS = 2
"""The second look is at the box that the first one corrected: points move by about a pixel."""

LEAST_PROBABILITY = 0.5
"""Of being a face; below it the points are not trusted."""

BATCH = 64


class LandmarkNet:
    """Finds five points in each box; it is a `recognizer.crop.LandmarkFinder`."""

    def __init__(self, path: Path | None = None, threads: int | None = None) -> None:
        """Open the shipped network, or another ONNX file of the same interface.

        Raises UserError when the file is missing or damaged.
        """
        self._session = open_session(path or shipped_file("onet.onnx"), "cpu", threads=threads)

    def __call__(
        self, image: NDArray[np.uint8], xyxy: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """RGB (H, W, 3) and boxes (N, 4) -> points x, y in pixels (N, 5, 2), trusted (N,).

        The order is: eye, eye, nose, corner, corner, left in the picture first. N may be 0.
        """
        squares = square(np.asarray(xyxy, np.float32))
        points = np.zeros((len(squares), 5, 2), np.float32)
        probability = np.zeros(len(squares), np.float32)
        for look in range(LOOKS):
            shift, relative, probability = self._run(image, squares)
            side = (squares[:, 2] - squares[:, 0])[:, None]
            points = squares[:, None, :2] + relative * side[:, None]
            if look + 1 < LOOKS:
                squares = square(squares + shift * side)
        trusted = (probability >= LEAST_PROBABILITY) & upright(points)
        return points.astype(np.float32), trusted

    def _run(
        self, image: NDArray[np.uint8], squares: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Correction of the box (N, 4), points (N, 5, 2), both in sides; probability (N,)."""
        outputs = []
        for start in range(0, len(squares), BATCH):
            crops = [
                warp(image, box_matrix(box, INPUT, 0.0), INPUT)
                for box in squares[start : start + BATCH]
            ]
            outputs.append(self._session.run(None, {"faces": np.stack(crops)}))
        if not outputs:
            empty = np.zeros((0, 5, 2), np.float32)
            return np.zeros((0, 4), np.float32), empty, np.zeros(0, np.float32)
        shift, flat, probability = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        return shift, flat.reshape(-1, 2, 5).transpose(0, 2, 1), probability


NOSE = 0.56
"""How far the tip of the nose stands out, as a part of the distance between the eyes: about 35 of
62 mm in an adult's face."""


def yaw(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """By how many degrees faces with points (N, 5, 2) are turned to the side, (N,), -90..90.

    Positive: the nose points to the right of the picture. From where it lies between the eyes,
    which a turn of t moves by the tangent of t; good to some 10 degrees up to about 50.
    """
    across = (points[:, 1] - points[:, 0]).astype(np.float64)
    middle = points[:, :2].mean(axis=1)
    length = np.maximum((across**2).sum(axis=1), 1e-9)
    along = ((points[:, 2] - middle) * across).sum(axis=1) / length
    return np.degrees(np.arctan(along / NOSE)).astype(np.float32)


def found_before(points: NDArray[np.float32]) -> LandmarkFinder:
    """A `recognizer.crop.LandmarkFinder` for boxes whose points (N, 5, 2) a detector has found."""
    return lambda image, xyxy: (points, upright(points))


def upright(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether points (N, 5, 2) lie as in a face that is turned by less than a right angle, (N,)."""
    eyes = points[:, 1] - points[:, 0]
    down = points[:, 3:].mean(axis=1) - points[:, :2].mean(axis=1)
    turn = eyes[:, 0] * down[:, 1] - eyes[:, 1] * down[:, 0]  # positive: mouth below the eyes
    return (eyes[:, 0] > 0) & (turn > 0)
