"""Pictures to measure with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data.portraits import portraits
from faces.errors import UserError
from faces.images.find import find_images
from faces.images.read import read_image


def some_pictures(folder: Path | None, count: int = 0) -> list[NDArray[np.uint8]]:
    """RGB uint8 (H, W, 3) pictures of their own sizes.

    Args:
        folder: searched recursively; None takes the two portraits that come with packages.
        count: how many, spread evenly over the folder; 0, or more than there are: all.

    Raises UserError when the folder is missing or has no image, or for one that cannot be read.
    """
    if folder is None:
        return list(portraits().values())
    return [read_image(path) for path in spread_evenly(find_images(folder), count, folder)]


def spread_evenly(files: list[Path], count: int, folder: Path) -> list[Path]:
    """``count`` of the files at even distances; see `some_pictures`."""
    if not files:
        raise UserError(f"{folder}: there are no images")
    count = min(count or len(files), len(files))
    return [files[i * len(files) // count] for i in range(count)]
