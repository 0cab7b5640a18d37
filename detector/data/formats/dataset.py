"""What every format is read into and written from: pictures with boxes, names and landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabeledImage:
    """One image and its boxes, which lie in the image as its tool shows it.

    Args:
        path: the image's file.
        name: where the image goes below ``images/``: forward slashes, never leaving the folder.
        width, height: the size in pixels as the label file gives it; 0 when it gives none.
        xyxy: float64 (N, 4), x1 y1 x2 y2 in pixels, counted from 0 with exclusive ends, as written:
            boxes may be empty, inverted or over the edge.
        names: the class of each box.
        difficult: bool (N,): crowds, ignored and difficult objects.
        landmarks: float64 (N, 5, 2), x y in pixels: left eye, right eye (as seen in the image),
            nose, left and right corner of the mouth. NaN where there are none.
        attributes: for each box what else is known of it, by names that XML can have as tags; empty
            when nothing is known of any.
    """

    path: Path
    name: str
    width: int
    height: int
    xyxy: NDArray[np.float64]
    names: tuple[str, ...]
    difficult: NDArray[np.bool_]
    landmarks: NDArray[np.float64]
    attributes: tuple[Mapping[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Dataset:
    """All images of a source by their split.

    Args:
        format: the name of the format it was read from.
        splits: the images of "train", "val", "test".
        notes: what was passed over and what was taken differently than written, for people.
    """

    format: str
    splits: Mapping[str, tuple[LabeledImage, ...]]
    notes: tuple[str, ...] = field(default=())
