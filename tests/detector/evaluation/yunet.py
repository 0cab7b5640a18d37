"""YuNet (libfacedetection.train) in ONNX Runtime: a good detector that is not ours, for tests.

Its decoding follows the network's own definition: at stride s the box of the cell (row, column) is
centered at ``(column + dx, row + dy) * s`` and ``exp(dw) * s`` by ``exp(dh) * s`` large, its score
is ``sqrt(class * objectness)``. Input: BGR, 0..255, sides multiples of 32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.types import Detections

STRIDES = (8, 16, 32)


class YuNet:
    """A `detector.types.Detector`; images are shrunk to ``max_side`` and padded at the end."""

    def __init__(self, path: Path, max_side: int = 640, min_score: float = 0.02) -> None:
        from faces.onnx_session import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [f"{kind}_{s}" for kind in ("cls", "obj", "bbox") for s in STRIDES]
        self.max_side, self.min_score = max_side, min_score

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        factor = min(1.0, self.max_side / max(height, width))
        new = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = np.asarray(Image.fromarray(image).resize(new, Image.Resampling.BILINEAR))
        rows, columns = (-(-side // 32) * 32 for side in small.shape[:2])
        padded = np.zeros((rows, columns, 3), np.float32)
        padded[: small.shape[0], : small.shape[1]] = small[..., ::-1]
        feed = {self.input: padded.transpose(2, 0, 1)[None]}
        values = dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))
        boxes, scores = [], []
        for s in STRIDES:
            grid = np.mgrid[: rows // s, : columns // s].reshape(2, -1).T[:, ::-1]
            offset = values[f"bbox_{s}"][0]
            center = (grid + offset[:, :2]) * s
            half = np.exp(offset[:, 2:]) * s / 2
            boxes.append(np.hstack([center - half, center + half]))
            scores.append(np.sqrt(values[f"cls_{s}"][0] * values[f"obj_{s}"][0]).ravel())
        score = np.concatenate(scores)
        keep = score >= self.min_score
        box, score = np.concatenate(boxes)[keep], score[keep]
        order = suppress(box, score)
        return Detections.from_raw(
            box[order] * ([width / new[0], height / new[1]] * 2), score[order], (height, width)
        )

    def detect_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        return [self.detect(image) for image in images]


def suppress(boxes: NDArray, scores: NDArray, iou: float = 0.45) -> NDArray[np.intp]:
    """Non-maximum suppression: the positions of the boxes that stay, best first."""
    left = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[left, :2])
        high = np.minimum(boxes[first, 2:], boxes[left, 2:])
        shared = (high - low).clip(0).prod(1)
        left = left[shared <= iou * (area[first] + area[left] - shared)]
    return np.array(kept, np.intp)
