"""The passive line of defense: one picture of a face -> how alive it looks.

An ONNX file needs no torch. What these networks miss is written in docs/liveness.md: a good screen
passes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError
from pipeline.liveness.crops import LIVE, METADATA, SIZE, Network, scale_in_name

BATCH = 32


class PassiveLiveness:
    """Gives every face a score; it never refuses one.

    Args:
        scales: sides of the crops, in sides of the face box; one for each network behind.
    """

    def __init__(self, scales: Sequence[float], network: Network) -> None:
        self.scales = tuple(scales)
        self._network = network

    @classmethod
    def open(cls, *paths: Path, threads: int | None = None) -> PassiveLiveness:
        """Open ONNX files, MiniFASNet's published files of weights (.pth), or both.

        The score is the mean of all networks. An ONNX file is one of `faces export-liveness`, or
        somebody's conversion of one network: BGR float (N, 3, 80, 80), 0..255 -> (N, classes), of
        which class 1 is live; then the scale of the crop is the first part of the file's name, as
        in ``2.7_80x80_MiniFASNetV2.onnx``.

        Raises UserError for anything else.
        """
        if not paths:
            raise UserError("give a file of a liveness network")
        parts = [_open_onnx(p, threads) for p in paths if p.suffix.lower() == ".onnx"]
        weights = [path for path in paths if path.suffix.lower() != ".onnx"]
        if weights:
            from pipeline.liveness.export import open_weights

            parts.append(open_weights(weights, threads))
        return cls(*_together(parts))

    def score(self, image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """RGB (H, W, 3) and boxes (N, 4) -> 0 (a photo, a screen) .. 1 (alive), float32 (N,)."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        scores = np.zeros(len(boxes), np.float32)
        for start in range(0, len(boxes), BATCH):
            part = boxes[start : start + BATCH]
            crops = [[crop(image, box, scale) for scale in self.scales] for box in part]
            scores[start : start + BATCH] = self._network(np.array(crops, np.uint8))
        return scores.clip(0, 1)


def crop(image: NDArray[np.uint8], box: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """The published recipe: a box ``scale`` times as large, moved into the picture, as 80 x 80.

    Where the picture is too small for it, the scale is; the sides of the box keep their proportion
    and are then squeezed into a square. Source: ``CropImage`` in Silent-Face-Anti-Spoofing,
    `src/generate_patches.py`, with its rounding and its ends that belong to the crop.
    """
    height, width = image.shape[:2]
    x1, y1 = float(box[0]), float(box[1])
    wide, high = max(1.0, float(box[2]) - x1), max(1.0, float(box[3]) - y1)
    scale = min((height - 1) / high, (width - 1) / wide, scale)
    left, right = _inside(x1 + wide / 2, wide * scale, width)
    top, bottom = _inside(y1 + high / 2, high * scale, height)
    return np.asarray(cv2.resize(image[top : bottom + 1, left : right + 1], (SIZE, SIZE)), np.uint8)


def _inside(middle: float, length: float, limit: int) -> tuple[int, int]:
    """First and last pixel of a stretch, moved to where there are pixels."""
    first, last = middle - length / 2, middle + length / 2
    if first < 0:
        first, last = 0.0, last - first
    if last > limit - 1:
        first, last = first - (last - (limit - 1)), limit - 1.0
    return max(0, int(first)), min(limit - 1, int(last))


def _together(
    parts: Sequence[tuple[tuple[float, ...], Network]],
) -> tuple[tuple[float, ...], Network]:
    """Several networks as one that gives their mean."""

    def run(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        total, first = np.zeros(len(crops), np.float32), 0
        for scales, network in parts:
            total += len(scales) * network(crops[:, first : first + len(scales)])
            first += len(scales)
        return np.asarray(total / first, np.float32)

    return tuple(scale for scales, _ in parts for scale in scales), run


def _open_onnx(path: Path, threads: int | None) -> tuple[tuple[float, ...], Network]:
    from faces.networks.onnx_session import open_session

    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    session = open_session(path, "cpu", threads=threads)
    name = session.get_inputs()[0].name
    described = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if described is not None:
        scales = _described_scales(path, described)

        def own(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
            return session.run(None, {name: crops})[0]

        return scales, own
    shape = session.get_inputs()[0].shape
    if len(session.get_inputs()) != 1 or len(shape) != 4 or list(shape[1:]) != [3, SIZE, SIZE]:
        raise UserError(
            f"{path} is no liveness network: expected one input (N, 3, {SIZE}, {SIZE}) or a file "
            f"of `faces export-liveness`, got {shape}"
        )

    def foreign(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        bgr = crops[:, 0, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        one_by_one = isinstance(shape[0], int)  # converted without a free batch size
        parts = [bgr[i : i + 1] for i in range(len(bgr))] if one_by_one else [bgr]
        rows = np.concatenate([session.run(None, {name: part})[0] for part in parts])
        if rows.ndim != 2 or rows.shape[1] <= LIVE:
            raise UserError(f"{path} gives {rows.shape} for {len(bgr)} faces, not (N, classes)")
        if (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            rows = np.exp(rows - rows.max(axis=1, keepdims=True))  # logits
            rows /= rows.sum(axis=1, keepdims=True)
        return rows[:, LIVE]

    return (scale_in_name(path),), foreign


def _described_scales(path: Path, described: str) -> tuple[float, ...]:
    try:
        value = json.loads(described)
        version, scales = value["version"], tuple(float(scale) for scale in value["scales"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: its description is damaged: {error}") from error
    if version != 1 or not scales:
        raise UserError(f"{path} was made by a newer version: export it again with this one")
    return scales
