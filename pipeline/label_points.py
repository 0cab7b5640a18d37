"""Five points for the annotated faces of a data set, found by networks: what `faces train --points`
learns from where nobody has marked them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.formats.dataset import Dataset, LabeledImage
from detector.types import Detections
from faces.boxes import iou
from faces.errors import UserError
from faces.images.read import read_image
from recognizer.crop import LandmarkFinder, box_matrix, square, warp

SMALLEST = 16.0
"""Side of a face in pixels (square root of its box's area) from which networks agree mostly."""
AGREE = 0.1
"""Points of two networks that are further apart, in sides of the face, are no truth."""
LOOK = 160
"""Side in pixels of what `InCrops` shows its detector; a face is half of that."""


@dataclass(frozen=True)
class Labeled:
    """How many faces of a data set got points."""

    faces: int  # that count and are large enough
    before: int  # had points and keep them
    now: int  # got at least one


class InCrops:
    """A detector that finds points, as a `recognizer.crop.LandmarkFinder`: it sees every face in a
    crop of its own, at the size that suits it."""

    def __init__(self, detect: Callable[[NDArray[np.uint8]], Detections]) -> None:
        self._detect = detect

    def __call__(
        self, image: NDArray[np.uint8], xyxy: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Points (N, 5, 2) and whether the face was found (N,)."""
        points = np.zeros((len(xyxy), 5, 2), np.float32)
        trusted = np.zeros(len(xyxy), bool)
        for i, (box, around) in enumerate(zip(xyxy, square(np.asarray(xyxy)), strict=True)):
            matrix = box_matrix(around, LOOK, 1.0)
            found = self._detect(warp(image, matrix, LOOK))
            if not len(found) or found.landmarks is None:
                continue
            # Boxes count from pixels' edges, the matrix from their centers.
            scale, shift = matrix[0, 0], matrix[:, 2] + 0.5 - 0.5 * matrix[0, 0]
            there = (np.asarray(box, np.float64).reshape(2, 2) * scale + shift).reshape(1, 4)
            overlap = iou(there, found.xyxy.astype(np.float64))[0]
            best = int(overlap.argmax())
            trusted[i] = overlap[best] >= 0.4
            points[i] = (found.landmarks[best] - shift) / scale
        return points, trusted


def label_points(
    dataset: Dataset,
    networks: Sequence[LandmarkFinder],
    progress: Callable[[Sequence[Any]], Iterable[Any]] = lambda images: images,
) -> tuple[Dataset, Labeled]:
    """The data set with points on every face where all ``networks`` agree.

    A point is their mean, and is left out where two of them are further apart than `AGREE`. Faces
    that have points already keep them; difficult and small ones get none. Raises UserError for an
    image that cannot be read.
    """
    faces = before = now = 0
    splits = {}
    for name, images in dataset.splits.items():
        labeled = []
        for image in progress(images):
            boxes, objects = image.xyxy, list(image.objects)
            sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
            wanted = np.array([not item.difficult for item in objects], bool) & (
                sides >= SMALLEST**2
            )
            has = np.array([bool(item.landmarks) for item in objects], bool)
            faces, before = faces + int(wanted.sum()), before + int((wanted & has).sum())
            rows = np.flatnonzero(wanted & ~has)
            if len(rows):
                for i, five in zip(rows, _agreed(image, rows, networks), strict=True):
                    points = tuple((x, y) if np.isfinite(x) else None for x, y in five.tolist())
                    if any(points):
                        objects[i] = replace(objects[i], landmarks=points)
                        now += 1
                image = replace(image, objects=tuple(objects))
            labeled.append(image)
        splits[name] = tuple(labeled)
    return replace(dataset, splits=splits), Labeled(faces, before, now)


def _agreed(
    image: LabeledImage, rows: NDArray[np.intp], networks: Sequence[LandmarkFinder]
) -> NDArray[np.float64]:
    """Points (N, 5, 2) of some faces, NaN where the networks do not agree."""
    pixels = np.asarray(read_image(image.path))
    boxes = image.xyxy[rows]
    found = [network(pixels, boxes.astype(np.float32)) for network in networks]
    every = np.stack([points for points, _ in found]).astype(np.float64)
    trusted = np.logical_and.reduce([fine for _, fine in found])
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    apart = np.linalg.norm(every[:, None] - every[None], axis=4).max(axis=(0, 1))
    good = trusted[:, None] & (apart <= AGREE * side[:, None])
    return np.where(good[..., None], every.mean(axis=0).round(2), np.nan)


def open_networks(other: Path | None, threads: int | None) -> list[LandmarkFinder]:
    """O-Net, and YuNet from an ONNX file. Raises UserError for a file that is no YuNet."""
    from detector.benchmark.contestants import line_up
    from detector.benchmark.peers import YuNet
    from recognizer.landmarks import LandmarkNet

    networks: list[LandmarkFinder] = [LandmarkNet(threads=threads)]
    if other is not None:
        if line_up([], [other], skip=("mtcnn", "torchvision", "reference"))[0].kind != "yunet":
            raise UserError(f"yunet: {other} is no YuNet: its outputs are others")
        networks.append(InCrops(YuNet(other, threads or 1, 0.5, points=True).detect))
    return networks
