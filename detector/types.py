"""What a detector takes and gives. Only NumPy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces found in one image; parallel, read-only arrays that are filtered together.

    Args:
        xyxy: float32 (N, 4), ``x1 y1 x2 y2`` in pixels of the image the caller gave,
            ``0 <= x1 < x2 <= width`` and ``0 <= y1 < y2 <= height``.
        score: float32 (N,), 0..1, in descending order.
        image_size: (height, width) of that image in pixels.

    Raises ValueError when the arrays break these rules; the message names the first bad index.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        xyxy = _frozen(self.xyxy)
        score = _frozen(self.score)
        height, width = self.image_size
        if xyxy.ndim != 2 or xyxy.shape[1] != 4:
            raise ValueError(f"xyxy must have the shape (N, 4), got {xyxy.shape}")
        if score.shape != (len(xyxy),):
            raise ValueError(f"score must have the shape ({len(xyxy)},), got {score.shape}")
        if not (np.isfinite(xyxy).all() and np.isfinite(score).all()):
            raise ValueError("boxes and scores must be finite")
        x1, y1, x2, y2 = xyxy.T
        bad = (x1 < 0) | (y1 < 0) | (x2 <= x1) | (y2 <= y1) | (x2 > width) | (y2 > height)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"box {i} is {xyxy[i].tolist()}, which is empty or outside the image of "
                f"{width}x{height} pixels"
            )
        if (np.diff(score) > 0).any():
            i = int(np.flatnonzero(np.diff(score) > 0)[0]) + 1
            raise ValueError(f"scores must descend, but score {i} is larger than the one before")
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "image_size", (int(height), int(width)))

    @classmethod
    def empty(cls, image_size: tuple[int, int]) -> Detections:
        """No face in an image of ``image_size`` = (height, width)."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), image_size)

    @classmethod
    def from_raw(cls, xyxy: ArrayLike, score: ArrayLike, image_size: tuple[int, int]) -> Detections:
        """Clip boxes (N, 4) to the image, drop those that become empty, sort by score (N,)."""
        boxes = np.array(xyxy, np.float32).reshape(-1, 4)
        scores = np.array(score, np.float32).reshape(-1)
        height, width = image_size
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, scores = boxes[keep], scores[keep]
        order = np.argsort(-scores, kind="stable")
        return cls(boxes[order], scores[order], image_size)

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: slice | NDArray | Sequence[int] | Sequence[bool]) -> Detections:
        """Those selected by a slice, a boolean mask or a list of ascending positions."""
        if isinstance(index, int | np.integer):
            raise TypeError(
                "select with a slice, a mask or a list; one face is detections[i : i + 1]"
            )
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.size == 0:
                index = index.astype(int)
        return Detections(self.xyxy[index], self.score[index], self.image_size)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        return self[self.score >= score]


class Detector(Protocol):
    """Anything that finds faces. Images are RGB uint8 (H, W, 3) arrays of any size."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Find the faces of one image."""
        ...

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of several images, one result each, in order."""
        ...


def _frozen(array: ArrayLike) -> NDArray[np.float32]:
    copy = np.array(array, np.float32)
    copy.flags.writeable = False
    return copy
