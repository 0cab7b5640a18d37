"""What every format is read into and written from: pictures with boxes, names and landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data.voc.annotation import VocObject


@dataclass(frozen=True)
class LabeledImage:
    """One image and its boxes, which lie in the image as its tool shows it.

    Args:
        name: where the image goes below ``images/``: forward slashes, never leaving the folder.
        width, height: the size in pixels as the label file gives it; 0 when it gives none.
        objects: boxes, counted from 0 with exclusive ends, as written: they may be empty, inverted
            or over the edge; crowds and ignored ones are difficult; attributes have names that XML
            can have as tags.
    """

    path: Path
    name: str
    width: int
    height: int
    objects: tuple[VocObject, ...]

    @property
    def xyxy(self) -> NDArray[np.float64]:
        """The boxes, float64 (N, 4)."""
        return np.array([item.xyxy for item in self.objects], np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class Dataset:
    """All images of a source by their split.

    Args:
        splits: the images of "train", "val", "test".
        notes: what was passed over and what was taken differently than written, for people.
    """

    format: str
    splits: Mapping[str, tuple[LabeledImage, ...]]
    notes: tuple[str, ...] = field(default=())
