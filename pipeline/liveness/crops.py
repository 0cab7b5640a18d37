"""What liveness networks look at, and how their files say it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError

SIZE = 80  # pixels, side of a crop
METADATA = "faces.liveness"
LIVE = 1  # class of a live face in the published networks
MOST_SCALE = 10.0

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""RGB crops (N, K, 80, 80, 3), one for each scale -> how alive (N,), 0..1."""


def scale_in_name(path: Path) -> float:
    """The scale of the crop that a published file's name begins with. Raises UserError."""
    found = re.match(r"(\d+(?:\.\d+)?)_", path.name)
    if found is None or not 1 <= float(found[1]) <= MOST_SCALE:
        raise UserError(
            f"{path}: the name must begin with the scale of the crop, as published: "
            f"2.7_80x80_MiniFASNetV2{path.suffix}"
        )
    return float(found[1])
